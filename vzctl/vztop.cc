// SPDX-License-Identifier: GPL-2.0-or-later
// vztop without a screen: options, and -b for scripts.
#include "vzctl/vztop.h"

#include <cstdlib>
#include <thread>

#include <fmt/format.h>

namespace vzctl {
namespace {

constexpr Option kOptions[] = {
    {"-b,--batch", nullptr, "Print tables instead of drawing a screen"},
    {"-n,--iterations", "N", "End after so many; in batch mode 1 unless given"},
    {"-d,--delay", "SECONDS", "Time between two readings, 0.1 to 3600; 3 otherwise, 1 in batch mode"},
    {"-o,--sort", "KEY", "cpu, ram, swap, nproc, psi, io, net, fail, ctid or name"},
    {"-r,--reverse", nullptr, "The other way round"},
    {"-j,--json", nullptr, "Batch: a JSON list each time"},
};

constexpr std::uint64_t kMostRounds = 1000000000;

vz::Result<std::string> details(FaceCall& call, const TopReading& now, const TopReading& before) {
  std::string out;
  for (const auto& word : call.options.words) {
    vz::Ctid id = VZ_TRY(call.host.resolve(word));
    const TopContainer* ct = find_container(now, id);
    if (!ct) return vz::fail(vz::Code::not_running, fmt::format("container {} is not running", id.value()));
    const double seconds = std::chrono::duration<double>(now.time - before.time).count();
    for (const auto& line : top_details(*ct, find_container(before, id), seconds)) out += line + "\n";
  }
  return out;
}

vz::Result<std::string> page(FaceCall& call, const TopOptions& o, const TopReading& now, const TopReading& before) {
  if (!call.options.words.empty()) return details(call, now, before);
  auto rows = top_rows(now, &before);
  sort_top(rows, o.sort, o.reverse);
  auto table = top_table(rows);
  if (call.options.has("--json")) return to_json(to_value(table));
  std::string out;
  for (const auto& line : top_summary(now)) out += line + "\n";
  return out + to_text(table, {.color = use_color(call.reporter.color(), 1)});
}

}  // namespace

std::span<const Option> vztop_options() { return kOptions; }

vz::Result<TopOptions> top_options(const Options& options) {
  TopOptions out;
  const bool batch = options.has("--batch");
  char* end = nullptr;
  if (const std::string* word = options.last("--delay")) {
    const double seconds = std::strtod(word->c_str(), &end);
    if (word->empty() || *end != '\0' || !(seconds >= 0.1 && seconds <= 3600))
      return vz::fail(vz::Code::bad_value, fmt::format("--delay {} is not within 0.1 and 3600", printable(*word)));
    out.delay = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  } else if (batch) {
    out.delay = std::chrono::milliseconds(1000);
  }
  if (const std::string* word = options.last("--iterations")) {
    const unsigned long long rounds = std::strtoull(word->c_str(), &end, 10);
    if (word->empty() || (*word)[0] < '0' || (*word)[0] > '9' || *end != '\0' || rounds < 1 || rounds > kMostRounds)
      return vz::fail(vz::Code::bad_value, fmt::format("--iterations {} is no number from 1", printable(*word)));
    out.rounds = rounds;
  } else if (batch) {
    out.rounds = 1;
  }
  if (const std::string* word = options.last("--sort")) out.sort = VZ_TRY(parse_top_sort(*word));
  out.reverse = options.has("--reverse");
  return out;
}

vz::Result<int> run_vztop(FaceCall& call) {
  TopOptions options = VZ_TRY(top_options(call.options));
  if (!call.options.has("--batch"))
    return vz::fail(vz::Error(vz::Code::unsupported, "this build of vztop has no screen")
                        .with_hint("use -b, or install the program vztop (it needs ncurses)"));
  TopReading before = VZ_TRY(read_top(call.host));
  for (std::uint64_t round = 0; round < options.rounds; ++round) {
    // A rate needs two readings: the first table, too, waits for the second.
    std::this_thread::sleep_for(options.delay);
    TopReading now = VZ_TRY(read_top(call.host));
    if (round > 0 && !call.options.has("--json")) VZ_TRY(put("\n"));
    VZ_TRY(put(VZ_TRY(page(call, options, now, before))));
    before = std::move(now);
  }
  return 0;
}

}  // namespace vzctl
