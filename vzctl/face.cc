// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/face.h"

#include <unistd.h>

#include <limits>
#include <vector>

#include <fmt/format.h>

#include "vzctl/format.h"

namespace vzctl {
namespace {

constexpr size_t kAnyNumber = std::numeric_limits<size_t>::max();

const std::vector<Face>& table() {
  static const std::vector<Face> kFaces = {
      {"vzmemcheck", "[-v] [-A] [-a]", "Shows what memory was promised to containers and whether the host has it",
       vzmemcheck_options(), 0, 0, Values::none, run_vzmemcheck},
      {"vzcalc", "[-v] CTID|NAME", "Shows what share of the host a container uses and was promised", vzcalc_options(),
       1, 1, Values::ctid, run_vzcalc},
      {"vzsplit", "[-n N] [-f NAME] [-s SIZE]", "Makes a sample configuration that divides the host among N containers",
       vzsplit_options(), 0, 0, Values::none, run_vzsplit},
      {"vzcfgvalidate", "[-r|-i] [-v yes|no] FILE", "Checks the values of a container's configuration",
       vzcfgvalidate_options(), 1, 1, Values::file, run_vzcfgvalidate},
      {"vzubc", "[-q] [-r] [-i] [-w] [-f FILE] [CTID|NAME...]",
       "Shows beancounters of running containers, and what changed", vzubc_options(), 0, kAnyNumber, Values::ctid,
       run_vzubc},
      {"vzpid", "[-p] PID...|-", "Tells which container processes of the host belong to", vzpid_options(), 1,
       kAnyNumber, Values::none, run_vzpid},
      {"vzcpucheck", "[-v] [-a]", "Adds up CPU units, and says how many the host has", vzcpucheck_options(), 0, 0,
       Values::none, run_vzcpucheck},
      {"vzstat", "[--since TIME] [--until TIME] [--format text|json|csv] [CTID|NAME...] | --record",
       "Reports what containers used in a period", vzstat_options(), 0, 1000, Values::ctid, run_vzstat},
      {"vznetstat", "[-v CTID] [-c CLASS] [-a] | --load", "Shows the traffic of containers by class",
       vznetstat_options(), 0, 0, Values::none, run_vznetstat},
      {"vztop", "[-b] [-n N] [-d SECONDS] [-o KEY] [-r] [CTID|NAME...]",
       "Shows what running containers are doing, again and again", vztop_options(), 0, 1000, Values::ctid, run_vztop},
      {"vzmigrate", "[-r yes|no] [--check-only] [-t] HOST CTID|NAME...", "Moves containers to another host",
       vzmigrate_options(), 2, 1000, Values::none, run_vzmigrate},
      {"vzquota", "stat|show CTID [-t] | setlimit CTID [OPTIONS] | on|off|init|drop CTID",
       "Shows and sets the disk limit of a container, for scripts of OpenVZ", vzquota_options(), 2, 2, Values::ctid,
       run_vzquota},
      {"vz-exporter", "[--listen ADDRESS:PORT]", "Serves the metrics of containers to monitoring, over HTTP",
       vz_exporter_options(), 0, 0, Values::none, run_vz_exporter},
  };
  return kFaces;
}

std::string help(const Face& face) {
  std::string out = fmt::format("Usage: {} {}\n\n{}.\n\nOptions:\n", face.name, face.synopsis, face.summary);
  for (const Option& option : face.options)
    if (option.help)
      out += fmt::format("  {:<26} {}\n", fmt::format("{} {}", option.names, option.metavar ? option.metavar : ""),
                         option.help);
  return out;
}

vz::Result<int> run(const Face& face, Options options, TerminalReporter& reporter) {
  size_t words = options.words.size();
  if (words < face.min_words || words > face.max_words) {
    std::string text = words < face.min_words ? std::string("An argument is missing")
                                              : fmt::format("Unexpected argument: {}", options.words[face.max_words]);
    return vz::fail(vz::Error(vz::Code::bad_syntax, std::move(text))
                        .with_hint(fmt::format("usage: {} {}", face.name, face.synopsis)));
  }
  if (geteuid() != 0) return vz::fail(vz::Code::no_access, "This program can only be run under root.");
  auto host = VZ_TRY(vz::Host::open());
  FaceCall call{host, std::move(options), reporter};
  return face.run(call);
}

}  // namespace

std::span<const Face> faces() { return table(); }

const Face* find_face(std::string_view name) {
  for (const Face& face : faces())
    if (name == face.name) return &face;
  return nullptr;
}

int face_main(const Face& face, std::vector<std::string> args) {
  TerminalReporter reporter(face.name);
  auto failed = [&](const vz::Error& error) {
    reporter.error(error);
    return kFaceFailed;
  };
  auto options = parse_options(face.options, std::move(args));
  if (!options) return failed(options.error());
  if (options->has("--help")) {
    auto written = put(help(face));
    return written ? 0 : failed(written.error());
  }
  auto status = run(face, *std::move(options), reporter);
  return status ? *status : failed(status.error());
}

std::string percentage(double part, double whole) {
  return whole > 0 ? fmt::format("{:.2f}", part / whole * 100) : "-";
}

}  // namespace vzctl
