// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>

namespace vz {

// A host program that runs for minutes and tells what it does.
struct WatchedProgram {
  std::vector<std::string> argv;  // argv[0] absolute
  std::vector<std::string> env;   // added to PATH and LC_ALL=C
};
struct WatchedResult {
  int status = 0;        // exit status, 128+signal
  bool stopped = false;  // by the watcher
  std::string tail;      // last lines of stdout and stderr
};
// Calls `watch` with each line of its output, and with "" a few times a second; false stops the program and all that
// it started (SIGTERM first, so that it can clean up). The program dies with its parent.
Result<WatchedResult> run_watched(const WatchedProgram& program, const std::function<bool(std::string_view)>& watch);

// The caller's value of a variable, as "NAME=value", for programs that take their proxies from there; "" when unset.
std::string inherited_variable(const char* name);

}  // namespace vz
