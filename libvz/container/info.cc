// SPDX-License-Identifier: LGPL-2.1-or-later
// Looking at containers. Nothing here locks, repairs or changes anything.
#include <algorithm>
#include <optional>
#include <set>

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

// Which containers have runtime state or a dump: two directories read once instead of two misses per container.
class Traces {
 public:
  static Traces of_all(const Host& host) {
    Traces traces;
    traces.running_ = names_in(host.paths().run);
    traces.dumps_ = names_in(host.dump_dir());
    return traces;
  }
  static Traces of_one(const Host& host, Ctid id) {
    Traces traces;
    if (exists(host.run_dir(id))) traces.running_ = {id.str()};
    if (exists(host.dump_dir() + "/" + dump_name(id))) traces.dumps_ = {dump_name(id)};
    return traces;
  }
  bool may_run(Ctid id) const { return running_.contains(id.str()); }
  bool dumped(Ctid id) const { return dumps_.contains(dump_name(id)); }
  const std::set<std::string>& running() const { return running_; }

 private:
  static std::string dump_name(Ctid id) { return "Dump." + id.str(); }
  static std::set<std::string> names_in(const std::string& directory) {
    auto names = list_dir(directory);
    return names ? std::set<std::string>(names->begin(), names->end()) : std::set<std::string>();
  }
  std::set<std::string> running_, dumps_;
};

Status status_of(const Host& host, Ctid id, const Config& config, bool configured, bool running, bool dumped) {
  Status s;
  s.running = running;
  s.exists = configured && private_exists(host.private_path(id, config));
  s.mounted = s.running || is_mount_point(host.root_path(id, config));
  s.suspended = !s.running && dumped;
  return s;
}

ContainerInfo info_of(const Host& host, Ctid id, const Traces& traces) {
  ContainerInfo info;
  info.id = id;
  auto config = host.load(id);
  bool configured = config.has_value();
  info.config = configured ? *std::move(config) : host.global();
  std::optional<State> state;
  if (traces.may_run(id))
    if (auto loaded = running_state(host, id)) state = *std::move(loaded);
  info.status = status_of(host, id, info.config, configured, state.has_value(), traces.dumped(id));
  if (state) {
    info.init_pid = state->init.pid;
    info.uptime_ns = age_ns(state->init);
  }
  return info;
}

}  // namespace

Result<Status> Container::status() const { return info_of(*host_, id_, Traces::of_one(*host_, id_)).status; }

Result<ContainerInfo> Container::info() const { return info_of(*host_, id_, Traces::of_one(*host_, id_)); }

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
  auto traces = Traces::of_all(host);
  std::vector<Ctid> ids;
  if (all) {
    ids = VZ_TRY(host.containers());
  } else {
    for (const auto& name : traces.running())
      if (auto id = Ctid::parse(name); id && id->value() != 0) ids.push_back(*id);
    std::sort(ids.begin(), ids.end());
  }
  std::vector<ContainerInfo> out;
  for (Ctid id : ids) {
    auto info = info_of(host, id, traces);
    if (all || info.status.running || info.status.mounted) out.push_back(std::move(info));
  }
  return out;
}

}  // namespace vz
