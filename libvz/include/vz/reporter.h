// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string_view>

#include <vz/error.h>

namespace vz {

// How the library tells its caller what it is doing: it never prints or logs by itself.
// Every function has an empty default, so `Reporter quiet;` is a valid reporter.
class VZ_API Reporter {
 public:
  enum class Level : int { error = -2, warning = -1, info = 0, debug = 1 };

  virtual ~Reporter();
  // One message of the dialect, without newline ("Container is mounted").
  virtual void say(Level level, std::string_view text);
  // `done` of `total` units of `stage`; total 0 = unknown.
  virtual void progress(std::string_view stage, std::uint64_t done, std::uint64_t total);
  // Called before each step that changes the system, with a stable name ("start.clone").
  // Tests hook here to kill the process at every step.
  virtual void step(std::string_view name);
  // True once the user asked to stop (SIGINT, SIGTERM). Long actions look at it between steps and at EINTR, undo
  // what they did and fail.
  virtual bool cancelled() const { return false; }

  void info(std::string_view text) { say(Level::info, text); }
  void warn(std::string_view text) { say(Level::warning, text); }
  void debug(std::string_view text) { say(Level::debug, text); }
};

}  // namespace vz
