// SPDX-License-Identifier: LGPL-2.1-or-later
// What every operation on one container starts from.
#pragma once

#include <string>

#include <vz/config.h>
#include <vz/container.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/devices.h"
#include "libvz/kernel/process.h"

namespace vz {

// Borrowed host and reporter, owned configuration; lives for one operation.
struct Context {
  const Host& host;
  Ctid id;
  Reporter& reporter;
  Config config;  // vz.conf <- ID.conf
  std::string private_path;
  std::string root_path;
};

// vz.conf and over it what a container sets itself.
Config merged_config(const Host& host, const Config& own);

// Code::no_config when ID.conf is missing. Warnings of the file go to the reporter. The caller holds the container's
// lock: a checkpoint that was left in the middle is settled first.
Result<Context> load_context(const Host& host, Ctid id, Reporter& reporter);

// Undoes what a dead container or a killed vzctl left: processes, cgroups, proxy neighbours, RUN/ID, PRIVATE.tmp.
// The caller holds the container's lock and knows that it does not run.
Result<> clean_up(const Host& host, Ctid id, Reporter& reporter);

// Operations that need no locking of their own: the caller holds the lock.
Result<> start_locked(Context& ct, const StartOptions& options);
Result<> stop_locked(Context& ct, const StopOptions& options);
Result<> destroy_locked(Context& ct);
// As destroy, but for the private area, which is another host's now.
Result<> forget_locked(Context& ct);

// Runs argv[0] as the only process of a stopped container (no init), with its root, devices, network off and
// limits; returns its exit status. For runscript and password changes.
Result<int> run_without_init(Context& ct, std::vector<std::string> argv, int stdin_fd);

// Access of the container's processes: capabilities, seccomp, devices.
struct Access {
  Sandbox sandbox;
  std::vector<DeviceNode> nodes;
  std::vector<DeviceRule> rules;
};
Result<Access> plan_access(const Config& config);
// FEATURES="nesting:on"; `otherwise`: when it does not say.
bool feature_on(const Config& config, const std::string& name, bool otherwise = false);

// Rules between settings, and values that only their user understands (mount options). Code::bad_value,
// Code::not_enough_ubc.
Result<> check_settings(const Config& merged);

// Options that are set in `config`, have a row in the table and are enforced by no code of this version.
std::vector<std::string> not_enforced_options(const Config& config);

}  // namespace vz
