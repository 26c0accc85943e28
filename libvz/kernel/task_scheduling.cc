// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/task_scheduling.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>

#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process_usage.h"

namespace vz {

namespace {

constexpr int kIoprioWhoProcess = 1, kIoprioClassShift = 13;
constexpr unsigned kWord = 8 * sizeof(unsigned long);
constexpr unsigned kCpus = 8192;  // CONFIG_NR_CPUS of every distribution

// More than cpu_set_t has room for.
using CpuMask = std::array<unsigned long, kCpus / kWord>;

std::optional<CpuMask> mask_of(pid_t thread) {
  CpuMask mask{};
  if (::syscall(SYS_sched_getaffinity, thread, sizeof mask, mask.data()) < 0) return std::nullopt;
  return mask;
}

std::vector<unsigned> cpus_in(const CpuMask& mask) {
  std::vector<unsigned> out;
  for (unsigned cpu = 0; cpu < kCpus; ++cpu)
    if (mask[cpu / kWord] >> cpu % kWord & 1) out.push_back(cpu);
  return out;
}

CpuMask mask_with(const std::vector<unsigned>& cpus) {
  CpuMask mask{};
  for (unsigned cpu : cpus)
    if (cpu < kCpus) mask[cpu / kWord] |= 1ul << cpu % kWord;
  return mask;
}

int io_priority_of(pid_t thread) {
  const long priority = ::syscall(SYS_ioprio_get, kIoprioWhoProcess, thread);
  // Class "none" with a level is what the nice value gives.
  return priority > 0 && priority >> kIoprioClassShift != 0 ? static_cast<int>(priority) : 0;
}

void for_each_thread(const std::vector<pid_t>& processes, const std::function<void(pid_t)>& visit) {
  for (pid_t process : processes) {
    auto names = list_dir(fmt::format("/proc/{}/task", process));
    if (!names) continue;
    for (const auto& name : *names)
      if (auto thread = parse_u64(name)) visit(static_cast<pid_t>(*thread));
  }
}

}  // namespace

std::vector<TaskScheduling> read_scheduling(const std::vector<pid_t>& processes, pid_t init) {
  std::vector<TaskScheduling> out;
  const auto usual = mask_of(init);
  for_each_thread(processes, [&](pid_t thread) {
    TaskScheduling task;
    auto mask = mask_of(thread);
    if (mask && usual && *mask != *usual) task.cpus = cpus_in(*mask);
    task.io_priority = io_priority_of(thread);
    if (task.cpus.empty() && task.io_priority == 0) return;
    task.inside = innermost_pid(thread);
    if (task.inside > 0) out.push_back(std::move(task));
  });
  return out;
}

std::vector<std::string> apply_scheduling(const std::vector<pid_t>& processes,
                                          const std::vector<TaskScheduling>& saved) {
  std::vector<std::string> failed;
  if (saved.empty()) return failed;
  for_each_thread(processes, [&](pid_t thread) {
    const pid_t inside = innermost_pid(thread);
    auto task = std::find_if(saved.begin(), saved.end(), [&](const auto& t) { return t.inside == inside; });
    if (task == saved.end()) return;
    const auto mask = mask_with(task->cpus);
    if (!task->cpus.empty() && ::syscall(SYS_sched_setaffinity, thread, sizeof mask, mask.data()) != 0)
      failed.push_back(
          fmt::format("process {}: CPUs {}: {}", inside, fmt::join(task->cpus, ","), std::strerror(errno)));
    if (task->io_priority != 0 && ::syscall(SYS_ioprio_set, kIoprioWhoProcess, thread, task->io_priority) != 0)
      failed.push_back(fmt::format("process {}: I/O priority {}: {}", inside, task->io_priority, std::strerror(errno)));
  });
  return failed;
}

}  // namespace vz
