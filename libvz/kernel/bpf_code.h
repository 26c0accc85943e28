// SPDX-License-Identifier: LGPL-2.1-or-later
// BPF instructions written by hand, with labels: for programs that are generated per container and need no compiler.
#pragma once

#include <cstdint>
#include <vector>

#include <linux/bpf.h>

namespace vz {

class BpfCode {
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
  void alu(int operation, int dst, std::int32_t value) { op(BPF_ALU64 | operation | BPF_K, dst, 0, 0, value); }
  void alu_reg(int operation, int dst, int src) { op(BPF_ALU64 | operation | BPF_X, dst, src, 0, 0); }
  void load(int size, int dst, int src, int off) { op(BPF_LDX | BPF_MEM | size, dst, src, off, 0); }
  void store(int size, int dst, int off, int src) { op(BPF_STX | BPF_MEM | size, dst, src, off, 0); }
  void store_value(int size, int dst, int off, std::int32_t value) { op(BPF_ST | BPF_MEM | size, dst, 0, off, value); }
  void load_map(int dst, int fd) {  // one instruction in two slots
    op(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, fd);
    op(0, 0, 0, 0, 0);
  }
  void add_atomically(int dst, int off, int src) { op(BPF_STX | BPF_ATOMIC | BPF_DW, dst, src, off, BPF_ADD); }
  void call(int helper) { op(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
  void exit() { op(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

  // Places to jump to, forward only.
  struct Label {
    std::vector<std::size_t> jumps;
  };
  void jump(Label& to) {
    to.jumps.push_back(code_.size());
    op(BPF_JMP | BPF_JA, 0, 0, 0, 0);
  }
  // 64-bit compares of a register with a value.
  void jump_if(int condition, int reg, std::int32_t value, Label& to) {
    to.jumps.push_back(code_.size());
    op(BPF_JMP | condition | BPF_K, reg, 0, 0, value);
  }
  // 32-bit: the value is not sign-extended.
  void jump_if_word(int condition, int reg, std::int32_t value, Label& to) {
    to.jumps.push_back(code_.size());
    op(BPF_JMP32 | condition | BPF_K, reg, 0, 0, value);
  }
  void jump_if_reg(int condition, int reg, int other, Label& to) {
    to.jumps.push_back(code_.size());
    op(BPF_JMP | condition | BPF_X, reg, other, 0, 0);
  }
  void land(const Label& label) {
    for (std::size_t at : label.jumps) code_[at].off = static_cast<__s16>(code_.size() - at - 1);
  }
  std::vector<bpf_insn> finish() && { return std::move(code_); }

 private:
  std::vector<bpf_insn> code_;
};

}  // namespace vz
