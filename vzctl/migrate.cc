// SPDX-License-Identifier: GPL-2.0-or-later
// vzctl migrate, vzctl agent (its other end), and vzmigrate with the options and exit codes of OpenVZ.
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <sstream>

#include <fmt/format.h>
#include <vz/migrate.h>

#include "vzctl/command.h"
#include "vzctl/face.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

constexpr std::uint64_t kDowntimeMax = 600'000;

constexpr Option kMigrateOptions[] = {
    {"-r,--remove-area", "yes|no", "Destroy the container here afterwards (yes), or rename it to *.migrated",
     Values::yes_no},
    {"--check-only,--dry-run", nullptr, "Make all checks on both hosts and change nothing"},
    {"--live,--online", nullptr,
     "Move it with its memory and connections: it stands still for a moment and goes on there"},
    {"--max-downtime", "MS",
     "With --live: send memory ahead until the rest fits into so many milliseconds (300), or it does not shrink"},
    {"--lazy", nullptr,
     "With --live: it goes on there as soon as all of its memory has arrived, and gets most of it into place while it "
     "runs"},
    {"--bandwidth", "SIZE",
     "Send so many bytes a second at most (a bare number is MiB) while the container runs; the rest, for which it "
     "waits, goes as fast as it can"},
    {"--compress", "yes|no|auto",
     "Compress what is sent; auto, the default: when the connection is slower than that, as seen while it goes"},
    {"--near-live", nullptr, "Copy while it runs, stop it for the last changes, start it there; the default"},
    {"--ssh", "OPTIONS", "More options for ssh, in one word"},
    {"--transport", "COMMAND",
     "Command whose standard input and output reach `vzctl agent` on the other host, instead of ssh"},
    {"--force", nullptr, "Go on though limits, processor or memory there are not what it needs"},
    {"-t,--times", nullptr, "Say how long each part took"},
    {"-j,--json", nullptr, "Print a report as JSON"},
    {"--resolve", nullptr, "After a failure: ask the other host how far it is, and finish"},
    {"--take-back", nullptr, "With --resolve: the other host is lost for good, the container is here again"},
    {"--drop", nullptr, "With --resolve, on the destination: throw away what was copied"},
};

constexpr Option kVzmigrateOptions[] = {
    {"-r,--remove-area", "yes|no", "Destroy the container here afterwards (yes), or rename it to *.migrated",
     Values::yes_no},
    {"--ssh", "OPTIONS", "More options for ssh, in one word"},
    {"--transport", "COMMAND",
     "Command whose standard input and output reach `vzctl agent` on the other host, instead of ssh"},
    {"--check-only,--dry-run", nullptr, "Make all checks on both hosts and change nothing"},
    {"-f,--nodeps", nullptr, "Go on though limits, processor or memory there are not what it needs"},
    {"-t,--times", nullptr, "Say how long each part took"},
    {"--live,--online", nullptr,
     "Move it with its memory and connections: it stands still for a moment and goes on there"},
    {"--keep-dst", nullptr, nullptr},
    {"-c,--compact", nullptr, nullptr},
    {"-s,--snapshot", nullptr, nullptr},
    {"--ssh-mux", nullptr, nullptr},
    {"--rsync", "OPTIONS", nullptr},
    {"-v", nullptr, nullptr},
};

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

// BatchMode: a question could not be answered here; "--": a host's name is never an option. A host that does not answer
// any more is given up after twenty seconds, not after TCP's quarter of an hour: a container may stand still meanwhile.
// Of options that are given twice, ssh takes the first.
std::vector<std::string> transport_to(const std::string& host, const Options& options) {
  if (const std::string* command = options.last("--transport")) return words_of(*command);
  std::vector<std::string> argv = {"ssh", "-T", "-o", "BatchMode=yes"};
  for (const auto& more : options.all("--ssh"))
    for (auto& word : words_of(more)) argv.push_back(std::move(word));
  argv.insert(argv.end(), {"-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4",
                           "--", host, "vzctl", "agent"});
  return argv;
}

vz::Result<vz::MigrateOptions> options_of(const Options& o, const std::string& host) {
  vz::MigrateOptions out;
  if (host.empty()) return fail(Code::bad_syntax, "the destination host is missing");
  out.destination = host;
  out.transport = transport_to(host, o);
  auto remove = o.value_or("--remove-area", "yes");
  if (remove != "yes" && remove != "no")
    return fail(Code::bad_value, fmt::format("Bad value for --remove-area: {} (yes or no)", remove));
  out.keep_source = remove == "no";
  out.check_only = o.has("--dry-run");
  out.live = o.has("--online");
  if (const std::string* text = o.last("--max-downtime")) {
    auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), out.max_downtime_ms);
    if (error != std::errc() || end != text->data() + text->size() || out.max_downtime_ms == 0 ||
        out.max_downtime_ms > kDowntimeMax)
      return fail(Code::bad_value,
                  fmt::format("Bad value for --max-downtime: {} (1 to {} milliseconds)", *text, kDowntimeMax));
  }
  out.late = o.has("--lazy");
  if (out.late && !out.live) return fail(Code::bad_syntax, "--lazy needs --live");
  out.bandwidth = o.value_or("--bandwidth", "");
  const auto compress = o.value_or("--compress", "auto");
  if (compress != "yes" && compress != "no" && compress != "auto")
    return fail(Code::bad_value, fmt::format("Bad value for --compress: {} (yes, no or auto)", compress));
  if (compress != "auto") out.compress = compress == "yes";
  out.force = o.has("--force") || o.has("--nodeps");
  return out;
}

Value report_value(vz::Ctid id, const vz::MigrateOptions& options, const vz::MigrateReport& report) {
  Value::List passes;
  for (const auto& p : report.passes)
    passes.push_back(Value::Object{
        {"kind", p.kind}, {"read", p.read}, {"sent", p.sent}, {"milliseconds", p.took_ms}, {"stopped", p.frozen}});
  return Value::Object{{"ctid", std::uint64_t{id.value()}},
                       {"destination", options.destination},
                       {"mode", report.mode},
                       {"shared_storage", report.shared},
                       {"why", report.why.empty() ? Value() : Value(report.why)},
                       {"checked_only", options.check_only},
                       {"passes", std::move(passes)},
                       {"bytes_sent", report.sent},
                       {"bytes_uncompressed", report.carried},
                       {"down_milliseconds", report.down_ms},
                       {"total_milliseconds", report.total_ms},
                       {"packets_kept", report.kept_packets},
                       {"lazy_bytes", report.late},
                       {"started", report.started}};
}

void tell(TerminalReporter& reporter, vz::Ctid id, const vz::MigrateOptions& options, const vz::MigrateReport& report,
          bool times) {
  if (options.check_only) {
    reporter.info(fmt::format("Container {} can be moved to {}, {}{}", id.value(), options.destination, report.mode,
                              report.why.empty() ? "" : ": " + report.why));
    return;
  }
  // Requests and answers hardly shrink: what was compressed only now and then is not worth a word.
  const bool smaller = report.sent < report.carried / 10 * 9;
  reporter.info(
      fmt::format("Container {} is on {}{}: {} sent{}", id.value(), options.destination,
                  report.started ? " and runs there" : "", human_bytes(report.sent),
                  smaller ? fmt::format(" (compressed; {} before)", human_bytes(report.carried)) : std::string()));
  if (times)
    reporter.info(fmt::format("Stopped for {:.3f} s, {:.3f} s in all", static_cast<double>(report.down_ms) / 1000,
                              static_cast<double>(report.total_ms) / 1000));
}

vz::Result<> resolve(Invocation& call) {
  const Options& o = call.options;
  if (o.has("--take-back") && o.has("--drop"))
    return fail(Code::bad_syntax, "--take-back and --drop exclude each other");
  auto how = o.has("--take-back") ? vz::Resolve::take_back : o.has("--drop") ? vz::Resolve::drop : vz::Resolve::ask;
  std::vector<std::string> transport;
  if (const std::string* command = o.last("--transport")) transport = words_of(*command);
  return vz::resolve_migration(*call.host, call.id, how, transport, call.reporter);
}

vz::Result<> run(Invocation& call) {
  const Options& o = call.options;
  if (o.has("--json")) call.reporter.set_verbosity(-1);
  if (o.has("--resolve")) return resolve(call);
  if (o.has("--take-back") || o.has("--drop"))
    return fail(vz::Error(Code::bad_syntax, "--take-back and --drop need --resolve"));
  auto options = VZ_TRY(options_of(o, o.words.empty() ? "" : o.words[0]));
  auto report = VZ_TRY(vz::migrate(*call.host, call.id, options, call.reporter));
  if (o.has("--json")) return put(to_json(report_value(call.id, options, report)));
  tell(call.reporter, call.id, options, report, o.has("--times"));
  return {};
}

// OpenVZ's, as scripts know them.
int vzmigrate_status(Code code) {
  switch (code) {
    case Code::bad_syntax:
    case Code::bad_value:
      return 1;
    case Code::connect:
      return 4;
    case Code::io:
    case Code::no_disk_space:
      return 6;
    case Code::stop_failed:
    case Code::checkpoint:
      return 8;
    case Code::restore:
      return 7;
    case Code::private_exists:
    case Code::name:
      return 9;
    case Code::no_config:
    case Code::no_private:
      return 10;
    case Code::ip_in_use:
      return 12;
    case Code::set_ubc:
    case Code::not_enforced:
      return 15;
    case Code::no_global_config:
      return 19;
    case Code::locked:
      return 20;
    default:
      return 6;
  }
}

}  // namespace

std::span<const Option> migrate_options() { return kMigrateOptions; }
std::span<const Option> vzmigrate_options() { return kVzmigrateOptions; }

int run_migrate(Invocation& call) {
  (void)signal(SIGPIPE, SIG_IGN);
  return finish(call.reporter, run(call));
}

// Standard output is the protocol's: whatever is said goes where standard error does, which is the other host's
// terminal.
int run_agent(Invocation& call) {
  (void)signal(SIGPIPE, SIG_IGN);
  call.reporter.set_verbosity(-1);
  int out = dup(STDOUT_FILENO), in = dup(STDIN_FILENO);
  if (out < 0 || in < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
    return finish(call.reporter, vz::Error::from_errno(errno, "standard input and output"));
  return finish(call.reporter, vz::serve_migration(*call.host, in, out, call.reporter));
}

vz::Result<int> run_vzmigrate(FaceCall& call) {
  (void)signal(SIGPIPE, SIG_IGN);
  const Options& o = call.options;
  auto options = VZ_TRY(options_of(o, o.words[0]));
  int status = 0;
  for (std::size_t i = 1; i < o.words.size(); ++i) {
    auto id = call.host.resolve(o.words[i]);
    auto report = id ? vz::migrate(call.host, *id, options, call.reporter)
                     : vz::Result<vz::MigrateReport>(fail(std::move(id).error().with_code(Code::no_config)));
    if (report) {
      tell(call.reporter, *id, options, *report, o.has("--times"));
      continue;
    }
    call.reporter.error(report.error());
    status = vzmigrate_status(report.error().code());
  }
  return status;
}

}  // namespace vzctl
