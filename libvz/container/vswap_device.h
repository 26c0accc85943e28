// SPDX-License-Identifier: LGPL-2.1-or-later
// Our own zram swap device: RUN/vswap.json says which one it is, its number on the kernel's list of disks and its swap
// header prove it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>
#include <vz/reporter.h>
#include <vz/vswap.h>
#include "libvz/kernel/swap.h"
#include "libvz/kernel/zram.h"

namespace vz {

inline constexpr const char* kVswapLabel = "vz-vswap";

// Written before anything is done to the device.
struct VswapRecord {
  static constexpr int kVersion = 1;
  unsigned id = 0;
  std::uint64_t sequence = 0;
  std::string uuid;
  std::string boot_id;
};
Result<std::optional<VswapRecord>> load_vswap_record(const std::string& run_dir);
Result<> save_vswap_record(const std::string& run_dir, const VswapRecord& record);
Result<> remove_vswap_record(const std::string& run_dir);

// How far the device of the record has come.
struct VswapDevice {
  enum class Stage { made, sized, formatted, on } stage = Stage::made;
  VswapRecord record;
  Zram zram;
  std::optional<SwapArea> area;  // when on
};
// nullopt: there is no record of this boot, or its device is gone. Code::system when somebody else uses the device now.
Result<std::optional<VswapDevice>> find_vswap_device(const std::string& run_dir);

struct VswapDeviceSpec {
  std::uint64_t bytes = 0;
  std::string compressor, backing;
  int priority = 100;
};
// From wherever it is to "on".
Result<VswapDevice> bring_up_vswap(const std::string& run_dir, const VswapDeviceSpec& spec, Reporter& reporter);
// From wherever it is to "gone". The caller knows that what it holds fits elsewhere.
Result<> take_down_vswap(const std::string& run_dir, const VswapDevice& device, Reporter& reporter);

// Above every other area, so that disks are used last.
int vswap_priority(const std::vector<SwapArea>& areas);
// What the host's swap is, by what is used first.
SwapKind classify_swap(const std::vector<SwapArea>& areas, const std::string& own_device, bool zswap);

}  // namespace vz
