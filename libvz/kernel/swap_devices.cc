// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/swap_devices.h"

#include <algorithm>
#include <cerrno>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint64_t kPage = 4096;  // bd_stat's unit on every host

std::uint64_t number(const std::vector<std::string>& words, std::size_t at) {
  return at < words.size() ? parse_u64(words[at]).value_or(0) : 0;
}

// /proc/swaps writes blanks and the like as \040.
std::string unescape(std::string_view text) {
  std::string out;
  auto octal = [](char c) { return c >= '0' && c <= '7'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    bool escape =
        text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) && octal(text[i + 3]);
    if (!escape) {
      out += text[i];
      continue;
    }
    out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
    i += 3;
  }
  return out;
}

// "/dev/zram3" -> "zram3"; "" for anything else.
std::string zram_name(const std::string& path) {
  constexpr std::string_view kPrefix = "/dev/zram";
  if (!path.starts_with(kPrefix) || !parse_u64(std::string_view(path).substr(kPrefix.size()))) return {};
  return path.substr(5);
}

void read_zram(const std::string& dir, SwapDevice& device) {
  device.zram = true;
  auto mm = split_blank(read_file(dir + "/mm_stat").value_or(""));
  device.stored = number(mm, 0);
  device.compressed = number(mm, 1);
  device.ram = number(mm, 2);
  device.written = number(split_blank(read_file(dir + "/bd_stat").value_or("")), 0) * kPage;
}

}  // namespace

Result<std::vector<SwapDevice>> swap_devices(const std::string& root) {
  std::vector<SwapDevice> out;
  auto text = read_file(root + "/proc/swaps");
  if (!text && text.error().sys_errno() == ENOENT) return out;  // a kernel without swap
  for (const auto& line : split(VZ_TRY(std::move(text)), '\n')) {
    auto words = split_blank(line);
    if (words.size() < 5 || words[0] == "Filename") continue;
    SwapDevice device;
    device.name = unescape(words[0]);
    device.size = number(words, 2) * 1024;
    device.used = number(words, 3) * 1024;
    bool negative = words[4].starts_with('-');
    auto priority = static_cast<std::int64_t>(parse_u64(std::string_view(words[4]).substr(negative)).value_or(0));
    device.priority = negative ? -priority : priority;
    if (auto name = zram_name(device.name); !name.empty()) read_zram(root + "/sys/block/" + name, device);
    out.push_back(std::move(device));
  }
  return out;
}

std::uint64_t host_pid_limit(const std::string& root) {
  auto pids = parse_u64(trim(read_file(root + "/proc/sys/kernel/pid_max").value_or("")));
  auto threads = parse_u64(trim(read_file(root + "/proc/sys/kernel/threads-max").value_or("")));
  if (!pids || !threads) return pids.value_or(threads.value_or(0));
  return std::min(*pids, *threads);
}

}  // namespace vz
