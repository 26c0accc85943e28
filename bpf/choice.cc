// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/choice.h"

#include <unistd.h>

#include <fstream>
#include <memory>
#include <string_view>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

namespace vzbpf {

namespace {

struct FreeBtf {
  void operator()(btf* types) const { btf__free(types); }
};
using Types = std::unique_ptr<btf, FreeBtf>;

constexpr std::string_view kLsm = "lsm/";

constexpr const char* kNotNeeded = "not needed: ";

// Programs (beginnings of their names) for kernels that close a hook to the better one.
struct Substitute {
  const char *program, *instead_of;
};
constexpr Substitute kSubstitutes[] = {{"ub_file_before", "ub_file_charge"}, {"ub_file_refuse", "ub_file_charge"}};

// Swap-out has two names, one per kernel.
constexpr const char* kSwapOut = "vswap_out_";

std::string section_of(const bpf_program* program) { return bpf_program__section_name(program); }

bool on_lsm(const bpf_program* program) { return section_of(program).find(kLsm) != std::string::npos; }

// Hooks of security modules can be attached to without ever being called: when "bpf" is none of the active modules.
bool lsm_runs() {
  std::ifstream file("/sys/kernel/security/lsm");
  std::string names;
  if (!std::getline(file, names)) return true;
  return ("," + names + ",").find(",bpf,") != std::string::npos;
}

// Does the kernel let programs hang on this hook? Asked with one that does nothing.
bool open_to_us(int hook) {
  const bpf_insn nothing[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  bpf_prog_load_opts options{};
  options.sz = sizeof options;
  options.expected_attach_type = BPF_LSM_MAC;
  options.attach_btf_id = static_cast<__u32>(hook);
  int fd = bpf_prog_load(BPF_PROG_TYPE_LSM, "vz_probe", "GPL", nothing, 2, &options);
  if (fd >= 0) (void)::close(fd);
  return fd >= 0;
}

// Who counts what a module has must be loaded after it. Built into the kernel, it may have no directory in /sys/module,
// but its types are the kernel's then.
struct Module {
  const char *program, *module, *type;
};
constexpr Module kModules[] = {{"ub_iptent_charge", "nf_tables", "nftables_pernet"}};

bool is_there(const btf* types, const Module& m) {
  return ::access((std::string("/sys/module/") + m.module).c_str(), F_OK) == 0 ||
         (types && btf__find_by_name_kind(types, m.type, BTF_KIND_STRUCT) > 0);
}

std::string lacking_module(const btf* types, std::string_view program) {
  for (const auto& m : kModules)
    if (program == m.program && !is_there(types, m))
      return std::string(m.module) + " was not loaded when this was: modprobe " + m.module +
             ", then `vz-bpf load` again";
  return "";
}

// "" or what this kernel lacks.
std::string lacking(const btf* types, const bpf_program* program) {
  if (auto module = lacking_module(types, bpf_program__name(program)); !module.empty()) return module;
  auto function = function_of(program);
  if (function.empty() || !types) return "";
  int id = btf__find_by_name_kind(types, function.c_str(), BTF_KIND_FUNC);
  if (id <= 0) return "this kernel has no function " + function;
  bool may_be_missing = !bpf_program__autoload(program);
  if (may_be_missing && on_lsm(program) && !open_to_us(id)) return "this kernel lets no program hang on " + function;
  return "";
}

// "ub_file_": all that count or limit the same row.
std::string row_of(std::string_view program) {
  auto end = program.find('_', program.find('_') + 1);
  return std::string(program.substr(0, end == program.npos ? program.size() : end + 1));
}

const std::string* substituted(const std::string& program, const LeftOut& out) {
  static const std::string reason = std::string(kNotNeeded) + "this kernel has a better place";
  for (const auto& s : kSubstitutes)
    if (program.starts_with(s.program) && !out.contains(s.instead_of)) return &reason;
  return nullptr;
}

// Whatever nobody gives back must not be charged.
const std::string* without_end(const std::string& program, const LeftOut& out) {
  auto found = out.find(row_of(program) + "free");
  return found == out.end() ? nullptr : &found->second;
}

void leave_out(bpf_object* object, LeftOut& out) {
  const bool lsm = lsm_runs();
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    std::string name = bpf_program__name(program);
    if (!lsm && on_lsm(program))
      out.emplace(name, "the kernel calls no BPF programs in security hooks: boot with lsm=…,bpf");
    if (const auto* why = without_end(name, out)) out.emplace(name, *why);
    if (const auto* why = substituted(name, out)) out.emplace(name, *why);
    if (out.contains(name)) (void)bpf_program__set_autoload(program, false);
  }
}

}  // namespace

std::string function_of(const bpf_program* program) {
  auto section = section_of(program);
  auto slash = section.find('/');
  if (section.find("tp_btf/") != std::string::npos || slash == std::string::npos) return "";
  return (on_lsm(program) ? "bpf_lsm_" : "") + section.substr(slash + 1);
}

std::string choose_programs(bpf_object* object, bool each, LeftOut& out) {
  std::erase_if(out, [](const auto& one) { return one.second.starts_with(kNotNeeded); });
  Types types(btf__load_vmlinux_btf());
  bpf_program* program = nullptr;
  int ways_out = 0, ways_there = 0;
  bpf_object__for_each_program(program, object) {
    std::string name = bpf_program__name(program);
    auto lacks = lacking(types.get(), program);
    bool needed = bpf_program__autoload(program);
    if (!lacks.empty() && needed && !each) return lacks;
    if (!lacks.empty()) out.emplace(name, (needed ? "" : kNotNeeded) + lacks);
    (void)bpf_program__set_autoload(program, lacks.empty());
    if (!name.starts_with(kSwapOut)) continue;
    ++ways_out;
    ways_there += lacks.empty();
  }
  leave_out(object, out);
  return ways_out > 0 && ways_there == 0 ? "this kernel has no function that writes a page to swap" : "";
}

std::string culprit(const std::string& messages) {
  constexpr std::string_view kProgram = "prog '";
  auto begin = messages.rfind(kProgram);
  if (begin == messages.npos) return "";
  begin += kProgram.size();
  auto end = messages.find('\'', begin);
  return end == messages.npos ? "" : messages.substr(begin, end - begin);
}

}  // namespace vzbpf
