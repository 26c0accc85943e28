// SPDX-License-Identifier: GPL-2.0-or-later
// vzubc: the beancounters of containers, next to their barriers and limits, and what changed since the last look.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>

#include <fmt/format.h>
#include <vz/beancounters.h>
#include <vz/config.h>

#include "vzctl/face.h"
#include "vzctl/format.h"
#include "vzctl/ubc_table.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

// Short names as in OpenVZ's tool, so that its -wt, -qh and -qm are these joined.
constexpr Option kOptions[] = {
    {"-q,--quiet", nullptr, "Only counters that were refused something, or are close to a barrier or limit"},
    {"-h,--qheld", "FACTOR", "How close held must be for -q, as a share of barrier or limit; 0 for never (0.5)"},
    {"-m,--qmaxheld", "FACTOR", "The same for maxheld (0.8)"},
    {"-r,--relative", nullptr, "Show failcnt since the last look with -r or -i"},
    {"-i,--incremental", nullptr, "Show how much held changed since then"},
    {"-C,--clear", nullptr, "Forget the last look first"},
    {"-c,--color", nullptr, "Colour also when the output is no terminal"},
    {"-w,--watch", nullptr, "Show again and again, with changes since the last time"},
    {"-t,--wtime", "SECONDS", "How often with -w (2)"},
    {"-d,--wdiff", nullptr, nullptr},
    {"-n,--count", "N", "Stop after N times with -w"},
    {"-f,--file", "FILE", "Read counters from a copy of /proc/user_beancounters; - for standard input", Values::file},
    {"-j,--json", nullptr, "Print JSON, sizes as the counters have them"},
    {"--format", "FORMAT", "table, json or yaml", Values::format},
};

vz::Result<double> number_option(const Options& o, const char* name, double otherwise, double least, double most) {
  const std::string* text = o.last(name);
  if (!text) return otherwise;
  char* end = nullptr;
  double value = strtod(text->c_str(), &end);
  if (text->empty() || *end != 0 || !(value >= least) || !(value <= most))
    return fail(Code::bad_value,
                fmt::format("Bad value for {}: {} (a number from {:g} to {:g})", name, *text, least, most));
  return value;
}

struct Request {
  UbcView view;
  Format format = Format::table;
  bool watch = false;
  double seconds = 2;
  unsigned count = 0;
  std::vector<vz::Ctid> ids;  // empty: all
};

vz::Result<Request> parse_request(const FaceCall& call) {
  const Options& o = call.options;
  Request out;
  out.format = VZ_TRY(chosen_format(o));
  if (out.format == Format::csv)
    return fail(
        vz::Error(Code::bad_syntax, "counters of containers are no single table").with_hint("use vzlist --format csv"));
  out.view.quiet = o.has("--quiet");
  out.view.quiet_held = VZ_TRY(number_option(o, "--qheld", 0.5, 0, 1e6));
  out.view.quiet_maxheld = VZ_TRY(number_option(o, "--qmaxheld", 0.8, 0, 1e6));
  out.watch = o.has("--watch");
  out.view.relative = o.has("--relative");
  out.view.incremental = o.has("--incremental") || out.watch;
  out.view.color = use_color(o.has("--color") ? Color::always : call.reporter.color(), 1);
  out.seconds = VZ_TRY(number_option(o, "--wtime", 2, 0.1, 86400));
  out.count = static_cast<unsigned>(VZ_TRY(number_option(o, "--count", 0, 0, 1e9)));
  for (const std::string& word : o.words) {
    auto id = call.host.resolve(word);
    if (!id) return fail(Code::bad_value, fmt::format("Invalid CT ID or name: {}", word));
    out.ids.push_back(*id);
  }
  return out;
}

vz::Result<std::string> text_of(const std::string& file) {
  std::ifstream in;
  if (file != "-") {
    in.open(file);
    if (!in) return vz::fail_errno("open " + file, Code::bad_value);
  }
  return std::string(std::istreambuf_iterator<char>(file == "-" ? std::cin : in), {});
}

vz::Result<std::vector<vz::UbSnapshot>> counters_in(const std::string& file) {
  return vz::parse_ub_text(VZ_TRY(text_of(file)), vz::Ctid(0));
}

vz::Result<std::vector<vz::UbSnapshot>> take_look(const FaceCall& call, const Request& request) {
  std::vector<vz::UbSnapshot> out;
  if (const std::string* file = call.options.last("--file")) {
    out = VZ_TRY(counters_in(*file));
  } else {
    auto counters = VZ_TRY(vz::Beancounters::open(call.host));
    out = VZ_TRY(counters.read());
  }
  if (request.ids.empty()) return out;
  for (vz::Ctid id : request.ids)
    if (std::none_of(out.begin(), out.end(), [&](const auto& s) { return s.id == id; }))
      return fail(Code::not_running, fmt::format("Container {} is not running", id.value()));
  std::erase_if(out, [&](const vz::UbSnapshot& s) {
    return std::find(request.ids.begin(), request.ids.end(), s.id) == request.ids.end();
  });
  return out;
}

std::map<std::uint32_t, std::string> names_of(const vz::Host& host, const std::vector<vz::UbSnapshot>& now) {
  std::map<std::uint32_t, std::string> out;
  for (const vz::UbSnapshot& s : now)
    if (auto config = host.load(s.id)) out[s.id.value()] = config->get("NAME").value_or("");
  return out;
}

// The last look is kept where only root can write, and gone with the counters at a reboot.
std::string store_path(const vz::Host& host) { return host.paths().run + "/vzubc"; }

UbcLook last_look(const vz::Host& host) {
  auto stored = counters_in(store_path(host));
  return stored ? ubc_look(*stored) : UbcLook();
}

// Containers that were not looked at keep what was known of them.
vz::Result<> keep_look(const vz::Host& host, UbcLook look, const std::vector<vz::UbSnapshot>& now) {
  for (const vz::UbSnapshot& s : now) look[s.id.value()] = s;
  std::vector<vz::UbSnapshot> all;
  for (auto& [id, s] : look) all.push_back(s);
  std::string path = store_path(host), temporary = path + ".tmp";
  {
    std::ofstream out(temporary, std::ios::trunc);
    out << ubc_store(all);
    out.close();
    if (!out) return fail(Code::io, "cannot write " + temporary);
  }
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) return fail(Code::io, fmt::format("rename {} to {}: {}", temporary, path, error.message()));
  return {};
}

vz::Result<> show(const FaceCall& call, const Request& request, const std::vector<vz::UbSnapshot>& now,
                  const UbcLook& before) {
  std::string text = is_structured(request.format) ? to_structured(ubc_value(now, before, request.view), request.format)
                                                   : ubc_text(now, names_of(call.host, now), before, request.view);
  return put(text);
}

vz::Result<int> watch(const FaceCall& call, const Request& request) {
  UbcLook before;
  const bool screen = isatty(1) && request.format == Format::table;
  for (unsigned round = 1;; ++round) {
    auto now = VZ_TRY(take_look(call, request));
    if (screen) VZ_TRY(put("\x1b[H\x1b[J"));
    VZ_TRY(show(call, request, now, before));
    before = ubc_look(now);
    if (round == request.count) return 0;
    std::this_thread::sleep_for(std::chrono::duration<double>(request.seconds));
  }
}

}  // namespace

std::span<const Option> vzubc_options() { return kOptions; }

vz::Result<int> run_vzubc(FaceCall& call) {
  Request request = VZ_TRY(parse_request(call));
  std::error_code ignored;
  if (call.options.has("--clear")) std::filesystem::remove(store_path(call.host), ignored);
  if (request.watch) return watch(call, request);
  auto now = VZ_TRY(take_look(call, request));
  const bool compares = request.view.relative || request.view.incremental;
  UbcLook before = compares ? last_look(call.host) : UbcLook();
  VZ_TRY(show(call, request, now, before));
  if (compares && !call.options.has("--file")) VZ_TRY(keep_look(call.host, std::move(before), now));
  return 0;
}

}  // namespace vzctl
