// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/pressure.h>

#include <charconv>
#include <string>

#include "libvz/base/text.h"
#include "libvz/kernel/cgroup_file.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

Stall parse_stall(const std::vector<std::string>& words) {
  Stall out;
  for (std::string_view word : words) {
    auto equals = word.find('=');
    if (equals == word.npos) continue;
    auto key = word.substr(0, equals), value = word.substr(equals + 1);
    double number = 0;
    (void)std::from_chars(value.data(), value.data() + value.size(), number);
    if (key == "avg10") out.avg10 = number;
    if (key == "avg60") out.avg60 = number;
    if (key == "avg300") out.avg300 = number;
    if (key == "total") out.total_us = parse_u64(value).value_or(0);
  }
  return out;
}

}  // namespace

Stalls parse_pressure(std::string_view text) {
  Stalls out;
  for (const auto& line : split(text, '\n')) {
    auto words = split_blank(line);
    if (words.empty()) continue;
    if (words[0] == "some") out.some = parse_stall(words);
    if (words[0] == "full") out.full = parse_stall(words);
  }
  return out;
}

Pressure read_host_pressure() {
  auto read = [](const char* file) {
    return parse_pressure(read_file(std::string("/proc/pressure/") + file).value_or(""));
  };
  return {read("cpu"), read("memory"), read("io")};
}

std::vector<Pressure> read_pressure(std::span<const Ctid> ids) {
  std::vector<Pressure> out(ids.size());
  auto host = CgroupHost::probe();
  if (!host || host->unified.empty()) return out;
  // The files are cgroup2's own, whichever hierarchy has the controllers.
  const ControllerMount unified{Controller::memory, true, host->unified};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    auto read = [&](const char* file) { return parse_pressure(read_group_file(unified, ids[i], file).value_or("")); };
    out[i] = {read("cpu.pressure"), read("memory.pressure"), read("io.pressure")};
  }
  return out;
}

}  // namespace vz
