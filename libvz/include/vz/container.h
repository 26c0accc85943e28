// SPDX-License-Identifier: LGPL-2.1-or-later
// What one can do with a container. Every mutating call takes the container's lock itself, is crash-safe (killed at
// any step, the next call repairs), reports progress through the Reporter and returns the dialect's exit code.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

struct Status {
  bool exists = false;  // configuration and private area are both there
  bool mounted = false;
  bool running = false;
  bool suspended = false;  // not running and the default dump file exists
};

struct CreateOptions {
  std::string ostemplate;  // empty: DEF_OSTEMPLATE
  std::string sample;      // --config NAME: ETC/conf/ve-NAME.conf-sample; empty: CONFIGFILE of vz.conf
  std::string layout;      // "image" (ploop), "dir" (simfs); empty: VE_LAYOUT
  Config settings;         // other options, canonical file text
  bool force = false;
};

struct StartOptions {
  bool force = false;  // start although DISABLED=yes
  bool wait = false;   // until the guest's init says it is up (systemd: is-system-running; else init's exec)
  bool skip_fsck = false;
  bool enforce_all = true;  // refuse to start when a configured limit cannot be enforced; --force lifts it
  std::chrono::seconds wait_timeout{120};
};

struct StopOptions {
  bool fast = false;
  std::optional<std::chrono::seconds> timeout;  // STOP_TIMEOUT, 120 s
  bool skip_umount = false;
};

// One step of a checkpoint or restore, for scripts that do them one by one; `all` is the rule.
enum class CheckpointStep { all, suspend, dump, kill, resume };
enum class RestoreStep { all, undump, kill, resume };

struct CheckpointOptions {
  std::string dump;  // directory to be made; empty: DUMPDIR/Dump.ID
  CheckpointStep step = CheckpointStep::all;
  bool force = false;  // although something inside would be lost or changed
};

struct RestoreOptions {
  std::string dump;  // directory; empty: DUMPDIR/Dump.ID
  RestoreStep step = RestoreStep::all;
  bool keep_dump = false;
  bool skip_fsck = false;
  bool force = false;  // as in StartOptions
};

enum class SetMode { warn, ignore, restart };

struct SetOptions {
  Config changes;                                                 // canonical file text by key
  std::vector<std::string> unset;                                 // keys to remove
  std::vector<std::string> ip_add, ip_del, netif_add, netif_del;  // ip_del / netif_del may be "all"
  std::string userpasswd;                                         // "user:password", applied inside, never stored
  std::string apply_config;                                       // --applyconfig NAME
  bool save = false;
  bool force = false;
  bool dry_run = false;
  bool reset_ub = false;  // --reset_ub: `changes` are the file's limits, told to the kernel again even if unchanged
  SetMode mode = SetMode::warn;
};

// One planned or done effect of set, for --dry-run: file or object, old and new value.
struct Change {
  std::string target;
  std::string from, to;
};

struct SetReport {
  std::vector<Change> changes;
  std::vector<std::string> needs_restart;  // options that wait for a restart
  bool saved = false;
};

struct ExecOptions {
  std::vector<std::string> argv;                // argv[0] is the program, looked up in PATH inside
  bool shell = false;                           // join argv with blanks for /bin/bash -c, fallback /bin/sh -c
  bool login_shell = false;                     // enter: a login shell when argv is empty
  bool pty = false;                             // run on a pty of the container's devpts, proxied to fds 0/1
  std::optional<std::chrono::seconds> timeout;  // Code::exec_timeout
  std::map<std::string, std::string> env;
  int stdin_fd = 0, stdout_fd = 1, stderr_fd = 2;
};

// What vzlist and --json show of one container. Cheap fields only; UBC-like values come with sample().
struct ContainerInfo {
  Ctid id{0};
  Status status;
  Config config;     // merged view; empty when the file is unreadable
  int init_pid = 0;  // 0 when not running
  std::optional<std::uint64_t> uptime_ns;
};

// Live readings, nullopt where the host has no source. "max" is the greatest value since the container's start, "fail"
// how often the limit was hit.
struct Sample {
  std::optional<std::uint64_t> numproc, numproc_max, numproc_limit, numproc_fail;
  std::optional<std::uint64_t> ram_held, ram_max, ram_limit, ram_fail;      // bytes
  std::optional<std::uint64_t> swap_held, swap_max, swap_limit, swap_fail;  // bytes
  std::optional<std::uint64_t> ram_swap_max;                                // bytes: of the sum of both (cgroup v1)
  std::optional<std::uint64_t> kmem_held, kmem_max, kmem_fail;              // bytes
  std::optional<std::uint64_t> sock_held, shmem_held, locked_held;          // bytes
  std::optional<std::uint64_t> dcache_held;                                 // bytes: of directory entries and inodes
  std::optional<std::uint64_t> privvm_held, privvm_max, privvm_fail;        // bytes; counted by the BPF programs
  std::optional<std::uint64_t> cpu_ns;
  std::optional<std::uint64_t> ooms;       // allocations that failed for good
  std::optional<std::uint64_t> oom_kills;  // processes killed for it since the host booted
  std::optional<std::uint64_t> disk_used, disk_total, inodes_used, inodes_total;  // bytes, counts
  std::optional<double> load[3];
};

// Names of readings: only the kernel's files of those that are asked for are read.
enum class Reading : std::uint8_t {
  numproc,
  numproc_max,
  numproc_limit,
  numproc_fail,
  ram_held,
  ram_max,
  ram_limit,
  ram_fail,
  swap_held,
  swap_max,
  swap_limit,
  swap_fail,
  ram_swap_max,
  kmem,  // all three
  sock,
  shmem,
  locked,
  dcache,
  privvm,  // all three
  cpu,
  oom,   // ooms and oom_kills
  disk,  // all four
};

class Readings {
 public:
  constexpr Readings() = default;
  constexpr Readings(std::initializer_list<Reading> list) {
    for (Reading r : list) bits_ |= bit(r);
  }
  static constexpr Readings all() {
    Readings out;
    out.bits_ = ~std::uint32_t{0};
    return out;
  }
  constexpr bool has(Reading r) const { return (bits_ & bit(r)) != 0; }
  constexpr bool any(const Readings& of) const { return (bits_ & of.bits_) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr void add(const Readings& more) { bits_ |= more.bits_; }

 private:
  static constexpr std::uint32_t bit(Reading r) { return std::uint32_t{1} << static_cast<unsigned>(r); }
  std::uint32_t bits_ = 0;
};

class VZ_API Container {
 public:
  Container(const Host& host, Ctid id) : host_(&host), id_(id) {}
  Ctid id() const { return id_; }

  Result<> create(const CreateOptions&, Reporter&);
  Result<> destroy(Reporter&);
  Result<> start(const StartOptions&, Reporter&);
  Result<> stop(const StopOptions&, Reporter&);
  Result<> restart(const StartOptions&, const StopOptions&, Reporter&);
  // Saves all processes with their memory and connections to a dump and ends them (Code::checkpoint, not_running);
  // continues them from it (Code::restore, running). A dump can be used once.
  Result<> checkpoint(const CheckpointOptions&, Reporter&);
  Result<> restore(const RestoreOptions&, Reporter&);
  Result<> mount(Reporter&);
  Result<> umount(Reporter&);
  // Copies the files of a stopped container to the other layout, "image" or "dir". Killed before the last step, the
  // container is as it was.
  Result<> convert(const std::string& layout, Reporter&);
  // Gives blocks that an image no longer needs back to the host; the container may run.
  Result<> compact(Reporter&);
  Result<SetReport> set(const SetOptions&, Reporter&);
  // Exit status of the command (128+signal when killed). Not locked.
  Result<int> exec(const ExecOptions&, Reporter&);
  Result<int> runscript(const std::string& host_file, Reporter&);
  // Attaches fds 0/1 to the console's pty until "Esc ." or end of the container. Waits when it is not running.
  Result<> console(int tty, Reporter&);

  Result<Status> status() const;
  Result<ContainerInfo> info() const;
  Result<Sample> sample() const;
  // The kernel objects that a start with this configuration would write: --dry-run, tests, docs.
  Result<std::vector<Change>> plan() const;

  // Removes what a killed vzctl or a dead container left behind. Every mutating call does it first.
  Result<> repair(Reporter&);

 private:
  const Host* host_;
  Ctid id_;
};

// All containers' info in one pass (vzlist); running ones only unless `all`. Unreadable configurations are
// listed with what is known.
VZ_API Result<std::vector<ContainerInfo>> list_containers(const Host& host, bool all);

// One Sample per entry, in their order; empty for what does not run or cannot be read.
VZ_API std::vector<Sample> sample_containers(const Host& host, const std::vector<ContainerInfo>& containers,
                                             const Readings& wanted);

}  // namespace vz
