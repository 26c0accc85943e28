// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/devices.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "libvz/kernel/device_program.h"

namespace vz {
namespace {

// The few instructions that the builder uses, interpreted; -1 on anything else and on a jump out of the program.
int run(const std::vector<bpf_insn>& program, const bpf_cgroup_dev_ctx& context) {
  std::uint64_t reg[11] = {};
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    const bpf_insn& i = program[pc];
    auto imm = static_cast<std::uint32_t>(i.imm);
    std::uint32_t word = 0;
    switch (i.code) {
      case BPF_LDX | BPF_MEM | BPF_W:
        std::memcpy(&word, reinterpret_cast<const char*>(&context) + i.off, sizeof word);
        reg[i.dst_reg] = word;
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        reg[i.dst_reg] = static_cast<std::uint32_t>(reg[i.dst_reg]) & imm;
        break;
      case BPF_ALU | BPF_RSH | BPF_K:
        reg[i.dst_reg] = static_cast<std::uint32_t>(reg[i.dst_reg]) >> imm;
        break;
      case BPF_ALU | BPF_MOV | BPF_X:
        reg[i.dst_reg] = static_cast<std::uint32_t>(reg[i.src_reg]);
        break;
      case BPF_ALU64 | BPF_MOV | BPF_K:
        reg[i.dst_reg] = imm;
        break;
      case BPF_JMP | BPF_JNE | BPF_K:
        if (reg[i.dst_reg] != imm) pc += static_cast<std::size_t>(i.off);
        break;
      case BPF_JMP | BPF_EXIT:
        return static_cast<int>(reg[0]);
      default:
        return -1;
    }
  }
  return -1;
}

// `access` as in a rule: "rwm".
int ask(const std::vector<DeviceRule>& rules, char type, unsigned major, unsigned minor, const std::string& access) {
  unsigned bits = 0;
  if (access.find('r') != std::string::npos) bits |= BPF_DEVCG_ACC_READ;
  if (access.find('w') != std::string::npos) bits |= BPF_DEVCG_ACC_WRITE;
  if (access.find('m') != std::string::npos) bits |= BPF_DEVCG_ACC_MKNOD;
  unsigned kind = type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
  return run(build_device_program(rules), {bits << 16 | kind, major, minor});
}

TEST(DeviceProgram, NothingIsAllowedWithoutARule) {
  EXPECT_EQ(ask({}, 'c', 1, 3, "r"), 0);
  EXPECT_EQ(ask({{'c', 1, 3, false, false, false}}, 'c', 1, 3, "r"), 0);
}

TEST(DeviceProgram, ARuleGrantsExactlyItself) {
  std::vector<DeviceRule> rules = {{'b', 8, 16, true, false, false}};
  EXPECT_EQ(ask(rules, 'b', 8, 16, "r"), 1);
  EXPECT_EQ(ask(rules, 'b', 8, 16, "w"), 0);
  EXPECT_EQ(ask(rules, 'b', 8, 16, "rw"), 0);
  EXPECT_EQ(ask(rules, 'b', 8, 16, "m"), 0);
  EXPECT_EQ(ask(rules, 'b', 8, 17, "r"), 0);
  EXPECT_EQ(ask(rules, 'b', 9, 16, "r"), 0);
  EXPECT_EQ(ask(rules, 'c', 8, 16, "r"), 0);
}

TEST(DeviceProgram, WildcardsAndLaterRules) {
  std::vector<DeviceRule> rules = {
      {'c', 10, 200, true, true, false}, {'b', 7, -1, true, true, true}, {'a', 42, 1, true, true, true}};
  EXPECT_EQ(ask(rules, 'b', 7, 0, "rwm"), 1);
  EXPECT_EQ(ask(rules, 'b', 7, 255, "w"), 1);
  EXPECT_EQ(ask(rules, 'c', 7, 0, "r"), 0);
  EXPECT_EQ(ask(rules, 'c', 42, 1, "rwm"), 1);
  EXPECT_EQ(ask(rules, 'b', 42, 1, "r"), 1);
  EXPECT_EQ(ask(rules, 'c', 10, 200, "rw"), 1);
  EXPECT_EQ(ask({{'a', -1, -1, true, true, true}}, 'b', 254, 0, "rwm"), 1);
}

TEST(DeviceProgram, DefaultsHaveNoHostDevice) {
  auto rules = default_device_rules();
  EXPECT_EQ(ask(rules, 'c', 1, 3, "rw"), 1);    // null
  EXPECT_EQ(ask(rules, 'c', 136, 7, "rw"), 1);  // pts/7
  EXPECT_EQ(ask(rules, 'c', 5, 2, "rw"), 1);    // ptmx
  EXPECT_EQ(ask(rules, 'c', 1, 1, "r"), 0);     // mem
  EXPECT_EQ(ask(rules, 'c', 4, 0, "r"), 0);     // tty0
  EXPECT_EQ(ask(rules, 'c', 10, 200, "r"), 0);  // net/tun
  EXPECT_EQ(ask(rules, 'b', 1, 3, "r"), 0);
  EXPECT_EQ(ask(rules, 'b', 8, 0, "r"), 0);  // sda
}

}  // namespace
}  // namespace vz
