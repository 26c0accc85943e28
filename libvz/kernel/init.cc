// SPDX-License-Identifier: LGPL-2.1-or-later
// The parent's side of a container's start: the plan, the clone, the report.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "libvz/kernel/child_channel.h"
#include "libvz/kernel/clone.h"
#include "libvz/kernel/device_node.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/init_plan.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/process.h"

namespace vz {

namespace {

constexpr const char* kStepTexts[] = {
    "join the container's cgroup",
    "wait for vzctl",
    "become root of the container",
    "create the cgroup and IPC namespaces",
    "create a session",
    "make the mounts private",
    "create a file system",
    "attach the root file system",
    "find the mount point",
    "mount",
    "create in the container",
    "bind-mount",
    "change the root",
    "set the host name",
    "open the console",
    "report to vzctl",
    "limit system calls and capabilities",
    "execute init",
};
static_assert(std::size(kStepTexts) == static_cast<std::size_t>(InitStep::count_));

Error step_error(const ChildMessage& message) {
  auto step = static_cast<InitStep>(message.step);
  if (step == InitStep::execute && message.error == ENOENT)
    return Error(Code::bad_template, "the container has no init: none of /sbin/init, /etc/init, /bin/init is there")
        .with_hint("the private area must hold a complete system");
  std::string what = "start init: ";
  what += message.step >= 0 && message.step < static_cast<int>(InitStep::count_) ? kStepTexts[message.step] : "?";
  if (message.object[0]) what += std::string(" ") + message.object;
  Error e = Error::from_errno(message.error, what, step == InitStep::execute ? Code::bad_template : Code::env_create);
  if (step == InitStep::find_target && (message.error == ELOOP || message.error == ENOTDIR))
    return std::move(e).with_hint("it must be a directory in the container's root, not a symbolic link");
  if (step == InitStep::new_file_system && message.error == EPERM)
    return std::move(e).with_hint("/proc and /sys of the host must be mounted without anything over them");
  if (step == InitStep::pivot && message.error == EINVAL)
    return std::move(e).with_hint("vzctl cannot run from an initramfs or a chroot whose root is no mount point");
  return e;
}

Result<> check_device_names(const std::vector<DeviceNode>& devices) {
  for (const auto& d : devices)
    if (d.name.empty() || d.name[0] == '/' || d.name[0] == '.' || d.name.size() > 60 ||
        std::count(d.name.begin(), d.name.end(), '/') > 1 || d.name.find("/.") != std::string::npos ||
        d.name.back() == '/')
      return fail(Code::devices, "device name '" + d.name + "': expected NAME or DIRECTORY/NAME");
  return {};
}

// A descriptor opened by path is of a mount of the host's namespace, which the child could not use: clone it. One that
// is detached already is taken as it is.
Result<BindPlan> plan_bind(BindFile& bind) {
  auto mount = clone_mount(bind.source.get(), "", false);
  if (!mount && mount.error().sys_errno() != EINVAL) return fail(std::move(mount).error().context(bind.target));
  UniqueFd fd = mount ? std::move(*mount) : std::move(bind.source);
  VZ_TRY_CTX(set_attrs(fd.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, false), bind.target);
  std::string target = bind.target.substr(std::min(bind.target.find_first_not_of('/'), bind.target.size()));
  return BindPlan{std::move(fd), std::move(target)};
}

ExecPlan plan_exec(const InitSpec& spec) {
  ExecPlan exec(spec.env);
  if (!spec.argv.empty() && !spec.argv[0].empty()) {
    exec.add_search(spec.argv, env_value(spec.env, "PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
    return exec;
  }
  auto argv = spec.argv.empty() ? std::vector<std::string>{""} : spec.argv;
  for (const char* path : {"/sbin/init", "/etc/init", "/bin/init"}) {
    argv[0] = path;
    exec.add(path, argv);
  }
  return exec;
}

Result<InitPlan> plan_init(InitSpec& spec) {
  VZ_TRY(check_device_names(spec.devices));
  // Masked files of /proc are covered by it.
  auto is_null = [](const DeviceNode& d) { return d.name == "null"; };
  if (std::none_of(spec.devices.begin(), spec.devices.end(), is_null))
    spec.devices.push_back({"null", 'c', 1, 3, 0666});
  InitPlan plan{.exec = plan_exec(spec)};
  plan.sandbox = VZ_TRY(plan_sandbox(spec.sandbox));
  plan.masks = !spec.sandbox.nesting;
  plan.device_tmpfs = VZ_TRY(make_device_tmpfs(spec.devices, spec.idmap));
  for (const auto& d : spec.devices) plan.nodes.push_back({d.name, device_file_name(d.name)});
  for (auto& bind : spec.binds) plan.binds.push_back(VZ_TRY(plan_bind(bind)));
  plan.proc_mount = std::move(spec.proc_files.mount);
  plan.proc_files = std::move(spec.proc_files.files);
  plan.owner_dir = std::move(spec.owner_dir);
  plan.hostname = spec.hostname.empty() ? "localhost" : spec.hostname;
  if (spec.cgroups) {
    plan.v1_procs = VZ_TRY(spec.cgroups->v1_procs());
    plan.cgroup2 = spec.cgroups->init_fd() >= 0;
  }
  plan.root = std::move(spec.root);
  auto channel = VZ_TRY(ChildChannel::open());
  plan.channel = std::move(channel.child);
  plan.parent_channel = std::move(channel.parent);
  return plan;
}

struct DefaultLimit {
  __rlimit_resource resource;
  rlim_t soft, hard;
};

// What the kernel gives its first process, with room for open files; whatever the administrator's shell had does not
// reach the container. Raising needs CAP_SYS_RESOURCE: without it as near as the hard limits allow.
void set_default_limits(pid_t pid) {
  constexpr rlim_t kInfinity = RLIM_INFINITY;
  constexpr DefaultLimit limits[] = {
      {RLIMIT_CPU, kInfinity, kInfinity},   {RLIMIT_FSIZE, kInfinity, kInfinity}, {RLIMIT_DATA, kInfinity, kInfinity},
      {RLIMIT_STACK, 8u << 20, kInfinity},  {RLIMIT_CORE, 0, kInfinity},          {RLIMIT_RSS, kInfinity, kInfinity},
      {RLIMIT_NPROC, kInfinity, kInfinity}, {RLIMIT_NOFILE, 1024, 1u << 20},      {RLIMIT_AS, kInfinity, kInfinity},
      {RLIMIT_LOCKS, kInfinity, kInfinity}, {RLIMIT_MEMLOCK, 8u << 20, 8u << 20}, {RLIMIT_RTTIME, kInfinity, kInfinity},
  };
  for (const auto& limit : limits) {
    rlimit now{}, want{limit.soft, limit.hard};
    if (::prlimit(pid, limit.resource, &want, &now) == 0) continue;
    if (::prlimit(pid, limit.resource, nullptr, &now) < 0) continue;
    want.rlim_max = std::min(limit.hard, now.rlim_max);
    want.rlim_cur = std::min(limit.soft, want.rlim_max);
    (void)::prlimit(pid, limit.resource, &want, nullptr);
  }
}

// Back from what a service manager gave vzctl. Lowering below its own minimum needs a capability: best effort.
void reset_oom_score(pid_t pid) {
  auto own = read_file("/proc/self/oom_score_adj");
  if (own && own->rfind("0", 0) == 0) return;
  (void)write_kernel_file("/proc/" + std::to_string(pid) + "/oom_score_adj", "0");
}

}  // namespace

PendingInit::PendingInit(PendingInit&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      sync_(std::move(other.sync_)),
      listener_(std::move(other.listener_)),
      done_(std::exchange(other.done_, true)) {}

PendingInit& PendingInit::operator=(PendingInit&& other) noexcept {
  if (this != &other) {
    PendingInit old(std::move(*this));
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    sync_ = std::move(other.sync_);
    listener_ = std::move(other.listener_);
    done_ = std::exchange(other.done_, true);
  }
  return *this;
}

PendingInit::~PendingInit() {
  if (!done_ && pidfd_) Child(pid_, std::move(pidfd_)).kill_and_reap();
}

Result<UniqueFd> PendingInit::open_ns(const char* name) const {
  return open_file("/proc/" + std::to_string(pid_) + "/ns/" + name, O_RDONLY);
}

Result<PendingInit> clone_init(InitSpec spec) {
  auto plan = VZ_TRY(plan_init(spec));
  CloneRequest request;
  // Cgroup and IPC namespaces come later, when the process has its cgroups and ids (init_child.cc).
  request.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS;
  if (spec.cgroups) request.cgroup_fd = spec.cgroups->init_fd();
  int pidfd = -1;
  pid_t pid = clone_process(request, &pidfd);
  if (pid < 0)
    return fail(Error::from_errno(errno, "clone init", Code::env_create)
                    .with_hint("see user.max_*_namespaces in sysctl, and the pids limit"));
  if (pid == 0) run_init_child(plan);

  PendingInit init;
  init.pid_ = pid;
  init.pidfd_.reset(pidfd);
  init.sync_ = std::move(plan.parent_channel);
  set_default_limits(pid);  // before it has ids of its own: then it would need CAP_SYS_RESOURCE
  reset_oom_score(pid);
  VZ_TRY_CTX(write_idmap(pid, spec.idmap), "map the container's ids");
  return init;
}

Result<UniqueFd> PendingInit::release() {
  ChildMessage go;
  go.kind = ChildMessage::go;
  (void)send_message(sync_.get(), go);  // to a child that died already: what it left to read says why
  UniqueFd console;
  bool executing = false;
  for (;;) {
    auto received = VZ_TRY(receive_message(sync_.get()));
    if (!received) break;
    if (received->message.kind == ChildMessage::failed) return fail(step_error(received->message));
    if (received->message.kind == ChildMessage::descriptor)
      (received->message.step == static_cast<int>(InitDescriptor::listener) ? listener_ : console) =
          std::move(received->fd);
    if (received->message.kind == ChildMessage::executing) executing = true;
  }
  if (!executing || !console)
    return fail(Error(Code::env_create, "init was killed while it started")
                    .with_hint("see the kernel log: is the container's memory limit too small?"));
  done_ = true;
  sync_.reset();
  return console;
}

Result<> enter_cgroups(pid_t pid, const Cgroups& cgroups) {
  std::string text = std::to_string(pid);
  if (cgroups.init_fd() >= 0) VZ_TRY(write_kernel_file_at(cgroups.init_fd(), "cgroup.procs", text));
  auto v1 = VZ_TRY(cgroups.v1_procs());
  for (const auto& procs : v1) VZ_TRY(write_all(procs.get(), text));
  return {};
}

}  // namespace vz
