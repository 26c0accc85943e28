// SPDX-License-Identifier: LGPL-2.1-or-later
// Which CRIU, and starting it.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include <linux/close_range.h>

#include <fmt/format.h>

#include "libvz/kernel/child_channel.h"
#include "libvz/kernel/criu.h"
#include "libvz/kernel/exec_plan.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/sandbox.h"

namespace vz {

Result<CriuVersion> criu_version(const std::string& path);

namespace {

constexpr const char* kPath = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr const char* kPrograms[] = {"/usr/sbin/criu", "/usr/local/sbin/criu", "/usr/lib/vz/criu/criu",
                                     "/usr/local/lib/vz/criu/criu"};
constexpr int kSocket = 3;
static_assert(Criu::kEndedSocket == kSocket + 1);

enum class SpawnStep : int { mounts, descriptors, execute };
constexpr const char* kStepTexts[] = {"prepare its mounts", "prepare its descriptors", "execute it"};

struct SpawnPlan {
  ExecPlan exec;
  CriuPlace place;
  UniqueFd socket, ended, null, output;
  UniqueFd channel, parent_channel;
};

[[noreturn]] void report(const SpawnPlan& plan, SpawnStep step) {
  ChildMessage message;
  message.error = errno;
  message.step = static_cast<int>(step);
  (void)send_message(plan.channel.get(), message);
  ::_exit(127);
}

void attach_mounts(const SpawnPlan& plan) {
  // Private: neither do our mounts reach the host, nor does the container's tree change while CRIU looks at it.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) report(plan, SpawnStep::mounts);
  for (const auto& [mount, path] : plan.place.mounts)
    if (::move_mount(mount.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0)
      report(plan, SpawnStep::mounts);
}

[[noreturn]] void run_criu_child(const SpawnPlan& plan) {
  (void)::close(plan.parent_channel.get());
  // No terminal's Ctrl-C and no closed session reaches it.
  (void)::setsid();
  attach_mounts(plan);
  constexpr int kFree = Criu::kEndedSocket + 1;
  int channel = ::fcntl(plan.channel.get(), F_DUPFD_CLOEXEC, kFree);
  int socket = ::fcntl(plan.socket.get(), F_DUPFD_CLOEXEC, kFree);
  int ended = ::fcntl(plan.ended.get(), F_DUPFD_CLOEXEC, kFree);
  int output = ::fcntl(plan.output ? plan.output.get() : plan.null.get(), F_DUPFD_CLOEXEC, kFree);
  if (channel < 0 || socket < 0 || ended < 0 || output < 0 || ::dup2(plan.null.get(), 0) < 0 || ::dup2(output, 1) < 0 ||
      ::dup2(output, 2) < 0 || ::dup2(socket, kSocket) < 0 || ::dup2(ended, Criu::kEndedSocket) < 0)
    report(plan, SpawnStep::descriptors);
  (void)::syscall(SYS_close_range, kFree, UINT_MAX, CLOSE_RANGE_CLOEXEC);
  reset_signals();
  errno = plan.exec.run();
  ChildMessage message;
  message.error = errno;
  message.step = static_cast<int>(SpawnStep::execute);
  (void)send_message(channel, message);
  ::_exit(127);
}

Result<SpawnPlan> plan_spawn(const CriuProgram& program, CriuPlace place) {
  SpawnPlan plan{.exec = ExecPlan({std::string("PATH=") + kPath, "LC_ALL=C"})};
  plan.exec.add(program.path, {program.path, "swrk", std::to_string(kSocket)});
  plan.null = VZ_TRY(open_file("/dev/null", O_RDWR));
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return fail_errno("socketpair");
  plan.ended.reset(ends[0]);
  (void)::close(ends[1]);
  if (!place.work_dir.empty())
    plan.output = VZ_TRY(open_file(place.work_dir + "/criu.out", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  plan.place = std::move(place);
  auto channel = VZ_TRY(ChildChannel::open());
  plan.channel = std::move(channel.child);
  plan.parent_channel = std::move(channel.parent);
  return plan;
}

Result<> check_spawned(const UniqueFd& channel, const std::string& path) {
  auto received = VZ_TRY(receive_message(channel.get()));
  if (!received) return {};  // closed by execve
  const ChildMessage& m = received->message;
  const char* step = m.step >= 0 && m.step < static_cast<int>(std::size(kStepTexts)) ? kStepTexts[m.step] : "?";
  return fail(Error::from_errno(m.error, fmt::format("start {}: {}", path, step)));
}

}  // namespace

std::string minor_of(const std::string& version) { return version.substr(0, version.find('.', version.find('.') + 1)); }

std::string CriuVersion::str() const {
  return sublevel ? fmt::format("{}.{}.{}", major, minor, sublevel) : fmt::format("{}.{}", major, minor);
}

Result<Criu> Criu::spawn(const CriuProgram& program, CriuPlace place) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return fail_errno("socketpair");
  UniqueFd ours(ends[0]);
  std::string work_dir = place.work_dir;
  auto plan = VZ_TRY(plan_spawn(program, std::move(place)));
  plan.socket.reset(ends[1]);
  CloneRequest request;
  request.flags = CLONE_NEWNS;
  int pidfd = -1;
  pid_t pid = clone_process(request, &pidfd);
  if (pid < 0) return fail_errno("start " + program.path);
  if (pid == 0) run_criu_child(plan);
  Criu criu(Child(pid, UniqueFd(pidfd)), std::move(ours), std::move(work_dir));
  plan.socket.reset();
  plan.channel.reset();
  // The last one to be killed when memory runs short; without CAP_SYS_RESOURCE it stays as it is.
  (void)write_kernel_file(fmt::format("/proc/{}/oom_score_adj", pid), "-1000");
  VZ_TRY(check_spawned(plan.parent_channel, program.path));
  return criu;
}

Result<CriuProgram> choose_criu() {
  std::string seen;
  for (const char* path : kPrograms) {
    if (!exists(path)) continue;
    auto version = criu_version(path);
    if (version && *version >= kMinimumCriu) return CriuProgram{path, *version};
    seen +=
        fmt::format("{}{} is {}", seen.empty() ? "" : ", ", path, version ? version->str() : version.error().message());
  }
  return fail(Error(Code::unsupported, fmt::format("no CRIU {} or newer on this host{}{}", kMinimumCriu.str(),
                                                   seen.empty() ? "" : ": ", seen))
                  .with_hint("`scripts/setup --only run` installs Debian's newer one beside vz; or install the package "
                             "criu of a newer Debian"));
}

}  // namespace vz
