// SPDX-License-Identifier: LGPL-2.1-or-later
// What suspending, restoring and everything that comes after a vzctl that died in the middle of them share.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "libvz/container/context.h"
#include "libvz/container/dump.h"
#include "libvz/container/running.h"
#include "libvz/container/start_steps.h"
#include "libvz/container/state.h"
#include "libvz/kernel/criu.h"

namespace vz {

// RUN/criu/ID: logs, which outlive the container's other state, and mount points for CRIU alone.
std::string criu_work_dir(const Host& host, Ctid id);
// Made by CRIU in the moment from which on a restore is not undone.
std::string restored_pid_file(const Host& host, Ctid id);

// What CRIU is told when it dumps: mounts that are not the container's own, "mnt[/dev/null]:node/null".
Result<std::vector<std::string>> external_mounts(const Host& host, Ctid id, pid_t init, const Access& access);
bool uses_owner_dir(const std::vector<std::string>& external);
// And when it restores: the same things by this start's own means. Fills `place`.
Result<std::vector<std::string>> place_mounts(const std::vector<std::string>& dumped, const std::string& work_dir,
                                              const StartPlan& plan, ShownFiles shown, CriuPlace* place);
// "v2:/sys/fs/cgroup": CRIU puts tasks back by these paths.
std::vector<std::string> hierarchy_names(const CgroupHost& host);

// Lets a container run on that a checkpoint had stopped: the dump is worthless from then on.
Result<> resume_frozen(Context& ct, const Running& running);

// What a migration does between the steps of a whole checkpoint. The container stands still from `freezing` on.
struct CheckpointHooks {
  std::function<void()> freezing;
  // It stands still, and CRIU has not looked at it. Into `images` it will write.
  std::function<Result<>(const UniqueFd& images)> frozen;
  // It runs again, since a dump was refused for a reason that passes: before the next attempt.
  std::function<Result<>()> again;
  // All images are written, and its file system is as it will be. What is known of some of them, if anything.
  std::function<Result<KnownFiles>()> written;
  // The dump with this token is complete, nothing was ended yet: an error undoes everything, and the container runs on.
  std::function<Result<>(const std::string& token)> dumped;
  // The same, and the dump can be used from now on, if it has the memory: the last that can fail.
  std::function<Result<>()> giving_away;
  // Nothing of it runs here any more, whoever dies: what `giving_away` has said yes to is frozen, and CRIU ends it
  // meanwhile. Not called where the host cannot freeze what CRIU holds.
  std::function<void()> given_away;
  // Its processes are gone; what it left on this host is still there.
  std::function<void()> ended;
  bool memory_sent = false;  // `frozen` sees to the memory: the dump leaves it out, and is of no use here
  bool durable = true;       // the dump is to survive a crash of this host
};
// And during a restore.
struct RestoreHooks {
  // The processes are there, and nothing of them has run yet. An error here and in the next undoes everything, and the
  // dump is as good as before.
  std::function<Result<>(const Cgroups& cgroups, const ProcessId& init)> made;
  std::function<Result<>()> held;   // everything is in place
  std::function<void()> resuming;   // its sockets can receive; after this it runs
  std::optional<CriuProgram> criu;  // what choose_criu() said: to ask CRIU for its version takes a while
  bool verified = false;            // the dump's files were compared with the manifest already
  std::string images;               // a directory to be read instead of the dump's own; `made` sees to what it lacks
};
// The caller holds the container's lock.
Result<> checkpoint_locked(Context& ct, const CheckpointOptions& options, const CheckpointHooks& hooks = {});
Result<> restore_locked(Context& ct, const RestoreOptions& options, const RestoreHooks& hooks = {});
// Stops a running container where it is, saves its processes in the directory `dump` ("": does not), calls `meanwhile`
// and lets the container run on, whatever happened. The dump that stays has no token: it is of use with the files of
// this moment only, to whoever has kept them.
Result<> while_suspended(Context& ct, const std::string& dump, const std::function<Result<>()>& meanwhile);

// After a vzctl that died in the middle: the container runs on, or is suspended with a good dump, or (restoring) still
// is. The caller holds the container's lock. Code::locked while CRIU is still at it.
Result<> settle_checkpoint(const Host& host, Ctid id, Reporter& reporter);
// The same for calls that take no lock: a container that is left frozen would never answer.
Result<> settle_unlocked(const Host& host, Ctid id, Reporter& reporter);
// DUMPDIR/Dump.ID is there and can be used: its files must not be changed.
bool has_good_dump(const Host& host, Ctid id, const std::string& private_path);
Result<> refuse_suspended(const Context& ct, const std::string& what);

}  // namespace vz
