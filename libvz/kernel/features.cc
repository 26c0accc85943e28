// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/features.h"
#include "libvz/kernel/criu.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/bpf_call.h"
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/quota.h"
#include "libvz/kernel/systemd.h"
#include "libvz/kernel/vzdev.h"

namespace vz {

namespace {

Finding yes(std::string detail = {}) { return {true, std::move(detail)}; }
Finding no(std::string why) { return {false, std::move(why)}; }

std::string error_text(int err) {
  char buf[128];
  return strerror_r(err, buf, sizeof buf);
}
Finding no_errno(const char* what) { return no(fmt::format("{}: {}", what, error_text(errno))); }

std::string line_of(const std::string& path) {
  auto text = read_file(path);
  return text ? std::string(trim(*text)) : std::string();
}

}  // namespace

Finding find_userns() {
  auto limit = parse_u64(line_of("/proc/sys/user/max_user_namespaces"));
  if (!limit) return no("the kernel has no user namespaces");
  return {*limit > 0, fmt::format("user.max_user_namespaces = {}", *limit)};
}

Finding find_pidfd() {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  return fd ? yes() : no_errno("pidfd_open");
}

Finding find_clone_into_cgroup() {
  // struct clone_args of Linux 5.7 (linux/sched.h may be older). No such cgroup: EBADF; an older kernel: E2BIG, ENOSYS.
  std::array<std::uint64_t, 11> args{};
  constexpr std::uint64_t kIntoCgroup = 0x200000000ull;
  args[0] = kIntoCgroup;
  args[10] = 0x7fffffff;  // cgroup
  long r = ::syscall(SYS_clone3, args.data(), sizeof args);
  if (r == 0) ::_exit(0);  // cannot happen; never run on as a second vzctl
  return r < 0 && errno == EBADF ? yes() : no_errno("clone3");
}

Finding find_mount_api() {
  UniqueFd fd(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", 1 /* FSOPEN_CLOEXEC */)));
  return fd ? yes() : no_errno("fsopen");
}

Finding find_idmapped_mounts() {
  // EINVAL for the empty request, ENOSYS before Linux 5.12.
  long r = ::syscall(SYS_mount_setattr, -1, "", 0, nullptr, 0);
  return r == 0 || errno != ENOSYS ? yes() : no_errno("mount_setattr");
}

Finding find_seccomp() {
  std::uint32_t action = SECCOMP_RET_ERRNO;
  if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0) return no_errno("seccomp");
  action = 0x7fc00000u;  // SECCOMP_RET_USER_NOTIF
  return yes(::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0 ? "with user notification" : "");
}

Finding find_capability(unsigned number) {
  auto status = read_file("/proc/thread-self/status");
  if (!status) return no("/proc is not mounted");
  auto at = status->find("CapEff:");
  if (at == std::string::npos) return no("no CapEff in /proc/thread-self/status");
  auto mask = std::strtoull(status->c_str() + at + 7, nullptr, 16);
  return (mask >> number) & 1 ? yes() : no("not in our effective capabilities");
}

Finding find_cgroup2(const CgroupHost& host) {
  if (host.unified.empty()) return no("cgroup2 is not mounted");
  bool any = std::any_of(host.controllers.begin(), host.controllers.end(), [](const ControllerMount& m) {
    return m.v2 && (m.controller == Controller::memory || m.controller == Controller::pids);
  });
  return yes(host.unified + (any ? "" : ", its controllers are on v1"));
}

Finding find_controller(const CgroupHost& host, Controller c) {
  const auto* mount = host.find(c);
  if (!mount) return no("not compiled in, disabled on the command line, or mounted nowhere");
  return yes(fmt::format("{} at {}", mount->v2 ? "v2" : "v1", mount->path));
}

Finding find_io_weight(const CgroupHost& host) {
  return host.io_weight_file.empty() ? no("neither bfq nor io.cost") : yes(host.io_weight_file);
}

Finding find_cgroup_kill(const CgroupHost& host) {
  if (host.unified.empty()) return no("needs cgroup2");
  // Not in the root group; any child will do.
  auto names = list_dir(host.unified);
  if (!names) return no(names.error().message());
  for (const auto& name : *names)
    if (exists(host.unified + "/" + name + "/cgroup.events"))
      return exists(host.unified + "/" + name + "/cgroup.kill") ? yes() : no("a kernel before 5.14");
  return yes("assumed: no group to look at yet");
}

Finding find_swap_accounting(const CgroupHost& host) {
  const auto* memory = host.find(Controller::memory);
  if (!memory) return no("no memory controller");
  if (!host.swap_accounting) return no("switched off");
  return yes(memory->v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes");
}

namespace {

// The smallest program of its type: r0 = `result`; exit.
Finding load_trivial_program(bpf_prog_type type, int result) {
  bpf_insn code[2] = {};
  code[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  code[0].imm = result;
  code[1].code = BPF_JMP | BPF_EXIT;
  auto attr = empty_bpf_attr();
  attr.prog_type = type;
  attr.insns = bpf_address(code);
  attr.insn_cnt = 2;
  attr.license = bpf_address("GPL");
  UniqueFd fd(bpf(BPF_PROG_LOAD, attr));
  return fd ? yes() : no_errno("load a BPF program");
}

}  // namespace

Finding find_bpf_cgroup_device() { return load_trivial_program(BPF_PROG_TYPE_CGROUP_DEVICE, 1); }
Finding find_bpf_tc() { return load_trivial_program(BPF_PROG_TYPE_SCHED_CLS, 0); }

Finding find_bpf_tracing() {
  if (!exists("/sys/kernel/btf/vmlinux")) return no("no /sys/kernel/btf/vmlinux");
  auto lsms = split(line_of("/sys/kernel/security/lsm"), ',');
  if (std::find(lsms.begin(), lsms.end(), "bpf") == lsms.end()) return no("bpf is not in the list of active LSMs");
  // Trampolines hang on the patchable entries of dynamic ftrace.
  if (!exists("/sys/kernel/tracing/available_filter_functions") &&
      !exists("/sys/kernel/debug/tracing/available_filter_functions"))
    return no("no dynamic ftrace, or tracefs is not mounted");
  return yes("type information, bpf LSM and ftrace are there");
}

Finding find_loop() {
  auto fd = open_file("/dev/loop-control", O_RDWR);
  return fd ? yes("/dev/loop-control") : no(fd.error().message());
}

namespace {

bool has_module(const std::string& name) {
  struct utsname uts;
  if (::uname(&uts) != 0) return false;
  for (const char* list : {"modules.dep", "modules.builtin"}) {
    auto text = read_file(fmt::format("/lib/modules/{}/{}", uts.release, list));
    if (text && text->find("/" + name + ".ko") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

Finding find_filesystem(const char* name) {
  auto known = read_file("/proc/filesystems");
  if (!known) return no(known.error().message());
  for (const auto& line : split(*known, '\n'))
    if (auto words = split_blank(line); !words.empty() && words.back() == name) return yes();
  return has_module(name) ? yes("module, loaded when needed") : no("not in /proc/filesystems, no module");
}

Finding find_device(const char* path) {
  auto fd = open_file(path, O_RDWR | O_NONBLOCK);
  return fd ? yes(path) : no(fd.error().message());
}

Finding find_native_quota() {
  auto on = userns_quota_admin();
  if (!on) return no("this kernel gives quotas to root of the host alone");
  return {*on, fmt::format("fs.quota.userns_admin = {}", *on ? 1 : 0)};
}

Finding find_ipv4_forwarding() {
  auto value = line_of("/proc/sys/net/ipv4/ip_forward");
  return {value == "1", "net.ipv4.ip_forward = " + (value.empty() ? "?" : value)};
}

Finding find_lxcfs() {
  // Not by statfs: a dead FUSE server would hang us.
  auto mounts = read_file("/proc/self/mountinfo");
  bool mounted = mounts && mounts->find(" /var/lib/lxcfs ") != std::string::npos;
  return mounted ? yes("/var/lib/lxcfs") : no("not mounted at /var/lib/lxcfs");
}

Finding find_swap() {
  auto text = read_file("/proc/swaps");
  if (!text) return no("the kernel has no swap");
  std::vector<std::string> devices;
  for (const auto& line : split(*text, '\n')) {
    auto fields = split_blank(line);
    auto kib = fields.size() == 5 ? parse_u64(fields[2]) : fail(Code::bad_value, "heading");
    if (kib) devices.push_back(fmt::format("{} {} MiB", fields[0], *kib / 1024));
  }
  if (devices.empty()) return no("no swap device is on");
  return yes(join(devices, ", ") + (text->find("/dev/zram") != std::string::npos ? " (compressed RAM)" : ""));
}

Finding find_systemd() {
  if (!exists("/run/systemd/system")) return no("systemd is not PID 1; vz keeps its control groups itself");
  auto library = libsystemd();
  return library ? yes(*library) : no(library.error().message());
}

Finding find_criu() {
  auto program = choose_criu();
  if (!program) return no(program.error().message());
  return yes(program->path + " " + program->version.str());
}

Finding find_vz_module() {
  auto device = VzDevice::open();
  if (!device) return no(device.error().message());
  return yes(fmt::format("{}, ABI {}", device->module().version, device->module().abi));
}

Finding find_bpf_program(const char* program) {
  if (BpfMaps::attached(program)) return yes(VZ_BPF_PIN_DIR);
  return no(BpfMaps::present() ? "this program is not attached: `vz-bpf status`" : "not loaded");
}

}  // namespace vz
