// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/beancounter_sources.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fcntl.h>

#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/namespace.h"
#include "libvz/kernel/netlink.h"
#include "libvz/kernel/netlink_dump.h"
#include "libvz/kernel/packet_rules.h"
#include "libvz/kernel/process_usage.h"
#include "libvz/kernel/socket_usage.h"

namespace vz {

namespace {

using Value = std::optional<std::uint64_t>;

constexpr std::uint64_t kPage = 4096;

struct SampledRow {
  Ub row;
  Readings held, maxheld, failcnt;
};

constexpr SampledRow kSampled[] = {
    {Ub::kmemsize, {Reading::kmem}, {Reading::kmem}, {Reading::kmem}},
    {Ub::lockedpages, {Reading::locked}, {}, {}},
    {Ub::privvmpages, {Reading::privvm}, {Reading::privvm}, {Reading::privvm}},
    {Ub::shmpages, {Reading::shmem}, {}, {}},
    {Ub::numproc, {Reading::numproc}, {Reading::numproc_max}, {Reading::numproc_fail}},
    {Ub::physpages, {Reading::ram_held}, {Reading::ram_max}, {Reading::ram_fail}},
    {Ub::oomguarpages, {Reading::ram_held, Reading::swap_held}, {Reading::ram_swap_max}, {Reading::oom}},
    {Ub::dcachesize, {Reading::dcache}, {}, {}},
    {Ub::swappages, {Reading::swap_held}, {Reading::swap_max}, {Reading::swap_fail}},
};

Value pages(Value bytes) { return bytes ? Value(*bytes / kPage) : bytes; }
Value sum(Value a, Value b) { return a && b ? Value(*a + *b) : std::nullopt; }

void put(UbCounter& c, Value held, Value maxheld = {}, Value failcnt = {}) {
  c.held = held;
  c.maxheld = maxheld;
  c.failcnt = failcnt;
}

// Looks at one container, for what is wanted and not counted.
class Looker {
 public:
  Looker(const CgroupHost& host, const ProcessId& init, const UbParts& wanted, const UbAbilities& abilities,
         UbSnapshot& out)
      : host_(host), init_(init), wanted_(wanted), abilities_(abilities), out_(out) {}

  bool wants(Ub row) const {
    return wanted_.has(row, UbPart::held) && !abilities_[static_cast<std::size_t>(row)].counted;
  }
  void look(ProcessFacts& facts) {
    look_at_processes(facts);
    look_at_namespace();
  }

 private:
  void look_at_processes(ProcessFacts& facts);
  void look_at_namespace();
  std::vector<pid_t> pids() const;

  const CgroupHost& host_;
  const ProcessId& init_;
  const UbParts& wanted_;
  const UbAbilities& abilities_;
  UbSnapshot& out_;
};

std::vector<pid_t> Looker::pids() const {
  std::vector<pid_t> out;
  auto all = hierarchies(host_);
  if (all.empty()) return out;
  auto group = open_group(AT_FDCWD, all.front().path + "/" + scope_path(out_.id) + "/ct");
  if (group) (void)append_pids(group->get(), out);
  return out;
}

void Looker::look_at_processes(ProcessFacts& facts) {
  const bool status = wants(Ub::numsiginfo) || wants(Ub::privvmpages);
  if (wants(Ub::numpty)) out_[Ub::numpty].held = count_ptys(init_.pid);
  if (!status && !wants(Ub::numfile) && !wants(Ub::numflock)) return;
  const auto list = pids();
  if (wants(Ub::numfile)) out_[Ub::numfile].held = sum_open_files(list);
  if (status) {
    auto sums = sum_status(list);
    if (wants(Ub::numsiginfo)) out_[Ub::numsiginfo].held = sums.signals;
    if (wants(Ub::privvmpages)) out_[Ub::privvmpages].held = sums.private_bytes / kPage;
  }
  if (!wants(Ub::numflock)) return;
  std::uint64_t locks = 0;
  for (pid_t pid : list) locks += facts.locks_of(pid);
  out_[Ub::numflock].held = locks;
}

void Looker::look_at_namespace() {
  if (wants(Ub::numtcpsock) || wants(Ub::numothersock)) {
    auto counts = count_sockets(init_.pid);
    if (counts && wants(Ub::numtcpsock)) out_[Ub::numtcpsock].held = counts->tcp;
    if (counts && wants(Ub::numothersock)) out_[Ub::numothersock].held = counts->other;
  }
  const bool memory = wants(Ub::tcpsndbuf) || wants(Ub::tcprcvbuf) || wants(Ub::othersockbuf) || wants(Ub::dgramrcvbuf);
  const bool rules_here = has_packet_filter(PacketFilter::nftables) || has_packet_filter(PacketFilter::iptables);
  if (wants(Ub::numiptent) && !rules_here) out_[Ub::numiptent].held = 0;
  const bool count_rules = wants(Ub::numiptent) && rules_here;
  if (!memory && !count_rules) return;
  auto netns = open_namespace(init_.pid, "net");
  if (!netns) return;
  UniqueFd diag;
  PacketRuleSockets rules;
  auto opened = with_netns(*netns, [&]() -> Result<> {
    if (memory) diag = VZ_TRY(open_netlink(kSocketDiagnosis));
    if (count_rules) rules = VZ_TRY(open_packet_rule_sockets());
    return {};
  });
  if (!opened) return;
  if (auto m = memory ? sum_socket_memory(diag) : fail(Code::unsupported, "not asked for")) {
    out_[Ub::tcpsndbuf].held = m->tcp_send;
    out_[Ub::tcprcvbuf].held = m->tcp_receive;
    out_[Ub::othersockbuf].held = m->other_send;
    out_[Ub::dgramrcvbuf].held = m->other_receive;
  }
  if (!count_rules) return;
  if (auto count = count_packet_rules(rules, init_.pid)) out_[Ub::numiptent].held = *count;
}

constexpr Ub kLookedFor[] = {Ub::privvmpages, Ub::numtcpsock,   Ub::numflock,  Ub::numpty,
                             Ub::numsiginfo,  Ub::tcpsndbuf,    Ub::tcprcvbuf, Ub::othersockbuf,
                             Ub::dgramrcvbuf, Ub::numothersock, Ub::numfile,   Ub::numiptent};

}  // namespace

Readings ub_readings(const UbParts& wanted) {
  Readings out;
  for (const auto& r : kSampled) {
    if (wanted.has(r.row, UbPart::held)) out.add(r.held);
    if (wanted.has(r.row, UbPart::maxheld)) out.add(r.maxheld);
    if (wanted.has(r.row, UbPart::failcnt)) out.add(r.failcnt);
  }
  return out;
}

bool has_all(const vz_ub_group& group) {
  constexpr std::uint64_t kAll = VZ_UB_HAS_MEMORY | VZ_UB_HAS_PIDS;
  return (group.has & kAll) == kAll;
}

void fill_sample(const vz_ub_group& g, Sample& out) {
  out.kmem_held = g.kernel;
  out.locked_held = g.unevictable;
  out.shmem_held = g.shmem;
  out.dcache_held = g.slab_reclaimable;
  out.ram_held = g.ram;
  out.ram_max = g.ram_peak;
  out.ram_fail = g.ram_hits;
  out.swap_held = g.swap;
  out.swap_max = g.swap_peak;
  out.swap_fail = g.swap_hits;
  out.oom_kills = g.oom_kills;
  out.numproc = g.processes;
  out.numproc_max = g.processes_peak;
  out.numproc_fail = g.processes_hits;
}

void fill_sample(const vz_state& counted, Sample& out) {
  out.privvm_held = counted.privvm_held * kPage;
  out.privvm_max = counted.privvm_maxheld * kPage;
  out.privvm_fail = counted.privvm_failcnt;
}

void fill_from_sample(const Sample& s, UbSnapshot& out) {
  put(out[Ub::kmemsize], s.kmem_held, s.kmem_max, s.kmem_fail);
  put(out[Ub::lockedpages], pages(s.locked_held));
  put(out[Ub::privvmpages], pages(s.privvm_held), pages(s.privvm_max), s.privvm_fail);
  put(out[Ub::shmpages], pages(s.shmem_held));
  put(out[Ub::numproc], s.numproc, s.numproc_max, s.numproc_fail);
  put(out[Ub::physpages], pages(s.ram_held), pages(s.ram_max), s.ram_fail);
  put(out[Ub::oomguarpages], pages(sum(s.ram_held, s.swap_held)), pages(s.ram_swap_max), s.oom_kills);
  put(out[Ub::dcachesize], s.dcache_held);
  put(out[Ub::swappages], pages(s.swap_held), pages(s.swap_max), s.swap_fail);
  for (const auto& r : ub_resources())
    if (!ub_is_real(r) || r.id == Ub::vmguarpages) put(out[r.id], 0, 0, 0);
}

void fill_from_map(const vz_ub& counted, const UbAbilities& abilities, UbSnapshot& out) {
  for (std::size_t i = 0; i < kUbRows; ++i) {
    if (!abilities[i].counted || static_cast<Ub>(i) == Ub::privvmpages) continue;
    put(out.rows[i], counted.held[i], counted.maxheld[i], counted.failcnt[i]);
  }
}

std::uint64_t ProcessFacts::locks_of(pid_t pid) {
  if (!locks_) locks_ = file_locks_by_process();
  auto found = locks_->find(pid);
  return found == locks_->end() ? 0 : found->second;
}

bool needs_processes(const UbParts& wanted, const UbAbilities& abilities) {
  return std::any_of(std::begin(kLookedFor), std::end(kLookedFor), [&](Ub row) {
    return wanted.has(row, UbPart::held) && !abilities[static_cast<std::size_t>(row)].counted;
  });
}

void fill_from_processes(const CgroupHost& host, const ProcessId& init, const UbParts& wanted,
                         const UbAbilities& abilities, ProcessFacts& facts, UbSnapshot& out) {
  Looker(host, init, wanted, abilities, out).look(facts);
}

}  // namespace vz
