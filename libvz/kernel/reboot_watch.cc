// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/reboot_watch.h"

#include <cerrno>
#include <cstddef>
#include <string>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/bpf.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {
namespace {

// Byte offsets of the kernel's structures, from its BTF: what CO-RE would patch in.
struct Offsets {
  std::uint32_t thread_pid;  // task_struct.thread_pid
  std::uint32_t level;       // pid.level
  std::uint32_t numbers;     // pid.numbers
  std::uint32_t upid_size, nr, ns;
  std::uint32_t reboot;  // pid_namespace.reboot
  std::uint32_t inum;    // pid_namespace.ns.inum
};

std::optional<std::uint32_t> find_member(const btf* types, const btf_type* type, const char* name) {
  const btf_member* m = btf_members(type);
  for (std::uint16_t i = 0; i < btf_vlen(type); ++i) {
    const char* member = btf__name_by_offset(types, m[i].name_off);
    std::uint32_t at = btf_member_bit_offset(type, i) / 8;
    if (member && std::string_view(member) == name) return at;
    if (member && *member) continue;
    // Anonymous union or struct.
    const btf_type* inner = btf__type_by_id(types, static_cast<std::uint32_t>(btf__resolve_type(types, m[i].type)));
    if (!inner || !btf_is_composite(inner)) continue;
    if (auto found = find_member(types, inner, name)) return at + *found;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> offset_of(const btf* types, const char* structure, const char* name) {
  int id = btf__find_by_name_kind(types, structure, BTF_KIND_STRUCT);
  if (id < 0) return std::nullopt;
  return find_member(types, btf__type_by_id(types, static_cast<std::uint32_t>(id)), name);
}

std::optional<Offsets> read_offsets(const btf* types) {
  auto thread_pid = offset_of(types, "task_struct", "thread_pid");
  auto level = offset_of(types, "pid", "level");
  auto numbers = offset_of(types, "pid", "numbers");
  auto nr = offset_of(types, "upid", "nr");
  auto ns = offset_of(types, "upid", "ns");
  auto reboot = offset_of(types, "pid_namespace", "reboot");
  auto common = offset_of(types, "pid_namespace", "ns");
  auto inum = offset_of(types, "ns_common", "inum");
  int upid = btf__find_by_name_kind(types, "upid", BTF_KIND_STRUCT);
  if (!thread_pid || !level || !numbers || !nr || !ns || !reboot || !common || !inum || upid < 0) return std::nullopt;
  auto size = static_cast<std::uint32_t>(btf__resolve_size(types, static_cast<std::uint32_t>(upid)));
  return Offsets{*thread_pid, *level, *numbers, size, *nr, *ns, *reboot, *common + *inum};
}

// In a child: parsing the kernel's BTF takes megabytes that the allocator would keep.
Result<Offsets> offsets_of_running_kernel() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno("pipe");
  UniqueFd reader(ends[0]), writer(ends[1]);
  pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child == 0) {
    btf* types = btf__load_vmlinux_btf();
    auto found = types ? read_offsets(types) : std::nullopt;
    ::_exit(found && ::write(writer.get(), &*found, sizeof *found) == sizeof *found ? 0 : 1);
  }
  writer.reset();
  Offsets result{};
  ssize_t n = ::read(reader.get(), &result, sizeof result);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (n != static_cast<ssize_t>(sizeof result)) return fail(Code::unsupported, "the kernel has no usable BTF");
  return result;
}

bpf_insn insn(std::uint8_t code, std::uint8_t dst, std::uint8_t src, std::int16_t off, std::int32_t imm) {
  bpf_insn i{};
  i.code = code;
  i.dst_reg = dst & 0xf;
  i.src_reg = src & 0xf;
  i.off = off;
  i.imm = imm;
  return i;
}

// A tiny assembler for the one program below; jumps to the end are patched when it is complete.
class Program {
 public:
  void emit(std::uint8_t code, std::uint8_t dst, std::uint8_t src, std::int16_t off, std::int32_t imm) {
    code_.push_back(insn(code, dst, src, off, imm));
  }
  void jump_to_end(std::uint8_t op, std::uint8_t dst, std::int32_t imm) {
    ends_.push_back(code_.size());
    emit(BPF_JMP | op | BPF_K, dst, 0, 0, imm);
  }
  // *(stack + slot) = size bytes at kernel address r<base> + off
  void probe_read(std::int32_t slot, std::int32_t size, std::uint8_t base, std::uint32_t off) {
    emit(BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0);
    emit(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, slot);
    emit(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, size);
    emit(BPF_ALU64 | BPF_MOV | BPF_X, 3, base, 0, 0);
    emit(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, static_cast<std::int32_t>(off));
    emit(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel);
    jump_to_end(BPF_JNE, 0, 0);
  }
  void load(std::uint8_t width, std::uint8_t dst, std::int16_t slot) {
    emit(static_cast<std::uint8_t>(BPF_LDX | BPF_MEM | width), dst, 10, slot, 0);
  }
  std::vector<bpf_insn> finish() {
    for (std::size_t at : ends_) code_[at].off = static_cast<std::int16_t>(code_.size() - at - 1);
    emit(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
    emit(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    return code_;
  }

 private:
  std::vector<bpf_insn> code_;
  std::vector<std::size_t> ends_;
};

// raw_tp/sched_process_exit(task): if the task is init of a child pid namespace whose `reboot` is set,
// ended[namespace inode] = reboot. Costs five reads per exiting init, three for any other process of a container.
std::vector<bpf_insn> exit_program(const Offsets& o, int map_fd) {
  Program p;
  p.emit(BPF_LDX | BPF_MEM | BPF_DW, 6, 1, 0, 0);  // r6 = task
  p.probe_read(-8, 8, 6, o.thread_pid);
  p.load(BPF_DW, 7, -8);  // r7 = task->thread_pid
  p.probe_read(-8, 4, 7, o.level);
  p.load(BPF_W, 8, -8);
  p.jump_to_end(BPF_JEQ, 8, 0);  // the host's own pid namespace
  p.jump_to_end(BPF_JGT, 8, 32);
  p.emit(BPF_ALU64 | BPF_MUL | BPF_K, 8, 0, 0, static_cast<std::int32_t>(o.upid_size));
  p.emit(BPF_ALU64 | BPF_ADD | BPF_X, 7, 8, 0, 0);  // r7 + numbers = &pid->numbers[level]
  p.probe_read(-8, 4, 7, o.numbers + o.nr);
  p.load(BPF_W, 8, -8);
  p.jump_to_end(BPF_JNE, 8, 1);  // not init
  p.probe_read(-8, 8, 7, o.numbers + o.ns);
  p.load(BPF_DW, 7, -8);  // r7 = pid namespace
  p.probe_read(-8, 4, 7, o.reboot);
  p.load(BPF_W, 8, -8);
  p.jump_to_end(BPF_JEQ, 8, 0);
  p.probe_read(-16, 4, 7, o.inum);
  p.emit(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map_fd);
  p.emit(0, 0, 0, 0, 0);
  p.emit(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
  p.emit(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -16);
  p.emit(BPF_ALU64 | BPF_MOV | BPF_X, 3, 10, 0, 0);
  p.emit(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, -8);
  p.emit(BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, BPF_ANY);
  p.emit(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_update_elem);
  return p.finish();
}

EndKind kind_of(std::uint64_t signal) {
  if (signal == SIGHUP) return EndKind::reboot;
  return signal == SIGINT ? EndKind::halt : EndKind::unknown;
}

// Field 52 of the zombie's stat: group_exit_code, present until its parent reaps it.
EndKind from_zombie(const InitIdentity& init, const UniqueFd& pidfd) {
  auto stat = read_file("/proc/" + std::to_string(init.pid) + "/stat");
  auto still = identify_init(pidfd);  // else the number may be somebody else's by now
  if (!stat || !still || still->pid != init.pid) return EndKind::unknown;
  std::size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return EndKind::unknown;
  auto fields = split_blank(std::string_view(*stat).substr(name_end + 1));
  if (fields.size() < 50 || fields[0] != "Z") return EndKind::unknown;
  auto code = parse_u64(trim(fields[49]));
  return code ? kind_of(*code & 0x7f) : EndKind::unknown;
}

}  // namespace

Result<InitIdentity> identify_init(const UniqueFd& pidfd) {
  std::string info = VZ_TRY(read_file("/proc/self/fdinfo/" + std::to_string(pidfd.get())));
  std::size_t at = info.find("\nPid:");
  if (at == std::string::npos) return fail(Code::system, "descriptor is no pidfd");
  std::size_t end = info.find('\n', at + 1);
  auto pid = parse_u64(trim(std::string_view(info).substr(at + 5, end - at - 5)));  // -1 when reaped
  if (!pid || *pid == 0) return fail(Code::not_running, "the process is gone");
  InitIdentity init;
  init.pid = static_cast<pid_t>(*pid);
  struct stat st;
  // A zombie has no ns links: 0, and only the zombie's stat can tell.
  if (::stat(("/proc/" + std::to_string(init.pid) + "/ns/pid").c_str(), &st) == 0)
    init.pid_ns = static_cast<std::uint32_t>(st.st_ino);
  return init;
}

Result<RebootWatch> RebootWatch::load() {
  Offsets offsets = VZ_TRY(offsets_of_running_kernel());
  RebootWatch watch;
  watch.map_.reset(bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "vz_ended", 4, 4, 1024, nullptr));
  if (!watch.map_) return fail_errno("create BPF map vz_ended", Code::unsupported);
  auto code = exit_program(offsets, watch.map_.get());
  UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "vz_reboot", "GPL", code.data(), code.size(), nullptr));
  if (!program) return fail_errno("load BPF program vz_reboot", Code::unsupported);
  watch.link_.reset(bpf_raw_tracepoint_open("sched_process_exit", program.get()));
  if (!watch.link_) return fail_errno("attach to sched_process_exit", Code::unsupported);
  return watch;
}

EndKind RebootWatch::ended(const InitIdentity& init, const UniqueFd& pidfd) const {
  EndKind kind = from_zombie(init, pidfd);
  std::uint32_t reboot = 0;
  if (link_ && init.pid_ns != 0 && bpf_map_lookup_elem(map_.get(), &init.pid_ns, &reboot) == 0) {
    (void)bpf_map_delete_elem(map_.get(), &init.pid_ns);  // the inode number will be used again
    if (kind == EndKind::unknown) kind = kind_of(reboot);
  }
  return kind;
}

void RebootWatch::close() {
  link_.reset();
  map_.reset();
}

}  // namespace vz
