// SPDX-License-Identifier: LGPL-2.1-or-later
// RUN/ID/state.json: what a running container consists of. Gone after a reboot; checked against the kernel on
// every read, so that a stale file never lies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include "libvz/kernel/idmap.h"
#include "libvz/kernel/process.h"

namespace vz {

struct State {
  static constexpr int kVersion = 1;
  Ctid id{0};
  // "starting", "running", "stopping", "environment"; of a checkpoint: "suspending" and "restoring" while a vzctl
  // works, "frozen" and "dumped" between its steps
  std::string phase;
  ProcessId init;  // pid 0 while starting
  IdMap idmap;
  std::string layout;                // "image", "dir"
  std::string root_device;           // /dev/loopN or ""
  std::string veth;                  // host end of venet0
  std::vector<std::string> bridged;  // host ends of --netif_add devices
  std::vector<std::string> addresses;
  bool nesting = false;
  std::uint64_t capabilities = 0;
  bool user_quota = false;      // quotactl(2) inside is answered: by vzd,
  bool native_quota = false;    // or by the kernel
  std::string quota_special;    // what it calls the root's file system there
  std::uint64_t cgroup_id = 0;  // of P/ct on cgroup v2: entries for kernel code can be found when the group is gone
  std::string boot_id;          // /proc/sys/kernel/random/boot_id at start
  std::int64_t started_at = 0;  // seconds since the epoch
  std::string dump;             // while suspending, restoring or dumped: the dump's directory
  std::string token;            // and its token
  ProcessId criu;               // who is at work on it
  std::string config_snapshot;  // merged configuration that the running container was given (Config::text())
};

// nullopt: no state file. A file of an unknown major version is refused (Code::bad_config).
Result<std::optional<State>> load_state(const Host& host, Ctid id);
Result<> save_state(const Host& host, const State& state);
Result<> remove_state(const Host& host, Ctid id);
// Loaded, and its init is alive: the container runs.
Result<std::optional<State>> running_state(const Host& host, Ctid id);
// Only its init, with the boot id read before: for looking at many containers. A snapshot, nothing holds the process.
Result<std::optional<ProcessId>> running_init(const Host& host, Ctid id, const std::string& boot_id);

}  // namespace vz
