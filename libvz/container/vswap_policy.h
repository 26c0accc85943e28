// SPDX-License-Identifier: LGPL-2.1-or-later
// What makes one container pay for its swapping, and how kernel code is told of the container: planned by a pure
// function, carried out here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include <vz/vswap.h>
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/swap.h"
#include "libvz/kernel/vzdev.h"

namespace vz {

inline constexpr std::uint64_t kDefaultVswapRate = 25600;  // pages per second

// What the decision depends on besides the configuration.
struct VswapFacts {
  bool delay_file = false;                // the kernel has memory.swap.delay
  bool programs = false;                  // vz.ko and the BPF programs for swapping
  bool privvm = false;                    // the BPF program that bounds private memory
  bool io_limits = false;                 // cgroup v2 I/O controller
  std::vector<std::string> swap_devices;  // "MAJ:MIN" of block devices that are swap
  std::string programs_why;               // why not
};
// Both directions are charged: a half would keep half of the rate.
bool swap_programs_attached();
// `cgroups` of a container, or nullptr for the host in general (memory.swap.delay is looked for in any group).
VswapFacts probe_vswap(const CgroupHost& host, const Cgroups* cgroups);

struct VswapPlan {
  VswapMechanism mechanism = VswapMechanism::limits;
  std::string why;
  std::uint64_t rate = 0;           // pages per second, 0: unlimited
  std::vector<CgroupWrite> writes;  // memory.swap.delay, io.max
  std::vector<CgroupWrite> lifts;   // what the next best mechanism may have set before this one came
  vz_conf conf{};                   // for the BPF programs; rate 0 where another mechanism does it
};
// VSWAP_RATE, else the default; 0: unlimited.
std::uint64_t vswap_rate(const Config& config);
// Pages of private memory: PRIVVMPAGES, else (RAM + swap) x VM_OVERCOMMIT; nullopt: unlimited.
std::optional<std::uint64_t> privvm_limit(const Config& config);
// memory.swap.delay: microseconds a page costs, 1 to 10000.
std::uint64_t swap_delay_us(std::uint64_t rate);
VswapPlan plan_vswap(Ctid id, const Config& config, const VswapFacts& facts);

// A running or starting container as kernel code is to see it.
struct VswapSubject {
  Ctid id{0};
  const Config& config;
  const Cgroups& cgroups;
  std::uint64_t boot_ns = 0;  // CLOCK_BOOTTIME of its start
  bool already_runs = false;  // its tasks were there before: what they hold was not counted
};
// Registers it with vz.ko, makes its BPF entries, sets its rate. Before any of its tasks runs, except where
// `already_runs`. What cannot be had is a warning, and the next best mechanism is taken.
VswapPlan enter_vswap(const CgroupHost& host, const VswapSubject& subject, Reporter& reporter);
// A change of its settings. The old ones stay when it fails.
Result<VswapPlan> change_vswap(const CgroupHost& host, const VswapSubject& subject);
// Takes it out again, with its beancounters, before its groups are removed; missing is fine. `cgroup_id`: what its
// state says, 0 when it does not. False: there is no group, and nothing tells which entries were its.
bool leave_vswap(const CgroupHost& host, Ctid id, std::uint64_t cgroup_id);
// Entries whose group is gone: of containers that ended while nobody looked. Takes time by the number of containers.
void sweep_vswap(const CgroupHost& host);
// Off: nobody in the container is slowed down (checkpoint, restore); on: as its configuration says.
Result<> set_vswap_delay(const CgroupHost& host, const VswapSubject& subject, bool on);

// Memory by which a container is spared when the host runs short: OOMGUARPAGES, else half of its RAM; in bytes.
std::optional<std::uint64_t> spared_memory(const Config& config);

}  // namespace vz
