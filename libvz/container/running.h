// SPDX-License-Identifier: LGPL-2.1-or-later
// A running container and how the host runs something inside it.
#pragma once

#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/container/state.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/process.h"

namespace vz {

class Host;

// PATH of everything that vz starts inside: that of a Debian root login.
inline constexpr char kGuestPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// HOME, TERM and PATH; no variable of the host's caller.
std::vector<std::string> guest_environment();

struct Running {
  State state;
  UniqueFd pidfd;  // of its init
  Cgroups cgroups;
  std::string run_dir;  // of the host
};

// Code::not_running with the command that starts it.
Result<Running> open_running(const Host& host, Ctid id);

// For run_inside(): as root of the container, in its cgroup and sandbox, with guest_environment(). Refers to `running`.
EnterSpec enter_spec(const Running& running);
// Nobody reads or answers: all three streams are `null`, an open /dev/null.
EnterSpec quiet_enter_spec(const Running& running, const UniqueFd& null);

// By the executable, right from the exec on: comm says "init" until systemd renames itself. Only a hint, the container
// decides what the file is.
bool init_is_systemd(const State& state);

}  // namespace vz
