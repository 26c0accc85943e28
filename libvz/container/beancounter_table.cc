// SPDX-License-Identifier: LGPL-2.1-or-later
// The table of beancounters. Everything that is said about them, here or in a manual, is said from it.
#include <vz/beancounters.h>

#include <algorithm>
#include <cerrno>

#include "libvz/base/text.h"
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/cgroup.h"

namespace vz {

namespace {

static_assert(kUbRows == VZ_UB_RESOURCES);
static_assert(static_cast<int>(Ub::numfile) == VZ_UB_NUMFILE && static_cast<int>(Ub::swappages) == VZ_UB_SWAPPAGES);

using L = UbLimiter;
using U = UbUnit;

constexpr const char* kSockstat = "``/proc/PID/net/sockstat`` of its network namespace";
constexpr const char* kSockDiag = "``sock_diag(7)`` in its network namespace";
constexpr const char* kInRam = "no kernel limits it alone; it is part of ``--ram``";

// Which one depends on the kernel.
constexpr const char* kFilePrograms = "ub_file_charge|ub_file_refuse1";

constexpr UbResource dummy(Ub id) {
  return {id, "dummy", nullptr, U::objects, nullptr, "always 0", "always 0", L::nothing, nullptr, "", 0};
}

// clang-format off
constexpr UbResource kTable[] = {
    {Ub::kmemsize, "kmemsize", "KMEMSIZE", U::bytes, nullptr, "``memory.stat`` kernel", "cgroup v2: the same; v1: ``memory.kmem.usage_in_bytes``",
     L::nothing, nullptr, kInRam, 0},
    {Ub::lockedpages, "lockedpages", "LOCKEDPAGES", U::pages, nullptr, "``memory.stat`` unevictable", "the same",
     L::nothing, nullptr, "no hook is in ``mlock(2)``; 7.2 lets programs refuse its 64-bit entry, but not the one of ``int 0x80``; ``ulimit -l`` bounds each process inside, ``--ram`` all", 0},
    {Ub::privvmpages, "privvmpages", "PRIVVMPAGES", U::pages, "privvm_limit", "BPF: ``VmData`` of all address spaces", "sum of ``VmData`` in ``/proc/PID/status``",
     L::program, nullptr, "BPF: ``security_vm_enough_memory_mm``", ENOMEM},
    {Ub::shmpages, "shmpages", "SHMPAGES", U::pages, "ub_shm_charge", "BPF: ``shmem_inode_acct_blocks``, ``__shmem_file_setup``", "``memory.stat`` shmem",
     L::program, "ub_shm_refuse", "BPF: ``security_vm_enough_memory_mm``; for a file of tmpfs or a memfd it is ``ENOSPC``, for a page fault ``SIGBUS``", ENOMEM},
    dummy(Ub::dummy4),
    {Ub::numproc, "numproc", "NUMPROC", U::objects, nullptr, "``pids.current``, ``pids.peak``, ``pids.events``", "the same",
     L::control_group, nullptr, "``pids.max``", EAGAIN},
    {Ub::physpages, "physpages", "PHYSPAGES", U::pages, nullptr, "``memory.current``, ``memory.peak``, ``memory.events``", "cgroup v1: ``memory.usage_in_bytes`` and its like",
     L::control_group, nullptr, "``memory.max``; ``memory.limit_in_bytes``", 0},
    {Ub::vmguarpages, "vmguarpages", "VMGUARPAGES", U::pages, nullptr, "always 0, as in OpenVZ: it is a promise only", "the same",
     L::nothing, nullptr, "a guarantee and not a limit: nothing is refused because of it", 0},
    {Ub::oomguarpages, "oomguarpages", "OOMGUARPAGES", U::pages, nullptr, "``memory.current`` + ``memory.swap.current``; failcnt: processes killed", "cgroup v1: the same from its files",
     L::control_group, nullptr, "the barrier is ``memory.low``: spared up to there while the host runs short", 0},
    {Ub::numtcpsock, "numtcpsock", "NUMTCPSOCK", U::objects, "ub_sock_create", "BPF: ``lsm/socket_post_create``, ``lsm/sk_alloc_security``", kSockstat,
     L::program, nullptr, "BPF: ``lsm/socket_post_create``, ``lsm/sk_alloc_security``", ENOBUFS},
    {Ub::numflock, "numflock", "NUMFLOCK", U::objects, "ub_flock_charge", "BPF: ``locks_copy_lock``, ``locks_release_private``", "``/proc/locks``, by process; no OFD locks",
     L::program, "ub_flock_ask", "BPF: ``lsm/file_lock``", ENOLCK},
    {Ub::numpty, "numpty", "NUMPTY", U::objects, "ub_pty_charge", "BPF: ``lsm/file_open`` of ``ptmx``", "entries of its devpts",
     L::program, nullptr, "BPF: ``lsm/file_open`` of ``ptmx``", ENOSPC},
    {Ub::numsiginfo, "numsiginfo", "NUMSIGINFO", U::objects, "ub_siginfo_charge", "BPF, when it is read: signal queues of all tasks", "``SigQ`` in ``/proc/PID/status``, once per user",
     L::program, nullptr, "BPF: ``lsm/task_kill``; real-time signals, but those of ``kill(2)``, which count and may not fail", EAGAIN},
    {Ub::tcpsndbuf, "tcpsndbuf", "TCPSNDBUF", U::bytes, "ub_sock_create", "BPF, when it is read: all sockets of the container", kSockDiag,
     L::nothing, nullptr, kInRam, 0},
    {Ub::tcprcvbuf, "tcprcvbuf", "TCPRCVBUF", U::bytes, "ub_sock_create", "BPF, when it is read: all sockets of the container", kSockDiag,
     L::nothing, nullptr, kInRam, 0},
    {Ub::othersockbuf, "othersockbuf", "OTHERSOCKBUF", U::bytes, "ub_sock_create", "BPF, when it is read: all sockets of the container", kSockDiag,
     L::nothing, nullptr, kInRam, 0},
    {Ub::dgramrcvbuf, "dgramrcvbuf", "DGRAMRCVBUF", U::bytes, "ub_sock_create", "BPF, when it is read: all sockets of the container", kSockDiag,
     L::nothing, nullptr, kInRam, 0},
    {Ub::numothersock, "numothersock", "NUMOTHERSOCK", U::objects, "ub_sock_create", "BPF: ``lsm/socket_post_create``, ``lsm/sk_alloc_security``", kSockstat,
     L::program, nullptr, "BPF: ``lsm/socket_post_create``, ``lsm/sk_alloc_security``", ENOBUFS},
    {Ub::dcachesize, "dcachesize", "DCACHESIZE", U::bytes, nullptr, "``memory.stat`` slab_reclaimable", "cgroup v2: the same; v1: nowhere",
     L::nothing, nullptr, kInRam, 0},
    {Ub::numfile, "numfile", "NUMFILE", U::objects, kFilePrograms, "BPF: ``security_file_alloc``", "descriptors in ``/proc/PID/fd``, each process's own",
     L::program, nullptr, "BPF: ``security_file_alloc``", ENFILE},
    dummy(Ub::dummy20),
    dummy(Ub::dummy21),
    dummy(Ub::dummy22),
    {Ub::numiptent, "numiptent", "NUMIPTENT", U::objects, "ub_iptent_charge", "BPF, when it is read: rules of nftables and iptables in its network namespace", "the same, by netlink",
     L::program, nullptr, "BPF: ``lsm/netlink_send``; nftables, and iptables that is made of it", ENOMEM},
    {Ub::swappages, "swappages", "SWAPPAGES", U::pages, nullptr, "``memory.swap.current``, ``memory.swap.peak``, ``memory.swap.events``", "cgroup v1: ``memory.stat`` total_swap; no maxheld",
     L::control_group, nullptr, "``memory.swap.max``; ``memory.memsw.limit_in_bytes``", 0},
};
// clang-format on

constexpr bool in_order() {
  for (std::size_t i = 0; i < kUbRows; ++i)
    if (static_cast<std::size_t>(kTable[i].id) != i) return false;
  return std::size(kTable) == kUbRows;
}
static_assert(in_order());

const char* const kNotLoaded = "its BPF program is not loaded";

// Of the table's texts, for a message.
std::string without_markup(std::string text) {
  std::erase(text, '`');
  return text;
}

bool any_attached(std::string_view programs) {
  auto names = split(programs, '|');
  return std::any_of(names.begin(), names.end(), [](const std::string& name) { return BpfMaps::attached(name); });
}

std::string unlimited_because(const UbResource& r, const CgroupHost* cgroups) {
  auto controller = r.id == Ub::numproc ? Controller::pids : Controller::memory;
  if (r.limiter == L::nothing) return without_markup(r.by);
  if (r.limiter == L::program) return any_attached(r.program ? r.program : r.counter) ? "" : kNotLoaded;
  const auto* mount = cgroups ? cgroups->find(controller) : nullptr;
  if (!mount) return std::string("this host has no ") + controller_name(controller) + " cgroup controller";
  if (r.id == Ub::oomguarpages && !mount->v2) return "cgroup v1 has no memory.low";
  if (r.id == Ub::swappages && !cgroups->swap_accounting) return "the kernel does not account swap per cgroup";
  return {};
}

}  // namespace

const char* ub_unit_name(UbUnit unit) {
  switch (unit) {
    case UbUnit::bytes:
      return "bytes";
    case UbUnit::pages:
      return "pages";
    case UbUnit::objects:
      break;
  }
  return "objects";
}

std::span<const UbResource> ub_resources() { return kTable; }

const UbResource& ub_resource(Ub id) { return kTable[static_cast<std::size_t>(id)]; }

const UbResource* find_ub_resource(std::string_view name) {
  auto found = std::find_if(std::begin(kTable), std::end(kTable),
                            [&](const UbResource& r) { return r.key && (name == r.name || name == r.key); });
  return found == std::end(kTable) ? nullptr : &*found;
}

UbAbilities ub_abilities() {
  auto cgroups = CgroupHost::probe();
  const bool maps = UbMaps::present();
  UbAbilities out;
  for (const auto& r : kTable) {
    auto& a = out[static_cast<std::size_t>(r.id)];
    const bool own_map = r.id == Ub::privvmpages;  // vz_state
    a.counted = r.counter && (maps || own_map) && any_attached(r.counter);
    a.why = unlimited_because(r, cgroups ? &*cgroups : nullptr);
    a.limited = a.why.empty();
  }
  return out;
}

}  // namespace vz
