// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/oom.h"

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint64_t kMiB = 1u << 20;

std::string counts_dir(const Host& host) { return host.paths().run + "/oom"; }
std::string count_path(const Host& host, Ctid id) { return counts_dir(host) + "/" + id.str(); }

std::optional<std::uint64_t> number_in(const Result<std::string>& text) {
  auto value = text ? parse_u64(trim(*text)) : fail(Code::system, "unreadable");
  return value ? std::optional(*value) : std::nullopt;
}

// A limit that is none is not shown: "max", or v1's largest page count.
std::optional<std::uint64_t> limit_in(const Result<std::string>& text) {
  auto value = number_in(text);
  return value && *value < (1ull << 62) ? value : std::nullopt;
}

std::string mib(std::optional<std::uint64_t> bytes) {
  return bytes ? fmt::format("{} MiB", (*bytes + kMiB / 2) / kMiB) : "?";
}

// What is between `key` and the next comma.
std::string_view field(std::string_view text, std::string_view key) {
  auto at = text.find(key);
  if (at == text.npos) return {};
  text.remove_prefix(at + key.size());
  return text.substr(0, text.find_first_of(",\n"));
}

std::optional<Ctid> container_of(std::string_view path) {
  constexpr std::string_view kPrefix = "/vz.slice/vz-";
  if (!path.starts_with(kPrefix)) return std::nullopt;
  path.remove_prefix(kPrefix.size());
  auto id = Ctid::parse(path.substr(0, path.find(".scope/")));
  if (!id || id->value() == 0) return std::nullopt;
  return *id;
}

}  // namespace

std::uint64_t oom_kills_of_run(const CgroupHost& host, Ctid id) {
  const auto* memory = host.find(Controller::memory);
  if (!memory) return 0;
  auto cgroups = Cgroups::open(host, id);
  if (!cgroups) return 0;
  auto text = cgroups->read(Controller::memory, memory->v2 ? "memory.events" : "memory.oom_control");
  for (const auto& line : split(text.value_or(""), '\n')) {
    auto words = split_blank(line);
    if (words.size() != 2 || words[0] != "oom_kill") continue;
    auto value = parse_u64(words[1]);
    return value ? *value : 0;
  }
  return 0;
}

std::uint64_t earlier_oom_kills(const Host& host, Ctid id) {
  return number_in(read_file(count_path(host, id))).value_or(0);
}

std::set<Ctid> with_earlier_oom_kills(const Host& host) {
  std::set<Ctid> out;
  auto names = list_dir(counts_dir(host));
  for (const auto& name : names ? *names : std::vector<std::string>())
    if (auto id = Ctid::parse(name)) out.insert(*id);
  return out;
}

void keep_oom_count(const Host& host, const CgroupHost& cgroups, Ctid id) {
  auto kills = oom_kills_of_run(cgroups, id);
  if (kills == 0) return;
  // Best effort: a lost count loses nothing else. Killed between here and the removal of the groups, it counts twice.
  (void)make_dirs(counts_dir(host), 0755);
  (void)replace_file(count_path(host, id), std::to_string(earlier_oom_kills(host, id) + kills) + "\n", 0644);
}

std::string oom_message(const OomReport& r) {
  std::string out = fmt::format("out of memory: killed process {} ({})", r.pid, printable(r.comm));
  if (r.rss) out += fmt::format(", which had {} of RAM and {} of swap", mib(r.rss), mib(r.swap));
  if (r.host_short) out += "; the host itself ran short";
  out += fmt::format("; the container uses {} of {} RAM, {} of {} swap", mib(r.ram_used),
                     r.ram_limit ? mib(r.ram_limit) : "unlimited", mib(r.swap_used),
                     r.swap_limit ? mib(r.swap_limit) : "unlimited");
  return out;
}

OomReport oom_report(const VzOomKill& k) {
  auto limit = [](std::uint64_t v) { return v < (1ull << 62) ? std::optional(v) : std::nullopt; };
  OomReport out;
  out.id = Ctid(k.ctid);
  out.pid = k.pid;
  out.comm = k.comm;
  out.host_short = k.host_short;
  out.rss = k.rss_anon + k.rss_file + k.rss_shmem;
  out.swap = k.swap;
  out.ram_used = k.ram_usage;
  out.ram_limit = limit(k.ram_limit);
  out.swap_used = k.swap_usage;
  out.swap_limit = limit(k.swap_limit);
  return out;
}

std::optional<OomReport> parse_oom_line(std::string_view record) {
  auto begin = record.find(';');  // "PRIORITY,SEQUENCE,TIME,FLAGS;TEXT"
  if (begin == record.npos) return std::nullopt;
  std::string_view text = record.substr(begin + 1);
  if (!text.starts_with("oom-kill:constraint=")) return std::nullopt;
  // A container chooses names of its groups, without '/', and of its processes, behind ",task=". So the first path
  // behind ",oom_memcg=/" or ",task_memcg=/" is the kernel's.
  OomReport out;
  auto oom_group = field(text, ",oom_memcg=");
  out.host_short = oom_group.empty() || !container_of(oom_group);
  auto id = container_of(out.host_short ? field(text, ",task_memcg=") : oom_group);
  if (!id) return std::nullopt;
  out.id = *id;
  auto line = text.substr(0, text.find('\n'));
  auto task = line.find(",task="), pid = line.rfind(",pid="), uid = line.rfind(",uid=");
  if (task == line.npos || pid == line.npos || uid == line.npos || pid < task + 6) return std::nullopt;
  out.comm = line.substr(task + 6, pid - task - 6);
  auto number = parse_u64(field(line.substr(pid), ",pid="));
  if (number) out.pid = static_cast<std::uint32_t>(*number);
  return out;
}

void add_memory(const CgroupHost& host, OomReport& report) {
  const auto* memory = host.find(Controller::memory);
  auto cgroups = Cgroups::open(host, report.id);
  if (!memory || !cgroups) return;
  auto read = [&](const char* file) { return cgroups->read(Controller::memory, file); };
  report.ram_used = number_in(read(memory->v2 ? "memory.current" : "memory.usage_in_bytes"));
  report.ram_limit = limit_in(read(memory->v2 ? "memory.max" : "memory.limit_in_bytes"));
  if (memory->v2) {
    report.swap_used = number_in(read("memory.swap.current"));
    report.swap_limit = limit_in(read("memory.swap.max"));
    return;
  }
  auto both = number_in(read("memory.memsw.usage_in_bytes"));
  auto both_limit = limit_in(read("memory.memsw.limit_in_bytes"));
  if (both && report.ram_used) report.swap_used = *both - std::min(*both, *report.ram_used);
  if (both_limit && report.ram_limit) report.swap_limit = *both_limit - std::min(*both_limit, *report.ram_limit);
}

}  // namespace vz
