// SPDX-License-Identifier: LGPL-2.1-or-later
// The memory of a running container, sent ahead: all of it once, then what was written since, until little is. What
// CRIU cannot leave out of its images (shared memory, files' private pages, stacks) it sends itself at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include <vz/error.h>
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/frame_channel.h"
#include "libvz/kernel/page_tracker.h"
#include "libvz/kernel/process.h"

namespace vz {

class MemorySender {
 public:
  // `cgroups` must live as long.
  explicit MemorySender(const Cgroups& cgroups) : cgroups_(cgroups) {}

  // While it runs: what was written since the last time. Processes that are new are tracked from now on; one that
  // cannot be is left for the end. Returns the bytes sent. `go_on` false: Code::io "interrupted".
  Result<std::uint64_t> send(FrameChannel& channel, const std::function<bool(std::uint64_t)>& go_on);
  // When it stands still. Afterwards nothing of the tracking is left in the processes.
  Result<std::uint64_t> send_rest(FrameChannel& channel);

 private:
  struct Tracked {
    ProcessId id;
    PageTracker tracker;
  };
  Result<> track_new(const std::vector<pid_t>& pids);
  const Cgroups& cgroups_;
  std::map<pid_t, Tracked> tracked_;
};

// Bytes of private anonymous memory that these processes have in RAM and swap; pages of several count for each.
std::uint64_t private_memory(const std::vector<pid_t>& pids);

// Of a kPages frame. Code::bad_value when it is none.
struct PagesFrame {
  std::uint32_t pid = 0;  // as in the container
  std::uint64_t address = 0;
  std::string_view data;
};
Result<PagesFrame> parse_pages(std::string_view payload);

}  // namespace vz
