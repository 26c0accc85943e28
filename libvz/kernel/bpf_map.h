// SPDX-License-Identifier: LGPL-2.1-or-later
// The maps that `vz-bpf load` pins (bpf/vz_maps.h), opened by bpf(2) alone: libvz writes what a container is to get,
// and reads what the programs counted. Keys are cgroup ids of P/ct.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>
#include "bpf/vz_maps.h"
#include "libvz/base/fd.h"

namespace vz {

// What is pinned at `path`: a map or a program, which is what errors call it. Code::unsupported when nothing is there.
Result<UniqueFd> open_bpf_pin(const std::string& what, const std::string& path);

// One pinned hash map with 64-bit keys; `value_size` is checked when it is opened, and every value has that size.
class BpfMap {
 public:
  // Code::unsupported with sys_errno() ENOENT when nothing is pinned there; Code::bad_kernel when what is pinned has
  // another type or other sizes than this libvz was built with.
  static Result<BpfMap> open(const std::string& path, std::uint32_t value_size);
  explicit BpfMap(UniqueFd fd, std::uint32_t value_size) : fd_(std::move(fd)), value_size_(value_size) {}

  Result<bool> lookup(std::uint64_t key, void* value) const;     // false: no such entry
  Result<> set(std::uint64_t key, const void* value) const;      // made or overwritten, in one step for readers
  Result<bool> add(std::uint64_t key, const void* value) const;  // false: there is one already, left as it is
  Result<bool> remove(std::uint64_t key) const;                  // false: there was none
  Result<std::vector<std::uint64_t>> keys() const;

  // All entries: a key, and where its value begins in `values`. A few system calls, whatever the number of entries. One
  // that is made or removed meanwhile may be there or not; none is there twice.
  struct Entries {
    std::vector<std::uint64_t> keys;
    std::vector<std::byte> values;  // keys.size() values, in the order of keys
  };
  Result<Entries> entries() const;

 private:
  UniqueFd fd_;
  std::uint32_t value_size_;
};

// An entry of a map whose keys are cgroup ids.
template <typename Value>
struct BpfEntry {
  std::uint64_t cgroup_id = 0;
  Value value{};
};
template <typename Value>
using BpfEntries = std::vector<BpfEntry<Value>>;  // sorted by cgroup id

// nullptr: there is none.
template <typename Value>
const Value* find_entry(const BpfEntries<Value>& entries, std::uint64_t cgroup_id) {
  auto found = std::lower_bound(entries.begin(), entries.end(), cgroup_id,
                                [](const BpfEntry<Value>& e, std::uint64_t id) { return e.cgroup_id < id; });
  return found != entries.end() && found->cgroup_id == cgroup_id ? &found->value : nullptr;
}

// Both maps of the pin directory. Opened per use: the maps live as long as their pins, not as long as this.
class BpfMaps {
 public:
  // Are the maps of our layout pinned? Says nothing about which programs are attached: that is `vz-bpf status`.
  static bool present(const std::string& dir = VZ_BPF_PIN_DIR);
  static Result<BpfMaps> open(const std::string& dir = VZ_BPF_PIN_DIR);
  // A link pinned under that name: this program is attached ("vswap_in", "sysinfo", …; see Documentation/bpf.rst).
  static bool attached(const std::string& program, const std::string& dir = VZ_BPF_PIN_DIR);

  // The programs act on a container from set_conf() on. Order at start: make_state(), set_conf(), then let tasks in.
  Result<> make_state(std::uint64_t cgroup_id) const;  // all zeroes; keeps an entry that is there
  Result<> set_conf(std::uint64_t cgroup_id, const vz_conf& conf) const;
  Result<std::optional<vz_conf>> read_conf(std::uint64_t cgroup_id) const;
  Result<std::optional<vz_state>> read_state(std::uint64_t cgroup_id) const;
  Result<BpfEntries<vz_state>> read_states() const;
  Result<> remove(std::uint64_t cgroup_id) const;         // both entries; missing ones are fine
  Result<std::vector<std::uint64_t>> containers() const;  // cgroup ids that have a conf

 private:
  BpfMaps(BpfMap conf, BpfMap state) : conf_(std::move(conf)), state_(std::move(state)) {}
  BpfMap conf_;
  BpfMap state_;
};

// Beancounters: what the programs count (vz_ub) and up to where (vz_ub_conf). Absent when that object was not loaded,
// though BpfMaps are there. Which rows are counted and which limited depends on the programs that are attached:
// BpfMaps::attached("ub_file_charge"), …; the rows of all others are zero.
class UbMaps {
 public:
  static bool present(const std::string& dir = VZ_BPF_PIN_DIR);
  static Result<UbMaps> open(const std::string& dir = VZ_BPF_PIN_DIR);

  // A container is counted from make() on; order at start: set_conf(), make(), then let tasks in. Without a conf, or
  // with VZ_UB_UNLIMITED in it, there is no limit. A limit below what is held takes nothing away: new charges fail.
  Result<> make(std::uint64_t cgroup_id) const;  // all zeroes; keeps an entry that is there
  Result<> set_conf(std::uint64_t cgroup_id, const vz_ub_conf& conf) const;
  Result<std::optional<vz_ub_conf>> read_conf(std::uint64_t cgroup_id) const;
  Result<> remove(std::uint64_t cgroup_id) const;  // both entries; missing ones are fine

  // Rows that need a walk (socket buffers, …) are as of the last refresh(), which takes time by the number of sockets
  // of all containers, not by the number of containers. One caller at a time: others wait.
  Result<> refresh() const;
  Result<std::optional<vz_ub>> read(std::uint64_t cgroup_id) const;
  // All at once, a few system calls for each.
  Result<BpfEntries<vz_ub>> read_all() const;
  Result<BpfEntries<vz_ub_conf>> read_confs() const;
  // What control groups count, as of now; memory.stat's numbers as of its last flush, which reading that file of a
  // group above all containers does for all of them. Code::unsupported: the program is not loaded.
  Result<BpfEntries<vz_ub_group>> read_groups() const;

 private:
  UbMaps(BpfMap conf, BpfMap ub, std::optional<BpfMap> group, std::string dir)
      : conf_(std::move(conf)), ub_(std::move(ub)), group_(std::move(group)), dir_(std::move(dir)) {}
  Result<> stamp() const;
  BpfMap conf_;
  BpfMap ub_;
  std::optional<BpfMap> group_;  // of vz-bpf since that version
  std::string dir_;
};

}  // namespace vz
