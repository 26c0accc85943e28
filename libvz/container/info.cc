// SPDX-License-Identifier: LGPL-2.1-or-later
// Looking at containers. Nothing here locks, repairs or changes anything.
#include <algorithm>

#include "libvz/base/text.h"
#include "libvz/container/context.h"
#include "libvz/container/limits.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/sample.h"
#include "libvz/container/state.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"

namespace vz {

namespace {

std::string dump_path(const Host& host, Ctid id) {
  auto dir = host.global().get("DUMPDIR").value_or("");
  return (dir.empty() ? host.paths().lib + "/dump" : dir) + "/Dump." + id.str();
}

Status status_of(const Host& host, Ctid id, const Config& config, bool configured, const std::optional<State>& state) {
  Status s;
  s.running = state.has_value();
  s.exists = configured && private_exists(host.private_path(id, config));
  s.mounted = s.running || is_mount_point(host.root_path(id, config));
  s.suspended = !s.running && exists(dump_path(host, id));
  return s;
}

ContainerInfo info_of(const Host& host, Ctid id) {
  ContainerInfo info;
  info.id = id;
  auto config = host.load(id);
  bool configured = config.has_value();
  info.config = configured ? *std::move(config) : host.global();
  auto loaded = running_state(host, id);
  std::optional<State> state = loaded ? *std::move(loaded) : std::nullopt;
  info.status = status_of(host, id, info.config, configured, state);
  if (state) {
    info.init_pid = state->init.pid;
    info.uptime_ns = age_ns(state->init);
  }
  return info;
}

}  // namespace

Result<Status> Container::status() const { return info_of(*host_, id_).status; }

Result<ContainerInfo> Container::info() const { return info_of(*host_, id_); }

Result<Sample> Container::sample() const {
  return sample_container(*host_, VZ_TRY(CgroupHost::probe()), id_, SampleParts::all);
}

std::vector<Sample> sample_containers(const Host& host, const std::vector<Ctid>& ids, SampleParts parts) {
  std::vector<Sample> out(ids.size());
  auto cgroup_host = CgroupHost::probe();
  for (std::size_t i = 0; cgroup_host && i < ids.size(); ++i)
    if (auto got = sample_container(host, *cgroup_host, ids[i], parts)) out[i] = *got;
  return out;
}

Result<std::vector<Change>> Container::plan() const {
  Config config = VZ_TRY(host_->load(id_));
  auto cgroups = VZ_TRY(CgroupHost::probe());
  auto facts = VZ_TRY(read_limit_facts(cgroups, host_->private_path(id_, config)));
  auto limits = VZ_TRY(plan_limits(config, facts));
  std::vector<Change> out;
  for (const auto& w : limits.writes) out.push_back({"cgroup " + w.file, "", w.value});
  return out;
}

Result<std::vector<ContainerInfo>> list_containers(const Host& host, bool all) {
  std::vector<Ctid> ids;
  if (all) {
    ids = VZ_TRY(host.containers());
  } else if (exists(host.paths().run)) {
    for (const auto& name : VZ_TRY(list_dir(host.paths().run)))
      if (auto id = Ctid::parse(name); id && id->value() != 0) ids.push_back(*id);
    std::sort(ids.begin(), ids.end());
  }
  std::vector<ContainerInfo> out;
  for (Ctid id : ids) {
    auto info = info_of(host, id);
    if (all || info.status.running || info.status.mounted) out.push_back(std::move(info));
  }
  return out;
}

}  // namespace vz
