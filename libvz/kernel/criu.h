// SPDX-License-Identifier: LGPL-2.1-or-later
// A conversation with `criu swrk`, one process for one dump or restore.
//
// We never kill it: a dump that loses its CRIU leaves sockets in repair mode and the network locked. To make it stop,
// a hook fails; a client that dies counts as the same answer, and CRIU puts everything back by itself.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/clone.h"
#include "libvz/kernel/process.h"

namespace vz {

namespace criu_rpc {
class Options;
}

struct CriuVersion {
  int major = 0, minor = 0, sublevel = 0;
  auto operator<=>(const CriuVersion&) const = default;
  std::string str() const;
};
// "4.2" of "4.2.1": what is compatible with each other.
std::string minor_of(const std::string& version);
// The first one that can dump an IPv4 socket on Linux 6.16 and later, and whose page-server speaks today's format.
inline constexpr CriuVersion kMinimumCriu{4, 2, 0};

struct CriuProgram {
  std::string path;
  CriuVersion version;
};
// The distribution's own when it is new enough, else what scripts/setup has put beside vz. Code::unsupported.
Result<CriuProgram> choose_criu();

struct CriuFeatures {
  bool mem_track = false;   // soft-dirty: pre-dump works
  bool lazy_pages = false;  // userfaultfd for post-copy
};

// Where CRIU works: mounts are attached in a mount namespace of its own, which nobody else sees.
struct CriuPlace {
  std::string work_dir;                                  // its logs and statistics; exists
  std::vector<std::pair<UniqueFd, std::string>> mounts;  // detached mount, existing path
};

struct CriuNotification {
  std::string name;  // "pre-dump", "post-dump", "setup-namespaces", "orphan-pts-master", "post-restore", "pre-resume"…
  pid_t pid = 0;     // of the container's init, where CRIU tells it ("setup-namespaces", "post-restore")
  UniqueFd fd;       // "orphan-pts-master": the master
  // Set by the hook: called when CRIU has its good answer, and goes on with its work meanwhile.
  std::function<void()> then;
};
// CRIU waits for it. An error makes CRIU undo what it did, up to "post-restore"; later ones it ignores.
using CriuHook = std::function<Result<>(CriuNotification&)>;

struct CriuCommon {
  int images_fd = -1;                 // directory
  bool empty_network = false;         // the images have none, and the new namespace gets none: the caller sees to it
  std::vector<std::string> external;  // "mnt[/dev/null]:null", "netdev[venet0]:vt101"
};

struct CriuDump : CriuCommon {
  pid_t pid = 0;
  // Control groups of these alone are saved (own_hierarchies()); none: of all. In another CRIU would save every group
  // of the host from where the container is, which may be the root, and make them where it restores.
  std::vector<std::string> hierarchies;
  std::string freeze_cgroup;   // frozen by the caller; thawed while CRIU works, frozen again unless it killed all
  bool leave_running = false;  // do not kill: with freeze_cgroup it stays frozen
  // Private anonymous memory is elsewhere: the images name those pages, and do not have them.
  bool without_memory = false;
};

struct CriuRestore : CriuCommon {
  std::string root;      // a mount point of CriuPlace
  std::string pid_file;  // CRIU makes it when "post-restore" was answered: from then on nothing is undone
};

class Criu {
 public:
  // In CRIU: a socket whose other end is closed.
  static constexpr int kEndedSocket = 4;
  static Result<Criu> spawn(const CriuProgram& program, CriuPlace place);
  Criu(Criu&&) noexcept = default;
  Criu& operator=(Criu&&) = delete;
  // Waits until CRIU has put everything back and ended.
  ~Criu();

  // For others, who must wait for its end when this process has died.
  Result<ProcessId> process() const { return identify(child_.pid()); }
  Result<CriuFeatures> features();
  // It has not ended. While this is true no task has got free that it holds as their tracer, unless it let it go
  // itself: a process that ends closes its socket first (do_exit() in kernel/exit.c: exit_files(), later
  // exit_notify()).
  bool alive() const;

  // One of these per object. The error is the hook's, or what CRIU's log says at its end (Code::checkpoint, restore).
  Result<> dump(const CriuDump& request, const CriuHook& hook);
  Result<pid_t> restore(const CriuRestore& request, const CriuHook& hook);

 private:
  friend Result<CriuVersion> criu_version(const std::string& path);
  Criu(Child child, UniqueFd socket, std::string work_dir)
      : child_(std::move(child)), socket_(std::move(socket)), work_dir_(std::move(work_dir)) {}
  Result<> call(int type, const std::string& options, const char* log, Code code, const CriuHook& hook,
                std::string* response);
  Result<> write_config(criu_rpc::Options& options) const;
  Error log_error(const char* log, Code code, const std::string& message) const;
  void wait_end();

  Child child_;
  UniqueFd socket_;
  std::string work_dir_, pid_file_;
  bool bound_ = false;  // a restore that is not undone any more
};

// What went wrong, by the end of CRIU's log: its errors without time stamps, the last ones, without those that every
// run has on some hosts. Empty when there are none.
std::string criu_log_errors(std::string_view log);

// Whether a refusal to dump may be gone in a moment. A message in the container that its receiver has not read yet and
// that carries its sender's ids, a connection that nobody has accepted: CRIU (criu/sk-queue.c, sk-unix.c) saves
// neither. A watch whose file the kernel does not tell while somebody on this host mounts control groups
// (show_mark_fhandle() in fs/notify/fdinfo.c).
bool criu_refusal_passes(std::string_view message);

}  // namespace vz
