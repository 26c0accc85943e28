// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes of a container: its init, and commands that enter it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/idmap.h"
#include "libvz/kernel/seccomp.h"

namespace vz {

struct DeviceNode {
  std::string name;  // below /dev, "null", "net/tun", "fuse"
  char type = 'c';
  unsigned major = 0, minor = 0;
  mode_t mode = 0666;
  bool for_show = false;  // to be looked at: of nobody inside, without permissions, so that no root there can open it
};

// A host file shown at a path inside (lxcfs): bind mount, read-only.
struct BindFile {
  UniqueFd source;     // O_PATH or open_tree fd
  std::string target;  // absolute inside, exists there
};

// A detached file system whose files and directories are shown in place of those of the container's /proc.
struct ProcFiles {
  struct File {
    std::string source;  // in its root: "meminfo"
    std::string target;  // in /proc: "meminfo"
  };
  UniqueFd mount;
  std::vector<File> files;
  bool has(const std::string& target) const {
    return std::any_of(files.begin(), files.end(), [&](const File& f) { return "/proc/" + f.target == target; });
  }
};

// What a container may do; the same for init and for every process that enters later.
struct Sandbox {
  std::uint64_t capabilities = 0;  // bounding set inside, bit per CAP_*
  bool nesting = false;            // lifts namespace and mask restrictions; not live-migratable
  bool seccomp = true;
  QuotaCalls quota = QuotaCalls::refused;
};

// Everything that init needs, prepared before clone3: the child only makes system calls, allocates nothing and
// reports errno + step through a pipe (style.md "After fork").
struct InitSpec {
  IdMap idmap;
  UniqueFd root;  // detached, idmapped mount that becomes "/"
  std::vector<DeviceNode> devices;
  std::vector<BindFile> binds;
  ProcFiles proc_files;
  UniqueFd owner_dir;  // detached mount to be shown as /dev/vz, or none
  std::string hostname;
  std::vector<std::string> argv;  // {"/sbin/init", …}; tried in order of init_paths when argv[0] is empty
  std::vector<std::string> env;   // "container=vz", …
  Sandbox sandbox;
  const Cgroups* cgroups = nullptr;
};

// A cloned init that waits: namespaces exist, nothing is mounted, exec has not happened. Dropping it kills it.
class PendingInit {
 public:
  PendingInit(PendingInit&&) noexcept;
  PendingInit& operator=(PendingInit&&) noexcept;
  ~PendingInit();
  pid_t pid() const { return pid_; }
  const UniqueFd& pidfd() const { return pidfd_; }
  Result<UniqueFd> open_ns(const char* name) const;  // "net", "mnt", …
  // Lets it mount, pivot and exec; returns when exec succeeded, or with the step and errno that failed
  // (Code::env_create; Code::bad_template when there is no init to execute).
  // The console's pty master comes back (made in the container's devpts).
  Result<UniqueFd> release();
  // After release(), with QuotaCalls::asked: until somebody reads from it, quotactl(2) waits; closed, it is ENOSYS.
  UniqueFd take_listener() { return std::move(listener_); }

 private:
  friend Result<PendingInit> clone_init(InitSpec spec);
  PendingInit() = default;
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd sync_, listener_;
  bool done_ = false;
};

// On a systemd host the cgroups exist only after a process of ours is in the scope, so the child is cloned first in
// the caller's cgroup, and moved: pass cgroups == nullptr, then create Cgroups with pid(), then enter_cgroups().
Result<PendingInit> clone_init(InitSpec spec);
Result<> enter_cgroups(pid_t pid, const Cgroups& cgroups);

// Who a running container's init is: pid plus start time, so that a recycled pid is never taken for it.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // field 22 of /proc/PID/stat, clock ticks
};
Result<ProcessId> identify(pid_t pid);
// It exists, is not a zombie and is not another one with the same number. True at one moment only.
bool is_alive(const ProcessId& id);
// pidfd of exactly that process; Code::not_running when it is gone.
Result<UniqueFd> open_process(const ProcessId& id);
// Its root directory. Of a container's process: hostile, use openat2 below it.
Result<UniqueFd> open_root_of(pid_t pid);
Result<> wait_exit(const UniqueFd& pidfd, std::optional<std::chrono::milliseconds> timeout);  // Code::exec_timeout

struct EnterSpec {
  const UniqueFd* init_pidfd = nullptr;
  const Cgroups* cgroups = nullptr;
  Sandbox sandbox;
  std::vector<std::string> argv;                    // program looked up in PATH inside
  std::vector<std::vector<std::string>> fallbacks;  // tried when argv[0] does not exist (ENOENT)
  std::vector<std::string> env;
  int stdio[3] = {0, 1, 2};
  bool pty = false;  // give it a controlling pty of the container's devpts; the master is proxied to 0/1
  std::optional<std::chrono::seconds> timeout;
  bool hand_signals_back = false;  // a SIGINT or SIGTERM meanwhile is the caller's, too: raised again at the end
  std::function<void(UniqueFd)> on_listener;  // gets it when they are QuotaCalls::asked
};
// Runs a command in all namespaces, cgroups, with the capabilities and the seccomp filter of the container.
// Returns its exit status, 128+signal when killed. Forwards SIGINT, SIGTERM, SIGHUP, SIGWINCH when on a pty.
Result<int> run_inside(const EnterSpec& spec);

// Runs a host program to its end with a clean environment: argv[0] absolute or looked up in a fixed PATH.
struct Command {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // added to PATH=/usr/sbin:/usr/bin:/sbin:/bin, LC_ALL=C
  std::optional<IdMap> userns;   // run it as root of a new user namespace with this map
  std::optional<std::string> chdir;
  int stdin_fd = -1;            // -1: /dev/null
  bool inherit_output = false;  // else stdout+stderr are captured
};
struct CommandResult {
  int status = 0;  // exit status, 128+signal
  std::string output;
};
Result<CommandResult> run_command(const Command& command);
// The same, a non-zero status is an error with the last lines of the output.
Result<std::string> run_checked(const Command& command, Code code = Code::system);

}  // namespace vz
