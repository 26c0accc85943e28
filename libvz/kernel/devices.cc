// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/devices.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include <linux/bpf.h>

#include <bpf/bpf.h>

#include "libvz/base/fd.h"
#include "libvz/kernel/device_program.h"

namespace vz {

namespace {

constexpr bpf_insn insn(unsigned code, unsigned dst, unsigned src, int off, int imm) {
  bpf_insn i{};
  i.code = static_cast<__u8>(code);
  i.dst_reg = dst & 0xf;
  i.src_reg = src & 0xf;
  i.off = static_cast<__s16>(off);
  i.imm = imm;
  return i;
}

// r1: context, then scratch; r2: type, r3: access, r4: major, r5: minor.
enum Register : unsigned { result = 0, scratch = 1, type = 2, access = 3, major_nr = 4, minor_nr = 5 };

void append_prologue(std::vector<bpf_insn>& out) {
  constexpr unsigned load = BPF_LDX | BPF_MEM | BPF_W;
  // access_type: BPF_DEVCG_ACC_* in the upper, BPF_DEVCG_DEV_* in the lower 16 bits.
  out.push_back(insn(load, type, 1, 0, 0));
  out.push_back(insn(BPF_ALU | BPF_AND | BPF_K, type, 0, 0, 0xffff));
  out.push_back(insn(load, access, 1, 0, 0));
  out.push_back(insn(BPF_ALU | BPF_RSH | BPF_K, access, 0, 0, 16));
  out.push_back(insn(load, major_nr, 1, 4, 0));
  out.push_back(insn(load, minor_nr, 1, 8, 0));
}

int access_bits(const DeviceRule& rule) {
  return (rule.read ? BPF_DEVCG_ACC_READ : 0) | (rule.write ? BPF_DEVCG_ACC_WRITE : 0) |
         (rule.mknod ? BPF_DEVCG_ACC_MKNOD : 0);
}

// Each test jumps behind the rule when it does not match; the rule ends with "allow".
void append_rule(std::vector<bpf_insn>& out, const DeviceRule& rule) {
  std::vector<bpf_insn> body;
  std::vector<std::size_t> exits;
  auto unless_equal = [&](unsigned reg, int value) {
    exits.push_back(body.size());
    body.push_back(insn(BPF_JMP | BPF_JNE | BPF_K, reg, 0, 0, value));
  };
  if (rule.type != 'a') unless_equal(type, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
  int granted = access_bits(rule);
  if (granted != (BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD)) {
    // A request for more than what is granted is not for this rule.
    body.push_back(insn(BPF_ALU | BPF_MOV | BPF_X, scratch, access, 0, 0));
    body.push_back(insn(BPF_ALU | BPF_AND | BPF_K, scratch, 0, 0, ~granted & 7));
    unless_equal(scratch, 0);
  }
  if (rule.major >= 0) unless_equal(major_nr, static_cast<int>(rule.major));
  if (rule.minor >= 0) unless_equal(minor_nr, static_cast<int>(rule.minor));
  body.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, result, 0, 0, 1));
  body.push_back(insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  for (std::size_t at : exits) body[at].off = static_cast<__s16>(body.size() - at - 1);
  out.insert(out.end(), body.begin(), body.end());
}

}  // namespace

std::vector<DeviceRule> default_device_rules() {
  auto rule = [](int major, int minor) { return DeviceRule{'c', major, minor, true, true, true}; };
  return {
      rule(1, 3),     // null
      rule(1, 5),     // zero
      rule(1, 7),     // full
      rule(1, 8),     // random
      rule(1, 9),     // urandom
      rule(5, 0),     // tty
      rule(5, 1),     // console
      rule(5, 2),     // ptmx
      rule(136, -1),  // pts; the kernel spreads them over majors 136 to 143
      rule(137, -1), rule(138, -1), rule(139, -1), rule(140, -1), rule(141, -1), rule(142, -1), rule(143, -1),
  };
}

std::vector<bpf_insn> build_device_program(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> out;
  append_prologue(out);
  for (const auto& rule : rules)
    if (access_bits(rule) != 0) append_rule(out, rule);
  out.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, result, 0, 0, 0));
  out.push_back(insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  return out;
}

Result<> attach_device_rules(int cgroup_fd, const std::vector<DeviceRule>& rules) {
  auto program = build_device_program(rules);
  UniqueFd fd(
      ::bpf_prog_load(BPF_PROG_TYPE_CGROUP_DEVICE, "vz_devices", "GPL", program.data(), program.size(), nullptr));
  if (!fd)
    return fail(Error::from_errno(errno, "load the device access program", Code::devices)
                    .with_hint("the kernel needs CONFIG_CGROUP_BPF, vzctl needs CAP_BPF"));
  // Without BPF_F_ALLOW_MULTI a group holds one program, and attaching exchanges it in one step: at no moment is the
  // group open. Programs that systemd attached further up (DevicePolicy=) go on to be asked as well.
  if (::bpf_prog_attach(fd.get(), cgroup_fd, BPF_CGROUP_DEVICE, 0) < 0)
    return fail_errno("attach the device access program", Code::devices);
  return {};
}

}  // namespace vz
