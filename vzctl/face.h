// SPDX-License-Identifier: GPL-2.0-or-later
// The small tools of OpenVZ that are links to vzctl: one row each, read by main, --help, completion and the manual.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <vz/host.h>
#include "vzctl/options.h"
#include "vzctl/reporter.h"

namespace vzctl {

struct FaceCall {
  const vz::Host& host;
  Options options;
  TerminalReporter& reporter;
};

struct Face {
  const char* name;
  const char* synopsis;  // what follows the name
  const char* summary;   // one line
  std::span<const Option> options;
  size_t min_words, max_words;  // arguments that are not options
  Values words;                 // what completion offers for them
  // The exit status: 0; kFaceFailed; or the tool's own.
  vz::Result<int> (*run)(FaceCall&);
};

constexpr int kFaceFailed = 1;  // what all of them return on an error

std::span<const Face> faces();
const Face* find_face(std::string_view name);
int face_main(const Face& face, std::vector<std::string> args);

// Whole percent and hundredths, "6.25"; "-" without a whole.
std::string percentage(double part, double whole);

// run functions and options, each in the file of its name.
vz::Result<int> run_vzmemcheck(FaceCall&);
vz::Result<int> run_vzcalc(FaceCall&);
vz::Result<int> run_vzsplit(FaceCall&);
vz::Result<int> run_vzcfgvalidate(FaceCall&);
vz::Result<int> run_vzubc(FaceCall&);
vz::Result<int> run_vzpid(FaceCall&);
vz::Result<int> run_vzcpucheck(FaceCall&);
vz::Result<int> run_vzstat(FaceCall&);
vz::Result<int> run_vznetstat(FaceCall&);
vz::Result<int> run_vztop(FaceCall&);
vz::Result<int> run_vzmigrate(FaceCall&);
vz::Result<int> run_vzquota(FaceCall&);
vz::Result<int> run_vz_exporter(FaceCall&);
std::span<const Option> vzstat_options();
std::span<const Option> vznetstat_options();
std::span<const Option> vztop_options();
std::span<const Option> vzmigrate_options();
std::span<const Option> vzquota_options();
std::span<const Option> vz_exporter_options();
std::span<const Option> vzmemcheck_options();
std::span<const Option> vzcalc_options();
std::span<const Option> vzsplit_options();
std::span<const Option> vzcfgvalidate_options();
std::span<const Option> vzubc_options();
std::span<const Option> vzpid_options();
std::span<const Option> vzcpucheck_options();

}  // namespace vzctl
