// SPDX-License-Identifier: GPL-2.0-or-later
// vzctl vswap start|stop|status: the host's virtual swap.
#include <fmt/format.h>

#include <vz/config.h>
#include <vz/vswap.h>
#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

const char* state_name(vz::VswapStatus::State state) {
  switch (state) {
    case vz::VswapStatus::State::on:
      return "on";
    case vz::VswapStatus::State::incomplete:
      return "incomplete";
    case vz::VswapStatus::State::off:
      break;
  }
  return "off";
}

Value text_or_null(const std::string& text) { return text.empty() ? Value() : Value(text); }

Value status_value(const vz::VswapStatus& s) {
  return Value::Object{{"state", state_name(s.state)},
                       {"device", text_or_null(s.device)},
                       {"bytes", s.bytes},
                       {"used", s.used},
                       {"stored", s.stored},
                       {"compressed", s.compressed},
                       {"ram", s.ram},
                       {"written_back", s.written_back},
                       {"priority", s.priority},
                       {"compressor", text_or_null(s.compressor)},
                       {"backing", text_or_null(s.backing)},
                       {"promised", s.promised},
                       {"host_swap", vz::swap_kind_name(s.host_swap)},
                       {"mechanism", vz::vswap_mechanism_name(s.mechanism)},
                       {"why", s.why},
                       {"module", text_or_null(s.module_version)},
                       {"bpf", s.bpf}};
}

std::string status_text(const vz::VswapStatus& s, bool color) {
  bool on = s.state == vz::VswapStatus::State::on;
  std::string out = fmt::format("Virtual swap:  {}", paint(state_name(s.state), on ? Tone::good : Tone::bad, color));
  if (!s.device.empty())
    out += fmt::format("\nDevice:        {}, {}, {}, priority {}{}", s.device, human_bytes(s.bytes), s.compressor,
                       s.priority, s.backing.empty() ? "" : ", written back to " + s.backing);
  if (on) out += fmt::format("\nUsed:          {}, which take {} of RAM", human_bytes(s.used), human_bytes(s.ram));
  out += fmt::format("\nPromised:      {} to containers", human_bytes(s.promised));
  out += fmt::format("\nHost's swap:   {}", vz::swap_kind_name(s.host_swap));
  out += fmt::format("\nSlowdown by:   {} ({})", vz::vswap_mechanism_name(s.mechanism), s.why);
  out += fmt::format("\nvz.ko:         {}", s.module_version.empty() ? "not loaded" : s.module_version);
  return out + fmt::format("\nBPF programs:  {}\n", s.bpf ? "loaded" : "not loaded");
}

vz::Result<> print_status(Invocation& call, const vz::VswapStatus& status) {
  if (call.options.has("--json")) return put(to_json(status_value(status)));
  return put(status_text(status, use_color(call.reporter.color(), 1)));
}

vz::Result<vz::VswapOptions> start_options_of(const Options& options) {
  vz::VswapOptions out;
  out.backing = options.value_or("--backing", "");
  if (const std::string* size = options.last("--size")) {
    auto checked = vz::param_from_option(*vz::find_param_by_key("VSWAP_SIZE"), *size);
    if (!checked) return fail(vz::Error(vz::Code::bad_value, checked.error().message()).with_hint("as in --size 4G"));
    vz::Config config;
    config.set("VSWAP_SIZE", *checked);
    out.bytes = config.limit("VSWAP_SIZE").value_or(vz::Limit{}).limit;
  }
  return out;
}

vz::Result<> run(Invocation& call) {
  const std::string verb = call.options.words.empty() ? "" : call.options.words[0];
  bool start = verb == "start";
  if (!start && verb != "stop" && verb != "status")
    return fail(vz::Error(vz::Code::bad_syntax, verb.empty() ? "Which action?" : fmt::format("Bad action: {}", verb))
                    .with_hint("usage: vzctl vswap start|stop|status"));
  for (const char* option : {"--size", "--backing"})
    if (!start && call.options.has(option))
      return fail(vz::Error(vz::Code::bad_syntax, fmt::format("{} is an option of vswap start", option))
                      .with_hint("a device that is on keeps its size: `vzctl vswap stop`, then start"));
  if (call.options.has("--json")) call.reporter.set_verbosity(-1);
  if (verb == "stop") return vz::stop_vswap(*call.host, call.reporter);
  if (verb == "status") return print_status(call, VZ_TRY(vz::vswap_status(*call.host)));
  auto options = VZ_TRY(start_options_of(call.options));
  auto status = VZ_TRY(vz::start_vswap(*call.host, options, call.reporter));
  return call.options.has("--json") ? print_status(call, status) : vz::Result<>();
}

}  // namespace

int run_vswap(Invocation& call) { return finish(call.reporter, run(call)); }

}  // namespace vzctl
