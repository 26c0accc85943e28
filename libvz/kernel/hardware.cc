// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/hardware.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

std::string first_line(const std::string& path, const std::string& fallback) {
  auto text = read_file(path);
  auto line = text ? std::string(trim(*text)) : std::string();
  return line.empty() ? fallback : line;
}

std::string parent_path(const std::string& path) {
  auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// iocost: one line per device, "254:0 enable=1 ctrl=auto …", in the root group.
bool io_cost_on(const std::string& device) {
  auto text = read_file("/sys/fs/cgroup/io.cost.qos");
  if (!text) return false;
  for (const auto& line : split(*text, '\n'))
    if (line.starts_with(device + " ") && line.find("enable=1") != std::string::npos) return true;
  return false;
}

}  // namespace

Result<HostMemory> host_memory(const std::string& root) {
  HostMemory out;
  for (const auto& line : split(VZ_TRY(read_file(root + "/proc/meminfo")), '\n')) {
    auto fields = split_blank(line);
    if (fields.size() < 2) continue;
    auto kib = parse_u64(fields[1]);
    if (kib && fields[0] == "MemTotal:") out.ram = *kib * 1024;
    if (kib && fields[0] == "SwapTotal:") out.swap = *kib * 1024;
    if (kib && fields[0] == "MemAvailable:") out.available = *kib * 1024;
    if (kib && fields[0] == "SwapFree:") out.swap_free = *kib * 1024;
  }
  return out;
}

bool multi_gen_lru(const std::string& root) {
  const auto enabled = first_line(root + "/sys/kernel/mm/lru_gen/enabled", "0");
  return std::strtoul(enabled.c_str(), nullptr, 16) & 1;
}

std::uint64_t host_pid_limit(const std::string& root) {
  auto pids = parse_u64(first_line(root + "/proc/sys/kernel/pid_max", ""));
  auto threads = parse_u64(first_line(root + "/proc/sys/kernel/threads-max", ""));
  if (!pids || !threads) return pids.value_or(threads.value_or(0));
  return std::min(*pids, *threads);
}

std::vector<std::string> instruction_sets(const std::string& root) {
  // What is not here, programs do not use by themselves (smep), or is no matter of theirs (constant_tsc).
  static const std::set<std::string_view> kUsed = {
      "3dnowprefetch", "abm",        "adx",       "aes",        "bmi1",      "bmi2",       "cldemote",
      "clflush",       "clflushopt", "clwb",      "clzero",     "cmov",      "cx16",       "cx8",
      "erms",          "f16c",       "fma",       "fma4",       "fsgsbase",  "fsrm",       "fxsr",
      "gfni",          "hle",        "lahf_lm",   "lm",         "lwp",       "mmx",        "monitorx",
      "movbe",         "movdiri",    "movdir64b", "ospke",      "pclmulqdq", "pni",        "popcnt",
      "rdpid",         "rdrand",     "rdseed",    "rdtscp",     "rtm",       "serialize",  "sha_ni",
      "sha512",        "sm3",        "sm4",       "sse",        "sse2",      "ssse3",      "sse4_1",
      "sse4_2",        "sse4a",      "tbm",       "user_shstk", "vaes",      "vpclmulqdq", "waitpkg",
      "xgetbv1",       "xop",        "xsave",     "xsavec",     "xsaveopt",  "xsaves"};
  std::vector<std::string> out;
  const auto text = read_file(root + "/proc/cpuinfo");
  for (auto& word : split_blank(text ? line_value(*text, "flags") : std::string_view()))
    if (kUsed.contains(word) || word.starts_with("avx") || word.starts_with("amx_")) out.push_back(std::move(word));
  return out;
}

HostProcessors host_processors(const std::string& root) {
  const std::string dir = root + "/sys/devices/system/";
  HostProcessors out;
  out.cpus = first_line(dir + "cpu/online", "0");
  out.nodes = first_line(dir + "node/has_memory", "0");
  auto names = list_dir(dir + "node");
  if (!names) return out;  // a kernel without NUMA
  for (const auto& name : *names) {
    auto number = name.starts_with("node") ? parse_u64(std::string_view(name).substr(4)) : fail(Code::bad_value, name);
    if (number)
      out.local.emplace_back(static_cast<unsigned>(*number), first_line(dir + "node/" + name + "/cpulist", ""));
  }
  return out;
}

Disk disk_of(const std::string& path) {
  struct stat st;
  std::string at = path;
  while (::stat(at.c_str(), &st) != 0 && at != "/" && at != ".") at = parent_path(at);
  if (::stat(at.c_str(), &st) != 0 || major(st.st_dev) == 0) return {};
  std::string sys = fmt::format("/sys/dev/block/{}:{}", major(st.st_dev), minor(st.st_dev));
  // The entry is a symlink into the device tree; a partition is a child of its disk there. io.max takes disks only.
  if (exists(sys + "/partition")) sys += "/..";
  Disk out;
  out.device = first_line(sys + "/dev", "");
  if (out.device.empty()) return out;
  out.bfq = first_line(sys + "/queue/scheduler", "").find("[bfq]") != std::string::npos;
  out.io_cost = io_cost_on(out.device);
  return out;
}

}  // namespace vz
