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

// Emits instructions; the two exits come last, jumps to them are patched by finish().
class Program {
 public:
  void op(int code, int dst, int src, int off, std::int32_t imm) {
    bpf_insn insn{};
    insn.code = static_cast<__u8>(code);
    insn.dst_reg = static_cast<__u8>(dst & 15);
    insn.src_reg = static_cast<__u8>(src & 15);
    insn.off = static_cast<__s16>(off);
    insn.imm = imm;
    code_.push_back(insn);
  }
  void move(int dst, int src) { op(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0); }
  void set(int dst, std::int32_t value) { op(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value); }
  void set_long(int dst, std::uint64_t value) {  // one instruction in two slots
    op(BPF_LD | BPF_IMM | BPF_DW, dst, 0, 0, static_cast<std::int32_t>(value));
    op(0, 0, 0, 0, static_cast<std::int32_t>(value >> 32));
  }
  void load_context(int dst, std::size_t field) { op(BPF_LDX | BPF_MEM | BPF_W, dst, 6, static_cast<int>(field), 0); }
  void load_stack(int dst, int off, int size) { op(BPF_LDX | BPF_MEM | size, dst, 10, off, 0); }
  // 32-bit compares: the immediate is not sign-extended.
  void jump_if(int condition, int reg, std::int32_t value, int skip) {
    op(BPF_JMP32 | condition | BPF_K, reg, 0, skip, value);
  }
  void drop_if_not(int reg, std::int32_t value) {
    to_drop_.push_back(code_.size());
    jump_if(BPF_JNE, reg, value, 0);
  }
  void drop() {
    to_drop_.push_back(code_.size());
    op(BPF_JMP | BPF_JA, 0, 0, 0, 0);
  }
  void pass_if(int reg, std::int32_t value) {
    to_pass_.push_back(code_.size());
    jump_if(BPF_JEQ, reg, value, 0);
  }
  void pass_if_zero(int reg) {  // all 64 bits
    to_pass_.push_back(code_.size());
    op(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, 0, 0);
  }
  void pass() {
    to_pass_.push_back(code_.size());
    op(BPF_JMP | BPF_JA, 0, 0, 0, 0);
  }
  // bpf_skb_load_bytes to the stack; a frame that is too short is dropped.
  void copy_from_frame(int offset, int size) {
    move(1, 6);
    set(2, offset);
    move(3, 10);
    op(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, kBuffer);
    set(4, size);
    op(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_skb_load_bytes);
    drop_if_not(0, 0);
  }
  std::size_t size() const { return code_.size(); }
  // Jumps over what has been emitted since `at`.
  void land(std::size_t at) { code_[at].off = static_cast<__s16>(code_.size() - at - 1); }
  // The verifier refuses code that nothing reaches, so an exit that is not needed is left out.
  std::vector<bpf_insn> finish() && {
    exit_for(to_pass_, TC_ACT_UNSPEC);
    exit_for(to_drop_, TC_ACT_SHOT);
    return std::move(code_);
  }

 private:
  void exit_for(const std::vector<std::size_t>& jumps, std::int32_t action) {
    if (jumps.empty()) return;
    for (std::size_t at : jumps) land(at);
    set(0, action);
    op(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  }
  std::vector<bpf_insn> code_;
  std::vector<std::size_t> to_pass_, to_drop_;
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
    p.op(BPF_ALU64 | BPF_XOR | BPF_X, 4, 2, 0, 0);
    p.set_long(5, long_at(a.bytes + 8));
    p.op(BPF_ALU64 | BPF_XOR | BPF_X, 5, 3, 0, 0);
    p.op(BPF_ALU64 | BPF_OR | BPF_X, 4, 5, 0, 0);
    p.pass_if_zero(4);
  }
  p.drop();
}

void check_addresses(Program& p, const std::vector<IpAddress>& addresses) {
  // The kernel has already taken one VLAN tag off the frame; what is below it must not get through untagged.
  p.load_context(2, offsetof(__sk_buff, vlan_present));
  p.drop_if_not(2, 0);
  p.load_context(7, offsetof(__sk_buff, protocol));
  std::size_t not_ip4 = p.size();
  p.jump_if(BPF_JNE, 7, wire16(ETH_P_IP), 0);
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
