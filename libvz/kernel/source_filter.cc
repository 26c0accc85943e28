// SPDX-License-Identifier: LGPL-2.1-or-later
// The program is generated per container: a compare per address, no map to fill, no compiler, one load. Loading and
// attaching 500 addresses is still cheaper than reading an object file would be.
#include "libvz/kernel/source_filter.h"

#include <cerrno>
#include <cstddef>
#include <cstring>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf.h>

#include "libvz/kernel/bpf_code.h"

namespace vz {
namespace {

// Offsets in the frame; at clsact ingress the packet starts with its Ethernet header.
constexpr int kMacSource = 6;
constexpr int kIp4Source = ETH_HLEN + 12;
constexpr int kIp6Source = ETH_HLEN + 8;
constexpr int kBuffer = -16;  // of the stack frame, r10: where the source is copied to

// A field of the frame as the program loads it.
std::int32_t wire16(std::uint16_t value) { return htons(value); }

std::int32_t word_at(const std::uint8_t* bytes) {
  std::int32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

std::uint64_t long_at(const std::uint8_t* bytes) {
  std::uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Every frame passes or is dropped; both exits come last.
class Program : public BpfCode {
 public:
  void set_long(int dst, std::uint64_t value) {  // one instruction in two slots
    op(BPF_LD | BPF_IMM | BPF_DW, dst, 0, 0, static_cast<std::int32_t>(value));
    op(0, 0, 0, 0, static_cast<std::int32_t>(value >> 32));
  }
  void load_context(int dst, std::size_t field) { load(BPF_W, dst, 6, static_cast<int>(field)); }
  void load_stack(int dst, int off, int size) { load(size, dst, 10, off); }
  void drop_if_not(int reg, std::int32_t value) { jump_if_word(BPF_JNE, reg, value, drop_); }
  void drop() { jump(drop_); }
  void pass_if(int reg, std::int32_t value) { jump_if_word(BPF_JEQ, reg, value, pass_); }
  void pass_if_zero(int reg) { jump_if(BPF_JEQ, reg, 0, pass_); }  // all 64 bits
  void pass() { jump(pass_); }
  // bpf_skb_load_bytes to the stack; a frame that is too short is dropped.
  void copy_from_frame(int offset, int size) {
    move(1, 6);
    set(2, offset);
    move(3, 10);
    alu(BPF_ADD, 3, kBuffer);
    set(4, size);
    call(BPF_FUNC_skb_load_bytes);
    drop_if_not(0, 0);
  }
  // The verifier refuses code that nothing reaches, so an exit that is not needed is left out.
  std::vector<bpf_insn> finish() && {
    exit_for(pass_, TC_ACT_UNSPEC);
    exit_for(drop_, TC_ACT_SHOT);
    return std::move(*this).BpfCode::finish();
  }

 private:
  void exit_for(const Label& label, std::int32_t action) {
    if (label.jumps.empty()) return;
    land(label);
    set(0, action);
    exit();
  }
  Label pass_, drop_;
};

void check_mac(Program& p, const MacAddress& mac) {
  p.copy_from_frame(kMacSource, 6);
  p.load_stack(2, kBuffer, BPF_W);
  p.drop_if_not(2, word_at(mac.bytes));
  p.load_stack(2, kBuffer + 4, BPF_H);
  std::uint16_t tail;
  std::memcpy(&tail, mac.bytes + 4, sizeof tail);
  p.drop_if_not(2, tail);
}

void check_ip4(Program& p, const std::vector<IpAddress>& addresses) {
  p.copy_from_frame(kIp4Source, 4);
  p.load_stack(2, kBuffer, BPF_W);
  for (const IpAddress& a : addresses)
    if (!a.v6) p.pass_if(2, word_at(a.bytes));
  p.drop();
}

void check_ip6(Program& p, const std::vector<IpAddress>& addresses) {
  p.copy_from_frame(kIp6Source, 16);
  p.load_stack(2, kBuffer, BPF_DW);
  p.load_stack(3, kBuffer + 8, BPF_DW);
  // One branch per address: with one per word the verifier follows so many paths that 500 addresses take 0.2 s.
  for (const IpAddress& a : addresses) {
    if (!a.v6) continue;
    p.set_long(4, long_at(a.bytes));
    p.alu_reg(BPF_XOR, 4, 2);
    p.set_long(5, long_at(a.bytes + 8));
    p.alu_reg(BPF_XOR, 5, 3);
    p.alu_reg(BPF_OR, 4, 5);
    p.pass_if_zero(4);
  }
  p.drop();
}

void check_addresses(Program& p, const std::vector<IpAddress>& addresses) {
  // The kernel has already taken one VLAN tag off the frame; what is below it must not get through untagged.
  p.load_context(2, offsetof(__sk_buff, vlan_present));
  p.drop_if_not(2, 0);
  p.load_context(7, offsetof(__sk_buff, protocol));
  Program::Label not_ip4;
  p.jump_if_word(BPF_JNE, 7, wire16(ETH_P_IP), not_ip4);
  check_ip4(p, addresses);
  p.land(not_ip4);
  p.drop_if_not(7, wire16(ETH_P_IPV6));
  check_ip6(p, addresses);
}

Result<UniqueFd> load(const std::vector<bpf_insn>& program) {
  // The name is what `bpftool prog` and `tc filter` show. LGPL code may be used under the GPL.
  int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "vz_source", "GPL", program.data(), program.size(), nullptr);
  if (fd >= 0) return UniqueFd(fd);
  if (errno == ENOSYS || errno == EINVAL)
    return fail(Error::from_errno(errno, "load the source filter", Code::unsupported)
                    .with_hint("the kernel needs CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF"));
  return fail_errno("load the source filter");
}

}  // namespace

Result<std::vector<bpf_insn>> build_source_filter(const SourceFilter& filter) {
  if (filter.addresses.size() > kMaxFilterAddresses)
    return fail(Code::bad_value, std::to_string(filter.addresses.size()) + " addresses are more than the " +
                                     std::to_string(kMaxFilterAddresses) + " that one container can have");
  Program p;
  p.move(6, 1);  // the context; r6..r9 survive calls
  if (filter.mac) check_mac(p, *filter.mac);
  if (filter.mac && filter.addresses.empty())
    p.pass();
  else
    check_addresses(p, filter.addresses);
  return std::move(p).finish();
}

Result<> set_source_filter(Netlink& host, const std::string& link, const SourceFilter& filter) {
  auto program = VZ_TRY(build_source_filter(filter));
  UniqueFd fd = VZ_TRY_CTX(load(program), link);
  return host.set_ingress_program(link, fd.get(), "vz_source");
}

Result<> set_source_filter(const std::string& link, const SourceFilter& filter) {
  Netlink host = VZ_TRY(Netlink::open_here());
  return set_source_filter(host, link, filter);
}

}  // namespace vz
