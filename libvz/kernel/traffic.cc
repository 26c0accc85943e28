// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/traffic.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sys/file.h>
#include <sys/statfs.h>

#include <bpf/bpf.h>
#include <fmt/format.h>

#include "libvz/kernel/features.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/traffic_program.h"

namespace vz {

namespace {

// By these names `bpftool map` shows them, and a map is found again whose pin was removed.
constexpr const char* kCounts = "vz_net";
constexpr const char* kClasses = "vz_net_classes";
constexpr std::uint32_t kMaxNetworks = 1u << 20;
constexpr const char* kBpfDir = "/sys/fs/bpf";

// enum bpf_attach_type of Linux 6.6; linux/bpf.h may be older.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);

struct MapKind {
  const char* name;
  bpf_map_type type;
  std::uint32_t key_size, value_size;
};
constexpr MapKind kCountsKind{kCounts, BPF_MAP_TYPE_HASH, sizeof(std::uint32_t), sizeof(vz_net)};
constexpr MapKind kClassesKind{kClasses, BPF_MAP_TYPE_ARRAY_OF_MAPS, sizeof(std::uint32_t), sizeof(std::uint32_t)};

Result<bpf_map_info> info_of(const UniqueFd& map) {
  bpf_map_info info{};
  std::uint32_t size = sizeof info;
  if (::bpf_obj_get_info_by_fd(map.get(), &info, &size) != 0) return fail_errno("BPF map of the traffic counts");
  return info;
}

bool is_kind(const bpf_map_info& info, const MapKind& kind) {
  return info.type == kind.type && info.key_size == kind.key_size && info.value_size == kind.value_size &&
         std::strncmp(info.name, kind.name, BPF_OBJ_NAME_LEN - 1) == 0;
}

// The oldest map of that kind which somebody still uses: its pin may be gone, or in another mount namespace.
UniqueFd find_map(const MapKind& kind) {
  for (std::uint32_t id = 0; ::bpf_map_get_next_id(id, &id) == 0;) {
    UniqueFd map(::bpf_map_get_fd_by_id(id));
    auto info = map ? info_of(map) : fail(Code::system, "gone");
    if (info && is_kind(*info, kind)) return map;
  }
  return {};
}

Result<UniqueFd> open_map(const std::string& dir, const MapKind& kind) {
  const std::string path = dir + "/" + kind.name;
  if (UniqueFd map{::bpf_obj_get(path.c_str())}) {
    auto info = info_of(map);
    if (info && is_kind(*info, kind)) return map;
    return fail(Error(Code::bad_kernel, path + " is pinned, but no map of this version of libvz")
                    .with_hint("remove it; traffic is then counted from zero in a new one"));
  }
  if (errno == EPERM || errno == EACCES)
    return fail(Error::from_errno(errno, "BPF map " + path, Code::unsupported).with_hint("needs CAP_BPF"));
  if (UniqueFd map = find_map(kind)) return map;
  return fail(Error::from_errno(ENOENT, "BPF map " + path, Code::unsupported)
                  .with_hint("it is made when the first container with a network device starts"));
}

Error not_made(const char* what) {
  return Error::from_errno(errno, what, Code::unsupported)
      .with_hint("traffic accounting needs CONFIG_BPF_SYSCALL and, for vzctl, CAP_BPF");
}

Result<UniqueFd> make_networks(const std::vector<ClassedNetwork>& networks) {
  if (networks.size() > kMaxNetworks)
    return fail(Code::bad_value, fmt::format("{} networks are more than {}", networks.size(), kMaxNetworks));
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_NO_PREALLOC;
  UniqueFd map(::bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "vz_networks", sizeof(vz_net_key), sizeof(std::uint32_t),
                                kMaxNetworks, &options));
  if (!map) return fail(not_made("make the BPF map of network classes"));
  for (const auto& n : networks) {
    vz_net_key key{};
    key.prefixlen = 32 + n.prefix;
    key.family = n.v6 ? VZ_NET_IP6 : VZ_NET_IP4;
    std::memcpy(key.address, n.address, n.v6 ? 16 : 4);
    const std::uint32_t value = n.traffic_class;
    if (::bpf_map_update_elem(map.get(), &key, &value, BPF_ANY) != 0) return fail_errno("fill the map of networks");
  }
  return map;
}

Result<> put_networks(const UniqueFd& classes, const UniqueFd& networks) {
  const std::uint32_t index = 0, fd = static_cast<std::uint32_t>(networks.get());
  if (::bpf_map_update_elem(classes.get(), &index, &fd, BPF_ANY) != 0)
    return fail_errno("exchange the network classes");
  return {};
}

Result<UniqueFd> make_classes(const std::vector<ClassedNetwork>& networks) {
  UniqueFd inner = VZ_TRY(make_networks(networks));
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.inner_map_fd = static_cast<std::uint32_t>(inner.get());
  UniqueFd map(
      ::bpf_map_create(kClassesKind.type, kClasses, kClassesKind.key_size, kClassesKind.value_size, 1, &options));
  if (!map) return fail(not_made("make the BPF map of network classes"));
  VZ_TRY(put_networks(map, inner));
  return map;
}

Result<UniqueFd> make_counts() {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_NO_PREALLOC;
  UniqueFd map(::bpf_map_create(kCountsKind.type, kCounts, kCountsKind.key_size, kCountsKind.value_size, VZ_NET_MAX_CTS,
                                &options));
  if (!map) return fail(not_made("make the BPF map of traffic counts"));
  return map;
}

bool on_bpffs(const std::string& path) {
  struct statfs fs;
  return ::statfs(path.c_str(), &fs) == 0 && static_cast<unsigned long>(fs.f_type) == BPF_FS_MAGIC;
}

// Best effort: without pins the maps live in the programs of running containers, and are found there.
void pin(const std::string& dir, const char* name, const UniqueFd& map) {
  if (!on_bpffs(kBpfDir) || !make_dirs(dir, 0700)) return;
  const std::string path = dir + "/" + name;
  if (!exists(path)) (void)::bpf_obj_pin(map.get(), path.c_str());
}

// Two starts at a time make the maps once.
Result<UniqueFd> lock_maps() {
  UniqueFd dir = VZ_TRY(open_file(exists(kBpfDir) ? kBpfDir : "/sys", O_RDONLY | O_DIRECTORY));
  while (::flock(dir.get(), LOCK_EX) != 0)
    if (errno != EINTR) return fail_errno(std::string("lock ") + kBpfDir);
  return dir;
}

Result<UniqueFd> load(std::uint32_t ctid, vz_net_direction direction, int counts, int classes) {
  auto code = build_traffic_program(ctid, direction, counts, classes);
  const char* name = direction == VZ_NET_IN ? "vz_traffic_in" : "vz_traffic_out";
  UniqueFd fd(::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", code.data(), code.size(), nullptr));
  if (!fd)
    return fail(Error::from_errno(errno, "load the program that counts traffic", Code::unsupported)
                    .with_hint("the kernel needs CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_ACT, vzctl CAP_BPF"));
  return fd;
}

}  // namespace

Finding find_traffic() {
  // A query of the loopback device: older kernels do not know the hook.
  std::uint32_t programs[64], count = 64;
  if (::bpf_prog_query(/*ifindex=*/1, kTcxIngress, 0, nullptr, programs, &count) == 0) return {true, ""};
  return {false, std::string("tcx: ") + std::strerror(errno)};
}

Result<TrafficMaps> TrafficMaps::from(UniqueFd counts, UniqueFd classes) {
  auto info = VZ_TRY(info_of(counts));
  return TrafficMaps(std::move(counts), std::move(classes), info.id);
}

Result<TrafficMaps> TrafficMaps::open(const std::string& dir) {
  UniqueFd counts = VZ_TRY(open_map(dir, kCountsKind));
  UniqueFd classes = VZ_TRY(open_map(dir, kClassesKind));
  return from(std::move(counts), std::move(classes));
}

Result<TrafficMaps> TrafficMaps::make_private(const std::vector<ClassedNetwork>& networks) {
  UniqueFd classes = VZ_TRY(make_classes(networks));
  UniqueFd counts = VZ_TRY(make_counts());
  return from(std::move(counts), std::move(classes));
}

Result<TrafficMaps> TrafficMaps::make(const std::vector<ClassedNetwork>& networks, const std::string& dir) {
  UniqueFd lock = VZ_TRY(lock_maps());
  auto there = open(dir);
  auto maps = there || there.error().sys_errno() != ENOENT ? std::move(there) : make_private(networks);
  if (!maps) return maps;
  pin(dir, kCounts, maps->counts_);
  pin(dir, kClasses, maps->classes_);
  return maps;
}

Result<> TrafficMaps::attach(const std::string& link, std::uint32_t ctid) const {
  const unsigned index = ::if_nametoindex(link.c_str());
  if (index == 0) return fail_errno("network device " + link);
  vz_net zero{};
  if (::bpf_map_update_elem(counts_.get(), &ctid, &zero, BPF_NOEXIST) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("make the traffic counts of container {}", ctid));
  // What the host's end receives is what the container sends.
  for (auto [direction, hook] : {std::pair(VZ_NET_OUT, kTcxIngress), std::pair(VZ_NET_IN, kTcxEgress)}) {
    UniqueFd program = VZ_TRY(load(ctid, direction, counts_.get(), classes_.get()));
    if (::bpf_prog_attach(program.get(), static_cast<int>(index), hook, 0) != 0)
      return fail(Error::from_errno(errno, "count the traffic of " + link, Code::unsupported)
                      .with_hint("the kernel needs tcx (Linux 6.6, CONFIG_NET_XGRESS)"));
  }
  return {};
}

Result<std::optional<vz_net>> TrafficMaps::read(std::uint32_t ctid) const {
  vz_net out{};
  if (::bpf_map_lookup_elem(counts_.get(), &ctid, &out) == 0) return std::optional(out);
  if (errno == ENOENT) return std::optional<vz_net>();
  return fail_errno(fmt::format("read the traffic counts of container {}", ctid));
}

Result<std::vector<std::pair<std::uint32_t, vz_net>>> TrafficMaps::read_all() const {
  std::vector<std::pair<std::uint32_t, vz_net>> out;
  std::vector<std::uint32_t> keys(1024);
  std::vector<vz_net> values(keys.size());
  std::uint32_t position = 0;
  for (bool first = true;;) {
    auto count = static_cast<std::uint32_t>(keys.size());
    bpf_map_batch_opts options{};
    options.sz = sizeof options;
    const int done = ::bpf_map_lookup_batch(counts_.get(), first ? nullptr : &position, &position, keys.data(),
                                            values.data(), &count, &options);
    const int err = done == 0 ? 0 : errno;
    if (err == ENOSPC) {  // one bucket has more than all of this room
      keys.resize(keys.size() * 2);
      values.resize(keys.size());
      continue;
    }
    if (err != 0 && err != ENOENT) return fail(Error::from_errno(err, "read the traffic counts"));
    for (std::uint32_t i = 0; i < count; ++i) out.emplace_back(keys[i], values[i]);
    if (err == ENOENT) return out;
    first = false;
  }
}

Result<> TrafficMaps::forget(std::uint32_t ctid) const {
  if (::bpf_map_delete_elem(counts_.get(), &ctid) != 0 && errno != ENOENT)
    return fail_errno(fmt::format("remove the traffic counts of container {}", ctid));
  return {};
}

Result<> TrafficMaps::set_classes(const std::vector<ClassedNetwork>& networks) const {
  UniqueFd inner = VZ_TRY(make_networks(networks));
  return put_networks(classes_, inner);
}

}  // namespace vz
