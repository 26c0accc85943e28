// SPDX-License-Identifier: LGPL-2.1-or-later
// vzd, one process per host: holds the masters of the containers' console ptys, drains them into RUN/ID/console.log
// (the last 64 KiB), watches every init by pidfd, cleans up after a container that ended by itself, and restarts one
// that rebooted. This is the client side of its socket RUN/vzd.sock (SOCK_SEQPACKET, one datagram per request,
// SCM_RIGHTS).
#pragma once

#include <map>
#include <string>

#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Hands a started container to vzd: its console's master and a pidfd of its init. Starts vzd when it is not
// running. Never fatal for a start: without vzd the container runs, without console, self-cleaning and self-reboot.
Result<> vzd_adopt(const std::string& run_dir, Ctid id, const UniqueFd& console_master, const UniqueFd& init_pidfd);
// Gives vzd the listener of a seccomp filter: it answers quotactl(2) of the container's processes that are under it.
Result<> vzd_quota(const std::string& run_dir, Ctid id, const UniqueFd& listener);
// A duplicate of the console's master; vzd stops draining it until the returned lease socket is closed.
struct ConsoleLease {
  UniqueFd master;
  UniqueFd lease;
  std::string backlog;  // what it had drained
};
Result<ConsoleLease> vzd_console(const std::string& run_dir, Ctid id);
// vzd will not clean up or restart this container: vzctl is doing it. Until the returned socket is closed.
// `start`: it is started when it does not run.
Result<UniqueFd> vzd_hold(const std::string& run_dir, Ctid id, bool start = false);
// What has been used up to now is not lost when a container ends before somebody reads it. Nothing without vzd.
void vzd_sample(const std::string& run_dir);
// What the vzd that runs holds, by name; it ends.
Result<std::map<std::string, UniqueFd>> vzd_yield(const std::string& run_dir);

}  // namespace vz
