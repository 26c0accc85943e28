// SPDX-License-Identifier: LGPL-2.1-or-later
// Virtual swap: the host's compressed RAM that containers use beyond their --ram, and what slows them down there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

// What makes a container pay for swapping, the best one first. Chosen by what the host has.
enum class VswapMechanism {
  kernel,  // memory.swap.delay of a patched kernel
  module,  // vz.ko and BPF programs
  riops,   // io.max of the swap devices: swap-in only, and per read, not per page of a larger folio
  limits,  // nothing: only the hard limits hold
};
VZ_API const char* vswap_mechanism_name(VswapMechanism m);  // "kernel", "module", "riops", "limits"

// What the swap of this host is.
enum class SwapKind { none, vz, zram, zswap, disk };
VZ_API const char* swap_kind_name(SwapKind k);  // "none", "vz", "zram", "zswap", "disk"

struct VswapStatus {
  enum class State { off, incomplete, on } state = State::off;  // of our own device
  std::string device;                                           // "/dev/zram1"
  std::uint64_t bytes = 0, used = 0;
  std::uint64_t stored = 0, compressed = 0, ram = 0, written_back = 0;  // bytes; ram is what it takes of the host
  int priority = 0;
  std::string compressor, backing;
  std::uint64_t promised = 0;  // bytes of swap that the configurations of all containers promise
  SwapKind host_swap = SwapKind::none;
  VswapMechanism mechanism = VswapMechanism::limits;
  std::string why;             // of the mechanism
  std::string module_version;  // of vz.ko; "" when it is not loaded
  bool bpf = false;            // the BPF programs are attached
};

struct VswapOptions {
  std::optional<std::uint64_t> bytes;  // --size; else VSWAP_SIZE, else what is promised
  std::string backing;                 // --backing; else VSWAP_BACKING
  std::string compressor;              // else VSWAP_COMPRESSOR, else the kernel's choice
};

// The size of the device: what is promised, at least half and at most twice the RAM of the host.
VZ_API std::uint64_t vswap_size(std::uint64_t promised, std::uint64_t host_ram);

// Makes a zram swap device unless ours is on, loads vz.ko and the BPF programs where they are installed, and brings
// running containers under them. Each step may be the last one that happens: the next call goes on from there. No
// device and no swap area that this function did not make is ever changed. Code::unsupported without zram.
VZ_API Result<VswapStatus> start_vswap(const Host& host, const VswapOptions& options, Reporter& reporter);
// Takes the device away; refused (Code::no_resources) when what it holds does not fit elsewhere. Module and programs
// stay. Nothing to stop is no error.
VZ_API Result<> stop_vswap(const Host& host, Reporter& reporter);
VZ_API Result<VswapStatus> vswap_status(const Host& host);

}  // namespace vz
