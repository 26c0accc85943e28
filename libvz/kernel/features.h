// SPDX-License-Identifier: LGPL-2.1-or-later
// Does the kernel have it? Each question is asked by trying, in the cheapest way that changes nothing.
#pragma once

#include <string>

#include "libvz/kernel/cgroup.h"

namespace vz {

struct Finding {
  bool present = false;
  std::string detail;  // where or which version when present, the kernel's answer when not
};

Finding find_userns();
Finding find_pidfd();
Finding find_clone_into_cgroup();
Finding find_mount_api();        // fsopen(2)
Finding find_idmapped_mounts();  // mount_setattr(2)
Finding find_seccomp();
Finding find_capability(unsigned number);  // in our effective set

Finding find_cgroup2(const CgroupHost& host);
Finding find_controller(const CgroupHost& host, Controller c);
Finding find_io_weight(const CgroupHost& host);
Finding find_cgroup_kill(const CgroupHost& host);
Finding find_swap_accounting(const CgroupHost& host);

Finding find_bpf_cgroup_device();  // loads a two-instruction program
Finding find_bpf_tc();
Finding find_bpf_tracing();  // fentry and LSM programs: type information and the bpf LSM

Finding find_loop();
Finding find_filesystem(const char* name);  // registered, or a module of the running kernel
Finding find_device(const char* path);      // opens it, which loads its module
Finding find_link_type(const char* kind);   // "veth", "bridge"
Finding find_traffic();                     // tcx: programs on network devices, without a queueing discipline
Finding find_native_quota();                // fs.quota.userns_admin of a patched kernel
Finding find_ipv4_forwarding();
Finding find_lxcfs();
Finding find_swap();
Finding find_systemd();
Finding find_criu();
Finding find_vz_module();                       // loaded, of our ABI; its version
Finding find_bpf_program(const char* program);  // attached by vz-bpf

}  // namespace vz
