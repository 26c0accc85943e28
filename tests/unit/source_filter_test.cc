// SPDX-License-Identifier: GPL-2.0-or-later
// The generated program is run twice: by an interpreter of the few instructions that it uses (no privilege needed),
// and, as root, by the kernel's BPF_PROG_TEST_RUN. Both must give the same verdicts.
#include "libvz/kernel/source_filter.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include <linux/pkt_cls.h>
#include <unistd.h>

#include <bpf/bpf.h>

namespace vz {
namespace {

constexpr int kPass = TC_ACT_UNSPEC, kDrop = TC_ACT_SHOT;

using Bytes = std::vector<std::uint8_t>;

IpAddress ip(const std::string& text) { return *IpAddress::parse(text); }

Bytes frame(std::uint16_t ethertype, const std::string& source, const Bytes& mac = {2, 0, 0, 0, 0, 1}) {
  IpAddress a = ip(source);
  Bytes f = {2, 0, 0, 0, 0, 9};
  for (auto byte : mac) f.push_back(byte);  // g++ 12 warns about insert() of a constant-size vector
  f.push_back(static_cast<std::uint8_t>(ethertype >> 8));
  f.push_back(static_cast<std::uint8_t>(ethertype));
  f.resize(f.size() + (a.v6 ? 8 : 12));
  f.insert(f.end(), a.bytes, a.bytes + (a.v6 ? 16 : 4));
  f.resize(f.size() + 32);
  return f;
}

struct Machine {
  const std::vector<bpf_insn>& program;
  const Bytes& frame;
  bool vlan;
  std::uint64_t r[11] = {};
  std::uint8_t stack[512] = {};
  std::size_t steps = 0;

  std::uint64_t load_context(int off) const {
    if (off == offsetof(__sk_buff, vlan_present)) return vlan;
    std::uint16_t raw;
    std::memcpy(&raw, frame.data() + 12, 2);
    if (off == offsetof(__sk_buff, protocol)) return raw;
    ADD_FAILURE() << "load of context offset " << off;
    return 0;
  }
  std::uint64_t load_stack(int off, int size) const {
    std::uint64_t word = 0;
    EXPECT_TRUE(off < 0 && off >= -512 && off + size <= 0) << off;
    std::memcpy(&word, stack + 512 + off, static_cast<std::size_t>(size));
    return word;
  }
  std::uint64_t skb_load_bytes() {
    std::size_t off = r[2], size = r[4];
    int to = static_cast<int>(static_cast<std::int64_t>(r[3]));  // r10 is 0 here
    EXPECT_TRUE(to < 0 && to >= -512 && to + static_cast<int>(size) <= 0);
    if (off + size > frame.size()) return static_cast<std::uint64_t>(-14);
    std::memcpy(stack + 512 + to, frame.data() + off, size);
    for (int i = 1; i <= 5; ++i) r[i] = 0xdeadbeefdeadbeef;  // the kernel clobbers them
    return 0;
  }
  int run() {
    for (std::size_t pc = 0; pc < program.size(); ++pc) {
      const bpf_insn& i = program[pc];
      if (++steps > program.size()) break;  // no loops
      switch (i.code) {
        case BPF_ALU64 | BPF_MOV | BPF_X:
          r[i.dst_reg] = r[i.src_reg];
          break;
        case BPF_ALU64 | BPF_MOV | BPF_K:
          r[i.dst_reg] = static_cast<std::uint64_t>(std::int64_t{i.imm});
          break;
        case BPF_ALU64 | BPF_ADD | BPF_K:
          r[i.dst_reg] += static_cast<std::uint64_t>(std::int64_t{i.imm});
          break;
        case BPF_ALU64 | BPF_XOR | BPF_X:
          r[i.dst_reg] ^= r[i.src_reg];
          break;
        case BPF_ALU64 | BPF_OR | BPF_X:
          r[i.dst_reg] |= r[i.src_reg];
          break;
        case BPF_LD | BPF_IMM | BPF_DW:
          ++pc;
          r[i.dst_reg] = static_cast<std::uint32_t>(i.imm) | std::uint64_t{static_cast<std::uint32_t>(program[pc].imm)}
                                                                 << 32;
          break;
        case BPF_LDX | BPF_MEM | BPF_DW:
          r[i.dst_reg] = load_stack(i.off, 8);
          break;
        case BPF_JMP | BPF_JEQ | BPF_K:
          if (r[i.dst_reg] == static_cast<std::uint64_t>(std::int64_t{i.imm})) pc += static_cast<std::size_t>(i.off);
          break;
        case BPF_LDX | BPF_MEM | BPF_H:
          r[i.dst_reg] = load_stack(i.off, 2);
          break;
        case BPF_LDX | BPF_MEM | BPF_W:
          r[i.dst_reg] = i.src_reg == 10 ? load_stack(i.off, 4) : load_context(i.off);
          break;
        case BPF_JMP | BPF_JA:
          pc += static_cast<std::size_t>(i.off);
          break;
        case BPF_JMP32 | BPF_JEQ | BPF_K:
          if (static_cast<std::uint32_t>(r[i.dst_reg]) == static_cast<std::uint32_t>(i.imm))
            pc += static_cast<std::size_t>(i.off);
          break;
        case BPF_JMP32 | BPF_JNE | BPF_K:
          if (static_cast<std::uint32_t>(r[i.dst_reg]) != static_cast<std::uint32_t>(i.imm))
            pc += static_cast<std::size_t>(i.off);
          break;
        case BPF_JMP | BPF_CALL:
          EXPECT_EQ(i.imm, BPF_FUNC_skb_load_bytes);
          r[0] = skb_load_bytes();
          break;
        case BPF_JMP | BPF_EXIT:
          return static_cast<int>(r[0]);
        default:
          ADD_FAILURE() << "instruction " << pc << " has code " << int{i.code};
          return 99;
      }
    }
    ADD_FAILURE() << "ran off the end";
    return 99;
  }
};

int interpret(const SourceFilter& filter, const Bytes& frame, bool vlan = false) {
  auto program = build_source_filter(filter);
  EXPECT_TRUE(program);
  return Machine{*program, frame, vlan}.run();
}

SourceFilter routed(const std::vector<std::string>& addresses) {
  SourceFilter f;
  for (const std::string& a : addresses) f.addresses.push_back(ip(a));
  return f;
}

// Sets of addresses of every size that matters, alternating between the families.
SourceFilter of_size(std::size_t n) {
  SourceFilter f;
  for (std::size_t i = 0; i < n; ++i) {
    IpAddress a = ip(i % 2 ? "fd00::1" : "10.0.0.1");
    std::uint8_t* tail = a.bytes + (a.v6 ? 14 : 2);
    tail[0] = static_cast<std::uint8_t>(i >> 8);
    tail[1] = static_cast<std::uint8_t>(i);
    f.addresses.push_back(a);
  }
  return f;
}

struct Case {
  const char* name;
  SourceFilter filter;
  Bytes frame;
  int verdict;
};

std::vector<Case> cases() {
  SourceFilter both = routed({"10.0.0.5", "10.0.0.6", "fd00::5", "fd00::1:0:0:5"});
  SourceFilter mac;
  mac.mac = *MacAddress::parse("00:18:51:a1:b2:f3");
  SourceFilter mac_and_ip = mac;
  mac_and_ip.addresses = {ip("10.0.0.5")};
  const Bytes own = {0x00, 0x18, 0x51, 0xa1, 0xb2, 0xf3};
  Bytes cut4 = frame(0x0800, "10.0.0.5"), cut6 = frame(0x86dd, "fd00::5");
  cut4.resize(29);
  cut6.resize(37);
  return {
      {"first v4", both, frame(0x0800, "10.0.0.5"), kPass},
      {"second v4", both, frame(0x0800, "10.0.0.6"), kPass},
      {"foreign v4", both, frame(0x0800, "10.0.0.7"), kDrop},
      {"high bit", both, frame(0x0800, "138.0.0.5"), kDrop},
      {"address with the sign bit", routed({"203.0.113.255"}), frame(0x0800, "203.0.113.255"), kPass},
      {"first v6", both, frame(0x86dd, "fd00::5"), kPass},
      {"second v6", both, frame(0x86dd, "fd00::1:0:0:5"), kPass},
      {"v6, first word differs", both, frame(0x86dd, "fd01::5"), kDrop},
      {"v6, second word differs", both, frame(0x86dd, "fd00:0:1::5"), kDrop},
      {"v6, third word differs", both, frame(0x86dd, "fd00::2:0:0:5"), kDrop},
      {"v6, fourth word differs", both, frame(0x86dd, "fd00::6"), kDrop},
      {"v4 in a v6 frame", both, frame(0x86dd, "10.0.0.5"), kDrop},
      {"v6 in a v4 frame", both, frame(0x0800, "fd00::5"), kDrop},
      {"ARP", both, frame(0x0806, "10.0.0.5"), kDrop},
      {"VLAN", both, frame(0x8100, "10.0.0.5"), kDrop},
      {"v4 cut short", both, cut4, kDrop},
      {"v6 cut short", both, cut6, kDrop},
      {"only v4: v6", routed({"10.0.0.5"}), frame(0x86dd, "fd00::5"), kDrop},
      {"only v6: v4", routed({"fd00::5"}), frame(0x0800, "10.0.0.5"), kDrop},
      {"only v6: v6", routed({"fd00::5"}), frame(0x86dd, "fd00::5"), kPass},
      {"the prefix does not widen", routed({"10.0.0.5/8"}), frame(0x0800, "10.0.0.6"), kDrop},
      {"nothing allowed: v4", {}, frame(0x0800, "10.0.0.5"), kDrop},
      {"nothing allowed: ARP", {}, frame(0x0806, "10.0.0.5"), kDrop},
      {"own MAC", mac, frame(0x0800, "10.0.0.5", own), kPass},
      {"own MAC, ARP", mac, frame(0x0806, "10.0.0.5", own), kPass},
      {"MAC, first word differs", mac, frame(0x0800, "10.0.0.5", {0x02, 0x18, 0x51, 0xa1, 0xb2, 0xf3}), kDrop},
      {"MAC, last byte differs", mac, frame(0x0800, "10.0.0.5", {0x00, 0x18, 0x51, 0xa1, 0xb2, 0xf4}), kDrop},
      {"MAC and address", mac_and_ip, frame(0x0800, "10.0.0.5", own), kPass},
      {"MAC, foreign address", mac_and_ip, frame(0x0800, "10.0.0.6", own), kDrop},
      {"foreign MAC, own address", mac_and_ip, frame(0x0800, "10.0.0.5"), kDrop},
  };
}

TEST(SourceFilter, Verdicts) {
  for (const Case& c : cases()) EXPECT_EQ(interpret(c.filter, c.frame), c.verdict) << c.name;
}

TEST(SourceFilter, AVlanTagThatTheKernelTookOffIsSeen) {
  EXPECT_EQ(interpret(routed({"10.0.0.5"}), frame(0x0800, "10.0.0.5"), true), kDrop);
  SourceFilter mac;
  mac.mac = *MacAddress::parse("02:00:00:00:00:01");
  EXPECT_EQ(interpret(mac, frame(0x0800, "10.0.0.5"), true), kPass);  // a bridge may carry VLANs
}

TEST(SourceFilter, EveryAddressOfALongListPassesAndNoOther) {
  for (std::size_t n : {1u, 64u, 500u}) {
    SourceFilter filter = of_size(n);
    for (const IpAddress& a : filter.addresses)
      ASSERT_EQ(interpret(filter, frame(a.v6 ? 0x86dd : 0x0800, a.address())), kPass) << n << " " << a.str();
    EXPECT_EQ(interpret(filter, frame(0x0800, "10.0.250.250")), kDrop);
    EXPECT_EQ(interpret(filter, frame(0x86dd, "fd00::fafa")), kDrop);
  }
}

// What the verifier would refuse: a jump out of the program or backwards, and code that nothing reaches.
TEST(SourceFilter, JumpsStayInsideAndEverythingIsReached) {
  for (std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{64}, std::size_t{500}, kMaxFilterAddresses}) {
    auto program = build_source_filter(of_size(n));
    ASSERT_TRUE(program);
    std::vector<bool> reached(program->size() + 1);
    reached[0] = true;
    for (std::size_t pc = 0; pc < program->size(); ++pc) {
      const bpf_insn& i = (*program)[pc];
      ASSERT_TRUE(reached[pc]) << "instruction " << pc << " of " << program->size() << ", " << n << " addresses";
      int cls = BPF_CLASS(i.code), op = BPF_OP(i.code);
      bool jumps = (cls == BPF_JMP || cls == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT;
      if (jumps) {
        ASSERT_GE(i.off, 0);
        ASSERT_LT(pc + 1 + static_cast<std::size_t>(i.off), program->size());
        reached[pc + 1 + static_cast<std::size_t>(i.off)] = true;
      }
      if (!(cls == BPF_JMP && (op == BPF_EXIT || op == BPF_JA))) reached[pc + 1] = true;
    }
    EXPECT_FALSE(reached[program->size()]) << "falls off the end";
    EXPECT_EQ(program->back().code, BPF_JMP | BPF_EXIT);
  }
}

TEST(SourceFilter, RefusesMoreAddressesThanFit) {
  EXPECT_TRUE(build_source_filter(of_size(kMaxFilterAddresses)));
  auto program = build_source_filter(of_size(kMaxFilterAddresses + 1));
  ASSERT_FALSE(program);
  EXPECT_EQ(program.error().code(), Code::bad_value);
}

UniqueFd load(const SourceFilter& filter) {
  auto program = build_source_filter(filter);
  return UniqueFd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "vz_test", "GPL", program->data(), program->size(), nullptr));
}

TEST(SourceFilter, TheKernelAgrees) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to load BPF";
  if (!load(routed({"10.0.0.5"})).valid()) GTEST_SKIP() << "cannot load BPF here: " << std::strerror(errno);
  for (const Case& c : cases()) {
    UniqueFd fd = load(c.filter);
    ASSERT_TRUE(fd.valid()) << c.name << ": " << std::strerror(errno);
    bpf_test_run_opts opts{};
    opts.sz = sizeof opts;
    opts.data_in = c.frame.data();
    opts.data_size_in = static_cast<__u32>(c.frame.size());
    if (bpf_prog_test_run_opts(fd.get(), &opts) != 0) {
      // The kernel refuses to make an skb of some broken frames; the interpreter has judged them.
      EXPECT_EQ(c.verdict, kDrop) << c.name << ": " << std::strerror(errno);
      continue;
    }
    EXPECT_EQ(static_cast<int>(opts.retval), c.verdict) << c.name;
  }
  for (std::size_t n : {std::size_t{0}, std::size_t{500}, kMaxFilterAddresses})
    EXPECT_TRUE(load(of_size(n)).valid()) << n << " addresses: " << std::strerror(errno);
  SourceFilter only_v6;
  for (std::size_t i = 0; i < kMaxFilterAddresses; ++i) {
    only_v6.addresses.push_back(ip("fd00::1"));
    only_v6.addresses.back().bytes[0] = static_cast<std::uint8_t>(i);
    only_v6.addresses.back().bytes[6] = static_cast<std::uint8_t>(i >> 2);
    only_v6.addresses.back().bytes[9] = static_cast<std::uint8_t>(i >> 5);
  }
  EXPECT_TRUE(load(only_v6).valid()) << std::strerror(errno);
}

}  // namespace
}  // namespace vz
