// SPDX-License-Identifier: LGPL-2.1-or-later
// What starting and restoring a container have in common.
#pragma once

#include <string>

#include "libvz/container/context.h"
#include "libvz/container/limits.h"
#include "libvz/container/state.h"
#include "libvz/kernel/cgroup.h"

namespace vz {

// All that is decided before anything is touched.
struct StartPlan {
  CgroupHost cgroups;
  LimitPlan limits;
  Access access;
  IdMap idmap;
  bool lenient = false;       // goes on without limits that cannot be enforced
  std::string quota_special;  // of its root, when users inside have quotas
};
// Code::running, disabled, no_private.
Result<> check_startable(Context& ct, bool force);
Result<StartPlan> plan_start(Context& ct, const StartOptions& options);

// A directory's limits are the kernel's business from before the first process on.
Result<> prepare_disk(Context& ct, const StartPlan& plan, bool strict);

// The root's mount with what mount scripts added; quotas of users inside as the configuration wants them.
// `write_files`: hosts, resolv.conf and the like of a starting guest.
Result<UniqueFd> prepare_root(Context& ct, StartPlan& plan, bool fsck, bool write_files, std::string* device);

// Files of the host that are shown inside, over those of /proc.
struct ShownFiles {
  ProcFiles vzfs;
  std::vector<BindFile> binds;
  UniqueFd owner_dir;  // owner_dir.h
};
ShownFiles shown_files(const Context& ct, const StartPlan& plan);

// Before any task of the container runs: what kernel code has to know of it.
void enter_policy(Context& ct, const StartPlan& plan, const Cgroups& cgroups);
Result<> apply_limits(Context& ct, const Cgroups& cgroups, const StartPlan& plan);

State new_state(const Context& ct, const StartPlan& plan);
Result<> save_phase(Context& ct, State* state, const char* phase, const char* verb = "start");
Result<> check_cancelled(const Context& ct);

}  // namespace vz
