// SPDX-License-Identifier: LGPL-2.1-or-later
// bpf(2), for which the C library has no wrapper.
#pragma once

#include <cstdint>
#include <cstring>

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vz {

// As bpf(2): -1 and errno, or what the command returns.
inline int bpf(bpf_cmd command, bpf_attr& attr) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof attr));
}

// All bytes zero: the kernel refuses others in what a command does not use, and `{}` clears only a union's first
// member.
inline bpf_attr empty_bpf_attr() {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  return attr;
}

inline __u64 bpf_address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace vz
