// SPDX-License-Identifier: LGPL-2.1-or-later
// vz.ko by its generic netlink family (kmod/include/uapi/linux/vz.h): the registry of containers and its events.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/netlink.h"

struct nl_sock;
struct nlmsghdr;

namespace vz {

struct VzModule {
  std::uint32_t abi = 0;
  std::string version;
  std::uint32_t containers = 0;
  std::uint32_t sleepers = 0;
  std::optional<std::uint32_t> ub;  // kVzUbMaps, kVzUbRefresh; nullopt: it knows neither beancounters nor addresses
};

inline constexpr std::uint32_t kVzUbMaps = 1;     // VZ_UB_HAS_MAPS: it was told where the programs count
inline constexpr std::uint32_t kVzUbRefresh = 2;  // VZ_UB_HAS_REFRESH

inline constexpr std::uint32_t kVzNoDelay = 1;  // VZ_CT_NO_DELAY: nobody in the container waits

// What the module knows of one container.
struct VzContainer {
  std::uint64_t cgroup_id = 0;
  std::uint32_t ctid = 0;
  std::string name;                       // cut to VZ_NAME_MAX
  std::uint32_t cpus = 0;                 // that it is shown; 0: all it may run on
  std::uint64_t boot_ns = 0;              // CLOCK_BOOTTIME of its start; 0: the time of add()
  std::uint32_t flags = 0;                // kVzNoDelay
  std::vector<IpAddress> addresses = {};  // for /proc/vz/veinfo, at most VZ_ADDRS_MAX are told; their prefixes are not
  bool operator==(const VzContainer&) const = default;
};

// A process of a container that the kernel killed for want of memory. Sizes are bytes.
struct VzOomKill {
  std::uint64_t cgroup_id = 0;
  std::uint32_t ctid = 0;
  std::uint32_t pid = 0;
  std::string comm;  // the container's text
  std::uint32_t uid = 0;
  std::uint64_t rss_anon = 0, rss_file = 0, rss_shmem = 0, swap = 0;
  std::uint64_t ram_usage = 0, ram_limit = 0, swap_usage = 0, swap_limit = 0;  // limits: UINT64_MAX is none
  bool host_short = false;  // not at a limit of the container or of a group inside: the host, or a group above, ran out
};

class VzDevice {
 public:
  // Code::unsupported when the module is not loaded; Code::bad_kernel when it speaks another ABI than this libvz.
  static Result<VzDevice> open();
  VzDevice(VzDevice&& other) noexcept;
  VzDevice& operator=(VzDevice&& other) noexcept;
  ~VzDevice();

  const VzModule& module() const { return module_; }  // as of open()
  Result<> add(const VzContainer& container);         // one that is there already is brought up to date
  Result<> remove(std::uint64_t cgroup_id);           // missing is fine
  Result<std::optional<VzContainer>> find(std::uint64_t cgroup_id);
  Result<std::vector<VzContainer>> all();
  // Where BPF programs count, for /proc/user_beancounters: the maps and programs that are pinned below `dir`. The
  // module holds them until it is told others, or that there are none. With nothing pinned there it is told so.
  Result<> hand_over_ub(const std::string& dir);

 private:
  VzDevice(nl_sock* sock, std::uint16_t family) : sock_(sock), family_(family) {}
  nl_sock* sock_ = nullptr;
  std::uint16_t family_ = 0;
  VzModule module_;
};

// The module's multicast group. fd() becomes readable; read() never blocks.
class VzEvents {
 public:
  static Result<VzEvents> open();
  VzEvents(VzEvents&& other) noexcept;
  VzEvents& operator=(VzEvents&& other) noexcept;
  ~VzEvents();
  int fd() const;
  // What has arrived; `lost` tells that the kernel dropped some.
  std::vector<VzOomKill> read(bool* lost);

 private:
  explicit VzEvents(nl_sock* sock) : sock_(sock) {}
  nl_sock* sock_ = nullptr;
};

// One message of the family, netlink header first. nullopt: cut, or an attribute that must be there is not.
std::optional<VzModule> parse_vz_module(const nlmsghdr* message);
std::optional<VzContainer> parse_vz_container(const nlmsghdr* message);
std::optional<VzOomKill> parse_vz_oom_kill(const nlmsghdr* message);

}  // namespace vz
