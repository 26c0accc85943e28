// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/bpf_map.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "libvz/kernel/bpf_call.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

bpf_attr element(const UniqueFd& map, const std::uint64_t& key, const void* value, __u64 flags) {
  auto attr = empty_bpf_attr();
  attr.map_fd = static_cast<__u32>(map.get());
  attr.key = bpf_address(&key);
  attr.value = bpf_address(value);
  attr.flags = flags;
  return attr;
}

template <typename Value>
Result<BpfEntries<Value>> all_entries(const BpfMap& map) {
  auto all = VZ_TRY(map.entries());
  BpfEntries<Value> out(all.keys.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].cgroup_id = all.keys[i];
    std::memcpy(&out[i].value, all.values.data() + i * sizeof(Value), sizeof(Value));
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.cgroup_id < b.cgroup_id; });
  return out;
}

Error no_room(std::uint64_t key) {
  return Error::from_errno(E2BIG, fmt::format("no room for cgroup {} in the BPF map", key), Code::no_resources)
      .with_hint(fmt::format("at most {} containers can run at a time", VZ_BPF_MAX_CTS));
}

// What the program returns; its context is empty.
Result<int> run_program(const UniqueFd& program, const std::string& path) {
  auto attr = empty_bpf_attr();
  attr.test.prog_fd = static_cast<__u32>(program.get());
  if (bpf(BPF_PROG_TEST_RUN, attr) != 0) return fail_errno("run BPF program " + path);
  return static_cast<int>(attr.test.retval);
}

const char* const kLoad = "run `vz-bpf load`, or start vz-vswap.service";

}  // namespace

Result<UniqueFd> open_bpf_pin(const std::string& what, const std::string& path) {
  auto attr = empty_bpf_attr();
  attr.pathname = bpf_address(path.c_str());
  UniqueFd fd(bpf(BPF_OBJ_GET, attr));
  if (fd) return fd;
  const char* hint = errno == EPERM || errno == EACCES ? "needs CAP_BPF and CAP_SYS_ADMIN" : kLoad;
  return fail(Error::from_errno(errno, what + " " + path, Code::unsupported).with_hint(hint));
}

Result<BpfMap> BpfMap::open(const std::string& path, std::uint32_t value_size) {
  UniqueFd fd = VZ_TRY(open_bpf_pin("BPF map", path));
  auto attr = empty_bpf_attr();
  bpf_map_info info{};
  attr.info.bpf_fd = static_cast<__u32>(fd.get());
  attr.info.info_len = sizeof info;
  attr.info.info = bpf_address(&info);
  // A pinned program or link has an info too, of another kind: its numbers do not pass for a map's.
  if (bpf(BPF_OBJ_GET_INFO_BY_FD, attr) != 0) return fail_errno("BPF map " + path, Code::bad_kernel);
  if (info.type != BPF_MAP_TYPE_HASH || info.key_size != sizeof(std::uint64_t) || info.value_size != value_size)
    return fail(Error(Code::bad_kernel,
                      fmt::format("BPF map {}: type {}, keys of {} and values of {} bytes; expected a "
                                  "hash with {} and {}",
                                  path, info.type, info.key_size, info.value_size, sizeof(std::uint64_t), value_size))
                    .with_hint("vz-bpf and libvz are of different versions: install both from the same package, "
                               "then `vz-bpf unload` and `vz-bpf load` when no container runs"));
  return BpfMap(std::move(fd), value_size);
}

Result<bool> BpfMap::lookup(std::uint64_t key, void* value) const {
  auto attr = element(fd_, key, value, 0);
  if (bpf(BPF_MAP_LOOKUP_ELEM, attr) == 0) return true;
  if (errno == ENOENT) return false;
  return fail_errno(fmt::format("read the BPF map's entry of cgroup {}", key));
}

Result<> BpfMap::set(std::uint64_t key, const void* value) const {
  auto attr = element(fd_, key, value, BPF_ANY);
  if (bpf(BPF_MAP_UPDATE_ELEM, attr) == 0) return {};
  if (errno == E2BIG) return fail(no_room(key));
  return fail_errno(fmt::format("write the BPF map's entry of cgroup {}", key));
}

Result<bool> BpfMap::add(std::uint64_t key, const void* value) const {
  auto attr = element(fd_, key, value, BPF_NOEXIST);
  if (bpf(BPF_MAP_UPDATE_ELEM, attr) == 0) return true;
  if (errno == EEXIST) return false;
  if (errno == E2BIG) return fail(no_room(key));
  return fail_errno(fmt::format("make the BPF map's entry of cgroup {}", key));
}

Result<bool> BpfMap::remove(std::uint64_t key) const {
  auto attr = element(fd_, key, nullptr, 0);
  if (bpf(BPF_MAP_DELETE_ELEM, attr) == 0) return true;
  if (errno == ENOENT) return false;
  return fail_errno(fmt::format("remove the BPF map's entry of cgroup {}", key));
}

Result<std::vector<std::uint64_t>> BpfMap::keys() const {
  std::vector<std::uint64_t> out;
  std::uint64_t key = 0, next = 0;
  auto attr = element(fd_, key, nullptr, 0);
  attr.key = 0;  // the first one
  attr.next_key = bpf_address(&next);
  // The walk starts anew when its last key goes away meanwhile: it may meet keys twice, and must end.
  constexpr std::size_t kMost = 2 * VZ_BPF_MAX_CTS;
  while (out.size() < kMost && bpf(BPF_MAP_GET_NEXT_KEY, attr) == 0) {
    out.push_back(key = next);
    attr.key = bpf_address(&key);
  }
  if (out.size() < kMost && errno != ENOENT) return fail_errno("list a BPF map");
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Result<BpfMap::Entries> BpfMap::entries() const {
  Entries out;
  // The kernel hands out whole hash buckets: the room must be for the fullest one at least.
  std::size_t room = 256;
  __u32 at = 0;
  bool first = true;
  for (;;) {
    const std::size_t have = out.keys.size();
    out.keys.resize(have + room);
    out.values.resize((have + room) * value_size_);
    auto attr = empty_bpf_attr();
    attr.batch.map_fd = static_cast<__u32>(fd_.get());
    attr.batch.in_batch = first ? 0 : bpf_address(&at);
    attr.batch.out_batch = bpf_address(&at);
    attr.batch.keys = bpf_address(out.keys.data() + have);
    attr.batch.values = bpf_address(out.values.data() + have * value_size_);
    attr.batch.count = static_cast<__u32>(room);
    const bool failed = bpf(BPF_MAP_LOOKUP_BATCH, attr) != 0;
    const int error = failed ? errno : 0;
    const bool small = error == ENOSPC;
    const std::size_t got = failed && error != ENOENT ? 0 : attr.batch.count;
    out.keys.resize(have + got);
    out.values.resize((have + got) * value_size_);
    if (error == ENOENT) return out;
    if (error != 0 && !small) return fail(Error::from_errno(error, "read a BPF map"));
    if (small || room < VZ_BPF_MAX_CTS) room *= 2;
    if (!small) first = false;
  }
}

bool BpfMaps::present(const std::string& dir) { return exists(dir + "/vz_conf") && exists(dir + "/vz_state"); }

bool BpfMaps::attached(const std::string& program, const std::string& dir) { return exists(dir + "/link_" + program); }

Result<BpfMaps> BpfMaps::open(const std::string& dir) {
  auto conf = VZ_TRY(BpfMap::open(dir + "/vz_conf", sizeof(vz_conf)));
  auto state = VZ_TRY(BpfMap::open(dir + "/vz_state", sizeof(vz_state)));
  return BpfMaps(std::move(conf), std::move(state));
}

Result<> BpfMaps::make_state(std::uint64_t cgroup_id) const {
  vz_state zero{};
  VZ_TRY(state_.add(cgroup_id, &zero));
  return {};
}

Result<> BpfMaps::set_conf(std::uint64_t cgroup_id, const vz_conf& conf) const { return conf_.set(cgroup_id, &conf); }

Result<std::optional<vz_conf>> BpfMaps::read_conf(std::uint64_t cgroup_id) const {
  vz_conf conf{};
  bool found = VZ_TRY(conf_.lookup(cgroup_id, &conf));
  return found ? std::optional(conf) : std::nullopt;
}

Result<std::optional<vz_state>> BpfMaps::read_state(std::uint64_t cgroup_id) const {
  vz_state state{};
  bool found = VZ_TRY(state_.lookup(cgroup_id, &state));
  return found ? std::optional(state) : std::nullopt;
}

Result<BpfEntries<vz_state>> BpfMaps::read_states() const { return all_entries<vz_state>(state_); }

Result<> BpfMaps::remove(std::uint64_t cgroup_id) const {
  // The conf first: what has none is not counted any more.
  VZ_TRY(conf_.remove(cgroup_id));
  VZ_TRY(state_.remove(cgroup_id));
  return {};
}

Result<std::vector<std::uint64_t>> BpfMaps::containers() const { return conf_.keys(); }

bool UbMaps::present(const std::string& dir) { return exists(dir + "/vz_ub") && exists(dir + "/vz_ub_conf"); }

Result<UbMaps> UbMaps::open(const std::string& dir) {
  auto conf = VZ_TRY(BpfMap::open(dir + "/vz_ub_conf", sizeof(vz_ub_conf)));
  auto ub = VZ_TRY(BpfMap::open(dir + "/vz_ub", sizeof(vz_ub)));
  std::optional<BpfMap> group;
  if (auto map = BpfMap::open(dir + "/vz_ub_group", sizeof(vz_ub_group))) group = *std::move(map);
  return UbMaps(std::move(conf), std::move(ub), std::move(group), dir);
}

// The programs remember which groups belong to no container: now they look again.
Result<> UbMaps::stamp() const {
  UniqueFd map = VZ_TRY(open_bpf_pin("BPF map", dir_ + "/vz_ub_stamp"));
  const __u32 index = 0;
  const std::uint64_t now = monotonic_ns();
  auto attr = empty_bpf_attr();
  attr.map_fd = static_cast<__u32>(map.get());
  attr.key = bpf_address(&index);
  attr.value = bpf_address(&now);
  if (bpf(BPF_MAP_UPDATE_ELEM, attr) == 0) return {};
  return fail_errno("write BPF map " + dir_ + "/vz_ub_stamp");
}

Result<> UbMaps::make(std::uint64_t cgroup_id) const {
  vz_ub zero{};
  if (!VZ_TRY(ub_.add(cgroup_id, &zero))) return {};
  return stamp();
}

Result<> UbMaps::set_conf(std::uint64_t cgroup_id, const vz_ub_conf& conf) const { return conf_.set(cgroup_id, &conf); }

Result<std::optional<vz_ub_conf>> UbMaps::read_conf(std::uint64_t cgroup_id) const {
  vz_ub_conf conf{};
  bool found = VZ_TRY(conf_.lookup(cgroup_id, &conf));
  return found ? std::optional(conf) : std::nullopt;
}

Result<> UbMaps::remove(std::uint64_t cgroup_id) const {
  VZ_TRY(ub_.remove(cgroup_id));
  VZ_TRY(conf_.remove(cgroup_id));
  if (group_) VZ_TRY(group_->remove(cgroup_id));
  return {};
}

Result<> UbMaps::refresh() const {
  const std::string path = dir_ + "/prog_ub_refresh";
  UniqueFd program = VZ_TRY(open_bpf_pin("BPF program", path));
  // Busy: somebody else walks, vz.ko perhaps, and may have begun before now. One after the other, all get their turn.
  constexpr int kTries = 100;
  int error = EBUSY;
  for (int i = 0; i < kTries && error == EBUSY; ++i) {
    if (i > 0) ::usleep(1000);
    error = -VZ_TRY(run_program(program, path));
  }
  if (error == 0) return {};
  return fail(Error::from_errno(error, "BPF program " + path));
}

Result<std::optional<vz_ub>> UbMaps::read(std::uint64_t cgroup_id) const {
  vz_ub ub{};
  bool found = VZ_TRY(ub_.lookup(cgroup_id, &ub));
  return found ? std::optional(ub) : std::nullopt;
}

Result<BpfEntries<vz_ub>> UbMaps::read_all() const { return all_entries<vz_ub>(ub_); }

Result<BpfEntries<vz_ub_conf>> UbMaps::read_confs() const { return all_entries<vz_ub_conf>(conf_); }

Result<BpfEntries<vz_ub_group>> UbMaps::read_groups() const {
  const std::string path = dir_ + "/prog_ub_groups";
  if (!group_) return fail(Code::unsupported, "BPF map " + dir_ + "/vz_ub_group: there is none");
  UniqueFd program = VZ_TRY(open_bpf_pin("BPF program", path));
  if (int error = -VZ_TRY(run_program(program, path)); error != 0)
    return fail(Error::from_errno(error, "BPF program " + path));
  return all_entries<vz_ub_group>(*group_);
}

}  // namespace vz
