// SPDX-License-Identifier: GPL-2.0-or-later
// vzcalc: the share of the host that one container uses now, may count on, and may take at most.
#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <vz/beancounters.h>
#include <vz/memory_report.h>

#include "vzctl/face.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

constexpr std::uint64_t kPage = 4096;

constexpr Option kOptions[] = {
    {"-v,--verbose", nullptr, "All resources, not only memory in total"},
    {"-j,--json", nullptr, "Print JSON: all resources, shares as fractions of 100"},
    {"--format", "FORMAT", "table, json, csv or yaml", Values::format},
};

// A share in percent; nullopt: unknown. Infinite: nothing limits it.
using Share = std::optional<double>;
constexpr double kUnlimited = std::numeric_limits<double>::infinity();

struct Resource {
  const char* key;
  const char* name;
  Share current, promised, max;
};

using Number = std::optional<std::uint64_t>;

Share share(Number part, std::uint64_t whole) {
  if (!part || whole == 0) return {};
  return *part >= vz::Limit::kUnlimited / kPage ? kUnlimited
                                                : static_cast<double>(*part) * 100 / static_cast<double>(whole);
}

// `unit` bytes or processes per number of the limit.
Resource resource(const char* key, const char* name, Number current, const std::optional<vz::Limit>& limit,
                  std::uint64_t unit, std::uint64_t whole) {
  auto scaled = [&](std::uint64_t n) { return n >= vz::Limit::kUnlimited / kPage ? n : n * unit; };
  Resource out{key, name, share(current, whole), {}, kUnlimited};
  if (limit) {
    out.promised = share(scaled(limit->barrier), whole);
    out.max = share(scaled(limit->limit), whole);
  }
  return out;
}

vz::Limit both(const vz::Limit& ram, const std::optional<vz::Limit>& swap) {
  if (!swap || swap->limit > vz::Limit::kUnlimited - ram.limit) return {vz::Limit::kUnlimited, vz::Limit::kUnlimited};
  return {ram.limit + swap->limit, ram.limit + swap->limit};
}

// Rows that the host itself has an end of, next to memory and processes. `whole`: 0 where it tells none.
struct Secondary {
  vz::Ub row;
  const char* name;
  std::uint64_t whole;  // in the row's unit
};

std::uint64_t file_number(const char* path) {
  std::ifstream in(path);
  std::uint64_t value = 0;
  in >> value;
  return value;
}

std::vector<Secondary> secondary_rows(const vz::HostMemoryState& host) {
  using vz::Ub;
  const std::uint64_t ram = host.ram, pages = host.ram / kPage;
  return {{Ub::kmemsize, "Kernel Mem", ram},
          {Ub::lockedpages, "Locked Mem", pages},
          {Ub::shmpages, "Shared Mem", pages},
          {Ub::tcpsndbuf, "TCP Send", ram},
          {Ub::tcprcvbuf, "TCP Receive", ram},
          {Ub::othersockbuf, "Other Send", ram},
          {Ub::dgramrcvbuf, "Dgram Recv", ram},
          {Ub::dcachesize, "Dentries", ram},
          {Ub::numfile, "Num. File", file_number("/proc/sys/fs/file-max")},
          {Ub::numpty, "Num. Pty", file_number("/proc/sys/kernel/pty/max")}};
}

// The barrier of physpages and swappages is without meaning: what they promise is their limit.
std::vector<Resource> resources(const vz::Config& config, const vz::Sample& s, bool running,
                                const vz::HostMemoryState& host) {
  auto held = [&](Number n) { return running ? n : Number(0); };
  auto ram = config.limit("PHYSPAGES");
  std::optional<vz::Limit> total;
  if (ram) {
    ram->barrier = ram->limit;
    total = both(*ram, config.limit("SWAPPAGES"));
  }
  Number used = s.ram_held && s.swap_held ? Number(*s.ram_held + *s.swap_held) : Number();
  std::uint64_t all = host.ram + host.swap;
  return {
      resource("ram", "Total RAM", held(s.ram_held), ram, kPage, host.ram),
      resource("ram_swap", "Mem + Swap", held(used), total, kPage, all),
      resource("private", "Alloc. Mem", held(s.privvm_held), vz::effective_limit(config, "PRIVVMPAGES"), kPage, all),
      resource("numproc", "Num. Proc", held(s.numproc), config.limit("NUMPROC"), 1, host.pids)};
}

std::vector<Resource> secondary(const vz::UbSnapshot& now, const vz::Config& config, bool running,
                                const vz::HostMemoryState& host) {
  std::vector<Resource> out;
  for (const Secondary& s : secondary_rows(host)) {
    const vz::UbResource& r = vz::ub_resource(s.row);
    out.push_back(resource(r.name, s.name, running ? now[s.row].held : Number(0), vz::effective_limit(config, r.key), 1,
                           s.whole));
  }
  return out;
}

Share largest(Share a, Share b) { return a && b ? std::max(*a, *b) : a ? a : b; }

// Memory as a whole: the greater of RAM and RAM + swap. Mappings that hold nothing take nothing.
Resource memory(const std::vector<Resource>& list) {
  Resource out{"memory", "Memory", {}, {}, {}};
  for (const Resource& r : {list[0], list[1]}) {
    out.current = largest(out.current, r.current);
    out.promised = largest(out.promised, r.promised);
    out.max = largest(out.max, r.max);
  }
  return out;
}

Cell cell(Share s) {
  if (!s) return {"n/a", Value()};
  if (*s == kUnlimited) return {"unlimited", "unlimited"};
  return {fmt::format("{:.2f}", *s), *s};
}

Table table_of(const std::vector<Resource>& list) {
  Table table{{{"resource", "Resource", -12, {}},
               {"current", "Current(%)", 11, {}},
               {"promised", "Promised(%)", 12, {}},
               {"max", "Max(%)", 11, {}}},
              {}};
  for (const Resource& r : list)
    table.rows.push_back({{r.name, r.key}, cell(r.current), cell(r.promised), cell(r.max)});
  return table;
}

std::string for_people(std::vector<Resource> list, bool verbose) {
  Resource total = memory(list);
  if (!verbose) return to_text(table_of({total}), {});
  return to_text(table_of(list), {}) + std::string(49, '-') + "\n" + to_text(table_of({total}), {.header = false});
}

}  // namespace

std::span<const Option> vzcalc_options() { return kOptions; }

vz::Result<int> run_vzcalc(FaceCall& call) {
  const Options& o = call.options;
  Format format = VZ_TRY(chosen_format(o));
  vz::Ctid id = VZ_TRY(call.host.resolve(o.words[0]));
  if (id.value() == 0) return vz::fail(vz::Code::bad_value, "the host itself is no container");
  VZ_TRY(call.host.load(id));  // says so when it is not configured
  auto info = VZ_TRY(vz::Container(call.host, id).info());
  using vz::Reading;
  auto samples = vz::sample_containers(call.host, {info},
                                       {Reading::ram_held, Reading::swap_held, Reading::privvm, Reading::numproc});
  auto list = resources(info.config, samples[0], info.status.running, VZ_TRY(vz::read_host_memory()));
  if (format != Format::table || o.has("--verbose")) {
    auto counters = VZ_TRY(vz::Beancounters::open(call.host));
    auto now = VZ_TRY(counters.read(std::vector{id}));
    for (Resource& r : secondary(now[0], info.config, info.status.running, VZ_TRY(vz::read_host_memory())))
      list.push_back(std::move(r));
  }
  if (format == Format::table) {
    VZ_TRY(put(for_people(list, o.has("--verbose"))));
  } else {
    list.push_back(memory(list));
    VZ_TRY(put(render(table_of(list), format, {})));
  }
  return 0;
}

}  // namespace vzctl
