// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/parasite_room.h"

#include <algorithm>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/job.h"
#include "libvz/kernel/remote_task.h"

namespace vz {

namespace {

constexpr std::size_t kMapsMax = 64u << 20;
// The lowest that vm.mmap_min_addr of every distribution allows.
constexpr unsigned long kAddress = 0x10000, kSize = 4096;
constexpr char kBreakpoint = '\xcc';

// Written to, so that it is among the pages that memory_sender finds, and does not appear when CRIU borrows it.
void map_page(pid_t pid) {
  auto task = RemoteTask::stop(pid);
  if (!task) return;
  const auto there =
      task->call(SYS_mmap, {kAddress, kSize, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                            static_cast<unsigned long>(-1), 0});
  auto memory = open_file(fmt::format("/proc/{}/mem", pid), O_WRONLY);
  if (there && memory) (void)!::pwrite(memory->get(), std::string(kSize, kBreakpoint).data(), kSize, kAddress);
}

}  // namespace

bool lacks_parasite_room(std::string_view maps) {
  // "55a435000000-55a439000000 r-xs 08000000 00:01 59431   /dev/zero (deleted)"
  while (!maps.empty()) {
    const auto line = maps.substr(0, maps.find('\n'));
    maps.remove_prefix(std::min(line.size() + 1, maps.size()));
    const auto blank = line.find(' ');
    if (blank == line.npos || line.size() < blank + 5) continue;
    if (line[blank + 3] == 'x') return line[blank + 4] == 's';
  }
  return false;
}

Result<> make_parasite_room(const std::vector<pid_t>& processes) {
  std::vector<pid_t> lacking;
  for (pid_t pid : processes)
    if (auto maps = read_file(fmt::format("/proc/{}/maps", pid), kMapsMax); maps && lacks_parasite_room(*maps))
      lacking.push_back(pid);
  if (lacking.empty()) return {};
  auto job = VZ_TRY(start_job([&] {
    (void)::setsid();
    for (pid_t pid : lacking) map_page(pid);
    return 0;
  }));
  (void)finish_job(job);
  return {};
}

}  // namespace vz
