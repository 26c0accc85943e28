// SPDX-License-Identifier: LGPL-2.1-or-later
// Did a container end by reboot(2), or by halt?
//
// The kernel answers only init's parent: wait(2) reports SIGHUP for a restart, SIGINT for halt and power off, because
// zap_pid_ns_processes() overwrites signal->group_exit_code at the very end. PIDFD_GET_INFO and the proc connector
// show task->exit_code instead, which says nothing (measured on 6.18). A container's init is no child of ours, so we
// read pid_namespace.reboot itself: a raw tracepoint on process exit notes it for the namespace. Where BPF cannot be
// loaded, the zombie's field 52 of /proc/PID/stat tells the same, if we are faster than the reaper.
#pragma once

#include <cstdint>
#include <optional>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

enum class EndKind { unknown, halt, reboot };

// Remembered while init lives: afterwards its pid says nothing any more.
struct InitIdentity {
  pid_t pid = 0;
  std::uint32_t pid_ns = 0;  // inode number of its pid namespace
};
Result<InitIdentity> identify_init(const UniqueFd& pidfd);

class RebootWatch {
 public:
  RebootWatch() = default;  // without BPF
  static Result<RebootWatch> load();
  bool active() const { return link_.valid(); }
  // Call when init's pidfd became readable.
  EndKind ended(const InitIdentity& init, const UniqueFd& pidfd) const;
  void close();

 private:
  UniqueFd map_, link_;
};

}  // namespace vz
