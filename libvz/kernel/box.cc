// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/box.h"

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vz {

namespace {

constexpr const char* kStage = "/tmp";  // any directory that every host has: the new root is mounted over it

// One of /usr, /bin, /lib…: a directory to show, or a symlink into /usr to repeat.
struct HostDir {
  std::string source;  // "/usr"
  std::string dest;    // "usr", below kStage
  std::string link;    // target, empty for a directory
};

// Everything the child needs, made before fork: it only makes system calls.
struct Plan {
  std::vector<HostDir> dirs;
  std::vector<char*> argv;
  std::array<char*, 3> env;
  int tree_fd, state_fd;
  int stdio[3];
  int sync;  // child's end
  pid_t parent;
};

struct Failure {
  int err = 0;
  char step[28] = {};
};

[[noreturn]] void give_up(int sync, const char* step) {
  Failure f;
  f.err = errno;
  for (std::size_t i = 0; i + 1 < sizeof f.step && step[i]; ++i) f.step[i] = step[i];
  (void)!::write(sync, &f, sizeof f);
  ::_exit(127);
}

void must(bool ok, int sync, const char* step) {
  if (!ok) give_up(sync, step);
}

std::vector<HostDir> find_host_dirs() {
  std::vector<HostDir> out;
  for (const char* name : {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}) {
    HostDir dir{"/" + std::string(name), name, ""};
    struct stat st;
    if (::lstat(dir.source.c_str(), &st) != 0) continue;
    if (S_ISLNK(st.st_mode)) {
      char target[PATH_MAX];
      ssize_t n = ::readlink(dir.source.c_str(), target, sizeof target);
      if (n <= 0) continue;
      dir.link.assign(target, static_cast<std::size_t>(n));
    } else if (!S_ISDIR(st.st_mode)) {
      continue;
    }
    out.push_back(std::move(dir));
  }
  return out;
}

bool set_read_only(const char* path) {
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  return ::syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attr, sizeof attr) == 0;
}

// Builds the root of the box while still the host's root: the box itself never gets power over mounts.
void build_root(const Plan& plan) {
  int s = plan.sync;
  must(::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0, s, "unshare");
  must(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, s, "make mounts private");
  must(::mount("tmpfs", kStage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k") == 0, s, "mount tmpfs");
  must(::chdir(kStage) == 0, s, "chdir");
  for (const auto& dir : plan.dirs) {
    if (!dir.link.empty()) {
      must(::symlink(dir.link.c_str(), dir.dest.c_str()) == 0, s, "symlink");
      continue;
    }
    must(::mkdir(dir.dest.c_str(), 0755) == 0, s, "mkdir");
    must(::mount(dir.source.c_str(), dir.dest.c_str(), nullptr, MS_BIND, nullptr) == 0, s, "bind host programs");
    must(set_read_only(dir.dest.c_str()), s, "make read-only");
  }
  for (auto [name, fd] : {std::pair("tree", plan.tree_fd), std::pair("state", plan.state_fd)}) {
    must(::mkdir(name, 0755) == 0, s, "mkdir");
    if (fd >= 0)
      must(::syscall(SYS_move_mount, fd, "", AT_FDCWD, name, MOVE_MOUNT_F_EMPTY_PATH) == 0, s, "attach tree");
  }
  // The old root is stacked below the new one at "." and dropped at once (pivot_root(2), "pivot_root(".", ".")").
  must(::syscall(SYS_pivot_root, ".", ".") == 0, s, "pivot_root");
  must(::umount2(".", MNT_DETACH) == 0, s, "detach the host's tree");
  must(set_read_only("/"), s, "make read-only");
  must(::chdir("/tree") == 0, s, "chdir");
}

void become_box_root(const Plan& plan) {
  int s = plan.sync;
  must(::unshare(CLONE_NEWUSER) == 0, s, "new user namespace");
  char byte = 'u';
  must(::write(s, &byte, 1) == 1, s, "synchronise");
  must(::read(s, &byte, 1) == 1, s, "synchronise");  // the parent wrote the maps
  must(::setgroups(0, nullptr) == 0, s, "setgroups");
  must(::setresgid(0, 0, 0) == 0 && ::setresuid(0, 0, 0) == 0, s, "become root of the box");
}

void reset_process() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int sig = 1; sig < NSIG; ++sig) (void)::sigaction(sig, &action, nullptr);
  sigset_t none;
  (void)::sigemptyset(&none);
  (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
  (void)::umask(0);
  rlimit no_core = {0, 0};
  (void)::setrlimit(RLIMIT_CORE, &no_core);
}

[[noreturn]] void run_child(const Plan& plan) {
  int s = plan.sync;
  reset_process();
  build_root(plan);
  become_box_root(plan);
  must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, s, "no_new_privs");
  // After the change of credentials, which clears it; then look whether the parent has died meanwhile.
  must(::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0, s, "set parent death signal");
  if (::getppid() != plan.parent) ::_exit(127);
  // Via high numbers, so that no dup2 overwrites a source of the next one.
  int high[3];
  for (int i = 0; i < 3; ++i) must((high[i] = ::fcntl(plan.stdio[i], F_DUPFD_CLOEXEC, 64)) >= 0, s, "dup");
  for (int i = 0; i < 3; ++i) must(::dup2(high[i], i) == i, s, "dup");
  must(::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0, s, "close_range");
  (void)::execve(plan.argv[0], plan.argv.data(), plan.env.data());
  give_up(s, "exec");
}

// The child's report: nothing when exec succeeded.
Result<> read_failure(int sync, const BoxSpec& spec) {
  Failure f;
  ssize_t n = ::recv(sync, &f, sizeof f, 0);
  if (n == 0) return {};
  if (n != static_cast<ssize_t>(sizeof f)) return fail(Code::system, "run " + spec.argv[0] + ": lost contact");
  return fail(Error::from_errno(f.err, "run " + spec.argv[0] + ": " + f.step));
}

Result<> map_child(int sync, pid_t pid, const BoxSpec& spec) {
  Failure f;
  ssize_t n = ::recv(sync, &f, sizeof f, 0);
  if (n == static_cast<ssize_t>(sizeof f)) return fail(Error::from_errno(f.err, "run " + spec.argv[0] + ": " + f.step));
  if (n != 1) return fail(Code::system, "run " + spec.argv[0] + ": died early");
  VZ_TRY(write_idmap(pid, spec.idmap));
  char byte = 'm';
  if (::send(sync, &byte, 1, MSG_NOSIGNAL) != 1) return fail_errno("run " + spec.argv[0]);
  return {};
}

}  // namespace

Result<BoxedProcess> start_boxed(const BoxSpec& spec) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return fail_errno("socketpair");
  UniqueFd ours(pair[0]), theirs(pair[1]);
  auto args = spec.argv;
  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale = "LC_ALL=C";
  Plan plan{.dirs = find_host_dirs(),
            .argv = {},
            .env = {path.data(), locale.data(), nullptr},
            .tree_fd = spec.tree_fd,
            .state_fd = spec.state_fd,
            .stdio = {spec.stdin_fd, spec.stdout_fd, spec.stderr_fd},
            .sync = theirs.get(),
            .parent = ::getpid()};
  for (auto& arg : args) plan.argv.push_back(arg.data());
  plan.argv.push_back(nullptr);

  pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) run_child(plan);
  theirs.reset();
  BoxedProcess process(pid);
  VZ_TRY(map_child(ours.get(), pid, spec));
  VZ_TRY(read_failure(ours.get(), spec));
  return process;
}

BoxedProcess::~BoxedProcess() {
  if (pid_ < 0) return;
  kill();
  (void)wait();
}

void BoxedProcess::kill() {
  if (pid_ > 0) (void)::kill(pid_, SIGKILL);
}

Result<int> BoxedProcess::wait() {
  int status = 0;
  pid_t pid = std::exchange(pid_, -1);
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return fail_errno("wait for a child");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<bool> read_within(int fd, int timeout_ms, std::string* out) {
  pollfd p = {fd, POLLIN, 0};
  int ready = ::poll(&p, 1, timeout_ms);
  if (ready < 0 && errno != EINTR) return fail_errno("poll");
  if (ready <= 0) return true;
  char buffer[65536];  // what a pipe holds
  ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n < 0) return fail_errno("read");
  out->append(buffer, static_cast<std::size_t>(n));
  return n > 0;
}

}  // namespace vz
