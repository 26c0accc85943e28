// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/split.h>

#include <algorithm>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/container/samples.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kMostContainers = Ctid::kMax;

// Less than this and a container does not even boot.
constexpr std::uint64_t kLeastRam = 32 * kMiB;
constexpr std::uint64_t kLeastDisk = 64 * kMiB;
constexpr std::uint64_t kLeastProcesses = 32;

constexpr std::uint64_t kMostProcesses = 8192;
constexpr std::uint64_t kBytesPerInode = 16384;

std::uint64_t nine_tenths(std::uint64_t n) { return n - n / 10; }

// A twentieth of the RAM and at least 128 MiB stay with the host, but never more than a quarter.
std::uint64_t divisible_ram(std::uint64_t ram) { return ram - std::min(std::max(128 * kMiB, ram / 20), ram / 4); }

struct Part {
  std::uint64_t ram = 0, swap = 0, disk = 0, inodes = 0, processes = 0;
};

Part part_of(const SplitRoom& room, std::uint64_t n, std::optional<std::uint64_t> swap) {
  Part p;
  p.ram = divisible_ram(room.memory.ram) / n / kMiB * kMiB;
  p.swap = swap.value_or(room.memory.swap) / n / kMiB * kMiB;
  p.disk = nine_tenths(room.disk) / n / kMiB * kMiB;
  p.inodes = p.disk / kBytesPerInode;
  if (room.inodes) p.inodes = std::min(p.inodes, nine_tenths(room.inodes) / n);
  p.processes = std::min(room.memory.pids ? nine_tenths(room.memory.pids) / n : kMostProcesses, kMostProcesses);
  return p;
}

Result<> check_part(const SplitRoom& room, std::uint64_t n, const Part& p) {
  struct Row {
    bool enough;
    const char* what;
    std::uint64_t fit;
  };
  const std::uint64_t pids = room.memory.pids ? nine_tenths(room.memory.pids) : Limit::kUnlimited;
  const Row rows[] = {
      {p.ram >= kLeastRam, "RAM", divisible_ram(room.memory.ram) / kLeastRam},
      {p.disk >= kLeastDisk, "free disk space for private areas", nine_tenths(room.disk) / kLeastDisk},
      {p.processes >= kLeastProcesses, "processes", pids / kLeastProcesses},
  };
  std::uint64_t fit = kMostContainers;
  const char* lacks = nullptr;
  for (const Row& row : rows) {
    fit = std::min(fit, row.fit);
    if (!row.enough && !lacks) lacks = row.what;
  }
  if (!lacks) return {};
  return fail(Error(Code::no_resources, fmt::format("the host has not enough {} for {} containers", lacks, n))
                  .with_hint(fmt::format("{} would fit, with {} MiB of RAM and {} MiB of disk each at least", fit,
                                         kLeastRam / kMiB, kLeastDisk / kMiB)));
}

std::string size_pair(std::uint64_t bytes) {
  std::uint64_t hard = bytes / 1024, soft = hard / 11 * 10;
  return fmt::format("{}:{}", soft, hard);
}

std::string sample_text(const SplitRoom& room, std::uint64_t n, const Part& p) {
  return fmt::format(
      "# Sample configuration made by vzsplit: {0} of them fill a host with {1} MiB of RAM.\n"
      "# Settings are described in ctid.conf(5).\n\n"
      "# RAM and swap, 0:LIMIT each.\n"
      "PHYSPAGES=\"0:{2}M\"\n"
      "SWAPPAGES=\"0:{3}\"\n\n"
      "# Disk: soft:hard, in KiB. The hard value is the size of the file system.\n"
      "DISKSPACE=\"{4}\"\n"
      "DISKINODES=\"{5}:{6}\"\n\n"
      "# Share of CPU time when it is short; 1000 is the common weight.\n"
      "CPUUNITS=\"1000\"\n\n"
      "# Processes and threads.\n"
      "NUMPROC=\"{7}:{7}\"\n",
      n, room.memory.ram / kMiB, p.ram / kMiB, p.swap ? fmt::format("{}M", p.swap / kMiB) : "0", size_pair(p.disk),
      p.inodes / 11 * 10, p.inodes, p.processes);
}

std::string parent_of(const std::string& path) {
  auto slash = path.find_last_of('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<SplitRoom> read_split_room(const Host& host) {
  SplitRoom room;
  room.memory = VZ_TRY(read_host_memory());
  std::string path = parent_of(host.private_path(Ctid(1), host.global()));
  while (path != "/" && !exists(path)) path = parent_of(path);
  auto dir = VZ_TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  auto space = VZ_TRY_CTX(free_space(dir.get()), path);
  room.disk = space.bytes;
  room.inodes = space.inodes;
  return room;
}

Result<Config> split_host(const SplitRoom& room, std::uint64_t containers, std::optional<std::uint64_t> swap) {
  if (containers == 0 || containers > kMostContainers)
    return fail(Error(Code::bad_value, fmt::format("a host cannot be split among {} containers", containers))
                    .with_hint(fmt::format("give a number from 1 to {}", kMostContainers)));
  if (swap && *swap / containers > Limit::kUnlimited / 2)
    return fail(Code::bad_value, fmt::format("{} bytes of swap are no machine's", *swap));
  Part part = part_of(room, containers, swap);
  VZ_TRY(check_part(room, containers, part));
  return Config::parse(sample_text(room, containers, part), "sample");
}

Result<std::string> save_sample(const Host& host, const std::string& name, const Config& sample) {
  VZ_TRY_CTX(check_file_name(name), "sample name '" + printable(name) + "'");
  auto path = sample_path(host, name);
  if (exists(path))
    return fail(Error(Code::bad_value, path + " already exists").with_hint("choose another name, or remove it"));
  VZ_TRY(sample.save(path));
  return path;
}

}  // namespace vz
