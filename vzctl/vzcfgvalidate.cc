// SPDX-License-Identifier: GPL-2.0-or-later
// vzcfgvalidate: what is wrong in a container's configuration, and mending it.
#include <algorithm>
#include <iostream>

#include <fmt/format.h>
#include <vz/memory_report.h>
#include <vz/validate.h>

#include "vzctl/face.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

constexpr int kInvalid = 2;
constexpr int kRounds = 10;  // one fix may uncover the next fault

constexpr Option kOptions[] = {
    {"-r,--repair", nullptr, "Mend what can be mended, without asking"},
    {"-i,--interactive", nullptr, "Mend it, asking before each change"},
    {"-v,--vswap", "yes|no", "Take it as a VSwap configuration or not; else PHYSPAGES tells"},
    {"-j,--json", nullptr, "Print JSON"},
    {"--format", "FORMAT", "table, json, csv or yaml", Values::format},
};

const char* word(vz::Severity s) {
  switch (s) {
    case vz::Severity::error:
      return "Error";
    case vz::Severity::warning:
      return "Warning";
    case vz::Severity::recommendation:
      break;
  }
  return "Recommendation";
}

std::string fix_text(const vz::Fix& fix) {
  return fix.value.empty() ? fmt::format("remove {}", fix.key) : fmt::format("{}=\"{}\"", fix.key, fix.value);
}

std::string lines_of(const vz::Validation& v, bool color) {
  std::string out;
  for (const vz::Finding& f : v.findings) {
    Tone tone = f.severity == vz::Severity::error ? Tone::bad : Tone::plain;
    out += fmt::format("{}: {}: {}\n", paint(word(f.severity), tone, color), printable(f.where), printable(f.text));
  }
  return out;
}

Table table_of(const vz::Validation& v) {
  Table table{
      {{"severity", "SEVERITY", 0, {}}, {"where", "WHERE", 0, {}}, {"text", "TEXT", 0, {}}, {"fix", "FIX", 0, {}}}, {}};
  for (const vz::Finding& f : v.findings)
    table.rows.push_back({{word(f.severity), word(f.severity)},
                          {f.where, f.where},
                          {f.text, f.text},
                          {"", f.fix ? Value(fix_text(*f.fix)) : Value()}});
  return table;
}

// Yes to this change. The end of input says no.
bool ask(const vz::Finding& f) {
  std::cout << word(f.severity) << ": " << printable(f.where) << ": " << printable(f.text) << "\n  set "
            << printable(fix_text(*f.fix)) << "? [y/N] " << std::flush;
  std::string answer;
  return std::getline(std::cin, answer) && (answer == "y" || answer == "Y" || answer == "yes");
}

struct Repaired {
  vz::Config config;
  std::vector<vz::Fix> done;
};

// Mends until nothing is left that can be; a fix that was refused or did not help is not tried again.
Repaired repair(vz::Config config, const std::string& file, const vz::ValidateOptions& options, bool interactive) {
  Repaired out{std::move(config), {}};
  std::vector<vz::Fix> tried;
  for (int round = 0; round < kRounds; ++round) {
    bool changed = false;
    for (const vz::Finding& f : vz::validate_config(out.config.text(), file, options).findings) {
      if (!f.fix || std::find(tried.begin(), tried.end(), *f.fix) != tried.end()) continue;
      tried.push_back(*f.fix);
      if (interactive && !ask(f)) continue;
      vz::apply_fix(out.config, *f.fix);
      out.done.push_back(*f.fix);
      changed = true;
    }
    if (!changed) break;
  }
  return out;
}

vz::Result<vz::ValidateOptions> validate_options(const Options& o) {
  vz::ValidateOptions out;
  if (const std::string* vswap = o.last("--vswap")) {
    if (*vswap != "yes" && *vswap != "no")
      return fail(vz::Error(Code::bad_syntax, fmt::format("Bad value for -v: {}", *vswap)).with_hint("yes or no"));
    out.vswap = *vswap == "yes";
  }
  if (auto host = vz::read_host_memory()) out.host_ram = host->ram;
  return out;
}

}  // namespace

std::span<const Option> vzcfgvalidate_options() { return kOptions; }

vz::Result<int> run_vzcfgvalidate(FaceCall& call) {
  const Options& o = call.options;
  bool interactive = o.has("--interactive");
  bool mend = o.has("--repair") || interactive;
  if (o.has("--repair") && interactive) return fail(Code::bad_syntax, "-r and -i exclude each other");
  Format format = VZ_TRY(chosen_format(o));
  auto options = VZ_TRY(validate_options(o));
  const std::string& file = o.words[0];
  auto config = VZ_TRY(vz::Config::load(file));
  std::vector<vz::Fix> done;
  if (mend) {
    auto repaired = repair(std::move(config), file, options, interactive);
    config = std::move(repaired.config);
    done = std::move(repaired.done);
    if (!done.empty()) VZ_TRY(config.save(file));
  }
  auto result = vz::validate_config(config.text(), file, options);
  bool valid = result.errors() == 0;
  if (format != Format::table) {
    VZ_TRY(put(render(table_of(result), format, {})));
    return valid ? 0 : kInvalid;
  }
  std::string text;
  for (const vz::Fix& fix : done) text += fmt::format("Repaired: {}\n", printable(fix_text(fix)));
  text += lines_of(result, use_color(call.reporter.color(), 1));
  text += valid ? "Validation completed: success\n" : fmt::format("Validation failed: {} errors\n", result.errors());
  VZ_TRY(put(text));
  return valid ? 0 : kInvalid;
}

}  // namespace vzctl
