// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/context.h"

#include <fmt/format.h>

#include "libvz/container/checkpoint.h"
#include "libvz/container/lock.h"
#include "libvz/container/network.h"
#include "libvz/container/oom.h"
#include "libvz/container/restored_config.h"
#include "libvz/container/snapshot_store.h"
#include "libvz/container/state.h"
#include "libvz/container/usage_keep.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/file.h"

namespace vz {

Config merged_config(const Host& host, const Config& own) {
  Config merged = host.global();
  merged.merge(own);
  return merged;
}

Result<Context> load_context(const Host& host, Ctid id, Reporter& reporter) {
  Config config = VZ_TRY(host.load(id));
  for (const auto& w : config.warnings()) reporter.warn(fmt::format("Warning: {}: {}", w.where, w.text));
  Context ct{host, id, reporter, std::move(config), {}, {}};
  ct.private_path = host.private_path(id, ct.config);
  ct.root_path = host.root_path(id, ct.config);
  VZ_TRY(settle_checkpoint(host, id, reporter));
  const bool restored = VZ_TRY(settle_restored_config(host, id, ct.private_path, reporter));
  const bool switched = VZ_TRY(settle_snapshots(host, id, ct.private_path, reporter));
  if (restored || switched) ct.config = VZ_TRY(host.load(id));
  return ct;
}

Result<> clean_up(const Host& host, Ctid id, Reporter& reporter) {
  VZ_TRY(settle_checkpoint(host, id, reporter));
  auto loaded = load_state(host, id);
  auto cgroups = VZ_TRY(CgroupHost::probe());
  reporter.step("cleanup.usage");
  keep_last_usage(host, id, reporter);
  reporter.step("cleanup.vswap");
  const bool known = leave_vswap(cgroups, id, loaded && *loaded ? (*loaded)->cgroup_id : 0);
  // It had state, and its groups are gone without us: only by looking at all entries its own can be found.
  if (!known && (!loaded || *loaded)) sweep_vswap(cgroups);
  keep_oom_count(host, cgroups, id);
  reporter.step("cleanup.cgroups");
  VZ_TRY(Cgroups::remove(cgroups, id));
  // A state file of an unknown version still means leftovers; without it the addresses are unknown.
  std::vector<std::string> addresses, bridged;
  if (loaded && *loaded) {
    addresses = (*loaded)->addresses;
    bridged = (*loaded)->bridged;
  }
  reporter.step("cleanup.network");
  VZ_TRY(cleanup_network(id, addresses, bridged));
  reporter.step("cleanup.state");
  VZ_TRY(remove_state(host, id));
  VZ_TRY(remove_tree(host.run_dir(id)));
  return {};
}

Result<> Container::repair(Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "repairing"));
  VZ_TRY(settle_checkpoint(*host_, id_, reporter));
  if (VZ_TRY(running_state(*host_, id_))) return {};
  return clean_up(*host_, id_, reporter);
}

}  // namespace vz
