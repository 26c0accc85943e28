// SPDX-License-Identifier: LGPL-2.1-or-later
// Looking at containers. Nothing here locks, repairs or changes anything.
#include <algorithm>
#include <optional>
#include <set>

#include "libvz/base/text.h"
#include "libvz/container/context.h"
#include "libvz/container/dir_quota.h"
#include "libvz/container/limits.h"
#include "libvz/container/oom.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/sample.h"
#include "libvz/container/state.h"
#include "libvz/kernel/boot_id.h"
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/disk_usage.h"
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
    if (!traces.running_.empty()) traces.boot_id_ = read_boot_id();
    return traces;
  }
  static Traces of_one(const Host& host, Ctid id) {
    Traces traces;
    if (exists(host.run_dir(id))) {
      traces.running_ = {id.str()};
      traces.boot_id_ = read_boot_id();
    }
    if (exists(host.dump_dir() + "/" + dump_name(id))) traces.dumps_ = {dump_name(id)};
    return traces;
  }
  bool may_run(Ctid id) const { return running_.contains(id.str()); }
  bool dumped(Ctid id) const { return dumps_.contains(dump_name(id)); }
  const std::set<std::string>& running() const { return running_; }
  const std::string& boot_id() const { return boot_id_; }

 private:
  static std::string dump_name(Ctid id) { return "Dump." + id.str(); }
  static std::set<std::string> names_in(const std::string& directory) {
    auto names = list_dir(directory);
    return names ? std::set<std::string>(names->begin(), names->end()) : std::set<std::string>();
  }
  std::set<std::string> running_, dumps_;
  std::string boot_id_;
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
  std::optional<ProcessId> init;
  if (traces.may_run(id))
    if (auto loaded = running_init(host, id, traces.boot_id())) init = *std::move(loaded);
  info.status = status_of(host, id, info.config, configured, init.has_value(), traces.dumped(id));
  if (init) {
    info.init_pid = init->pid;
    info.uptime_ns = age_ns(*init);
  }
  return info;
}

// The pid stays this process's while we hold its pidfd and it lives; a reading of a dead one is no reading.
// A directory shows the limit as the size of the file system to statfs(2), and of all else the host's numbers.
Result<DiskUsage> counted_usage(const std::string& private_path) {
  auto now = dir_usage(private_path);
  if (!now) return fail(Code::unsupported, "the file system does not count what the container uses");
  auto bound = [](std::uint64_t soft, std::uint64_t hard) { return soft != 0 ? soft : hard; };
  return DiskUsage{now->bytes, bound(now->limits.soft_bytes, now->limits.hard_bytes), now->inodes,
                   bound(now->limits.soft_inodes, now->limits.hard_inodes)};
}

Result<DiskUsage> disk_usage_of(const Host& host, const ContainerInfo& info) {
  const auto private_path = host.private_path(info.id, info.config);
  if (auto layout = private_layout(private_path); layout && *layout == Layout::dir) return counted_usage(private_path);
  auto init = VZ_TRY(running_init(host, info.id, read_boot_id()));
  if (!init) return fail(Code::not_running, "Container is not running");
  auto pidfd = VZ_TRY(open_process(*init));
  auto disk = root_usage(init->pid, private_path);
  VZ_TRY(open_process(*init));  // still the same: /proc/PID/root was this container's
  if (!disk) return fail(Code::unsupported, "the container's file system tells no usage");
  return *disk;
}

Sample sample_of(const Host& host, const SampleSources& sources, const ContainerInfo& info, const Readings& wanted) {
  Sample s = sample_cgroups(sources, info.id, wanted);
  if (s.oom_kills) *s.oom_kills += earlier_oom_kills(host, info.id);
  if (!wanted.has(Reading::disk)) return s;
  auto disk = disk_usage_of(host, info);
  if (!disk) return s;
  s.disk_used = disk->bytes_used;
  if (disk->bytes_total != 0) s.disk_total = disk->bytes_total;
  s.inodes_used = disk->inodes_used;
  if (disk->inodes_total != 0) s.inodes_total = disk->inodes_total;
  return s;
}

}  // namespace

Result<Status> Container::status() const { return info_of(*host_, id_, Traces::of_one(*host_, id_)).status; }

Result<ContainerInfo> Container::info() const { return info_of(*host_, id_, Traces::of_one(*host_, id_)); }

Result<Sample> Container::sample() const {
  auto it = VZ_TRY(info());
  if (!it.status.running) return fail(Code::not_running, "container " + id_.str() + " is not running");
  return sample_containers(*host_, {std::move(it)}, Readings::all())[0];
}

std::vector<Sample> sample_containers(const Host& host, const std::vector<ContainerInfo>& containers,
                                      const Readings& wanted) {
  std::vector<Sample> out(containers.size());
  auto cgroups = CgroupHost::probe();
  if (!cgroups || wanted.empty()) return out;
  auto maps = wanted.has(Reading::privvm) ? BpfMaps::open() : fail(Code::unsupported, "not asked for");
  SampleSources sources{*cgroups, maps ? &*maps : nullptr};
  for (std::size_t i = 0; i < out.size(); ++i)
    if (containers[i].status.running) out[i] = sample_of(host, sources, containers[i], wanted);
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
