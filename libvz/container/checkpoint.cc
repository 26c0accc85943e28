// SPDX-License-Identifier: LGPL-2.1-or-later
// Suspending a container. It is frozen when CRIU is about to look at it, and until the last step: CRIU thaws it while
// it works and freezes it again whatever happens, so that nothing runs after its memory was read unless we say so.
#include "libvz/container/checkpoint.h"

#include <ctime>
#include <future>
#include <thread>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/random.h"
#include "libvz/container/lock.h"
#include "libvz/container/network.h"
#include "libvz/container/precheck.h"
#include "libvz/container/stop_steps.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/console.h"
#include "libvz/kernel/criu_executables.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hostinfo.h"
#include "libvz/kernel/namespace.h"
#include "libvz/kernel/packet_rules.h"
#include "libvz/kernel/parasite_room.h"
#include "libvz/kernel/signal.h"

namespace vz {

namespace {

constexpr std::chrono::seconds kKillTimeout{30};
constexpr int kChecks = 5;
constexpr std::chrono::milliseconds kCheckPause{50};
// A container may be unlucky several times: it runs meanwhile.
constexpr int kDumps = 4;
constexpr std::chrono::milliseconds kDumpPause{100};

Error as_checkpoint(Error error) {
  return error.code() == Code::system ? std::move(error).with_code(Code::checkpoint) : std::move(error);
}

// Before CRIU locks the network, by a table of its own.
Result<bool> has_packet_tables_in(const UniqueFd& netns) {
  bool out = false;
  VZ_TRY(with_netns(netns, [&]() -> Result<> {
    out = VZ_TRY(has_packet_tables());
    return {};
  }));
  return out;
}

// What CRIU says of a second network namespace when it is to save none, and what we say.
constexpr const char* kManyNetworks = "more than one netns";
constexpr const char* kNetworkChanged = "the container's network changed in this moment";
Error network_changed() { return Error(Code::checkpoint, kNetworkChanged).with_hint("try again"); }
bool needs_whole_network(const std::string& message) {
  return message.find(kManyNetworks) != message.npos || message.find(kNetworkChanged) != message.npos;
}

class Checkpoint {
 public:
  // `whole_network`: CRIU saves the network, however simple it is.
  Checkpoint(Context& ct, Running& running, std::string path, const CheckpointHooks& hooks, bool whole_network)
      : ct_(ct),
        running_(running),
        state_(running.state),
        path_(std::move(path)),
        hooks_(hooks),
        whole_network_(whole_network),
        frozen_(state_.phase == "frozen" || state_.phase == "dumped") {}

  // What takes time and can be done while it runs.
  Result<> prepare();
  // Frozen, without a dump. Whoever comes after our death finds `phase`.
  Result<> stand_still(const char* phase);
  // `then_kill`: CRIU ends all processes when the dump is complete. Else `phase` is what comes after it.
  Result<> dump(bool then_kill, const char* phase = "dumped");
  Result<> kill();
  bool given_away() const { return given_away_; }

 private:
  Result<> make_room();
  Result<> freeze();
  Result<> write_dump(bool then_kill);
  Result<> on_notification(CriuNotification& n, const Criu& criu, const UniqueFd& dir, DumpManifest& manifest);
  Result<> hold_still(const Criu& criu);
  Result<DumpManifest> manifest_for(const CriuProgram& program);
  Result<> begin(const UniqueFd& dir, DumpManifest& manifest);
  Result<bool> has_one_network();
  Result<> choose_network();
  Result<> sync_files();
  Result<> save(const char* phase) {
    state_.phase = phase;
    ct_.reporter.step(std::string("suspend.state.") + phase);
    return save_state(ct_.host, state_);
  }

  Context& ct_;
  Running& running_;
  State& state_;
  std::string path_;
  const CheckpointHooks& hooks_;
  bool whole_network_;
  std::optional<CriuProgram> program_;
  UniqueFd netns_;                                        // when the network is saved by us
  std::future<Result<std::optional<NetState>>> network_;  // from the freeze on, while CRIU does its part
  bool frozen_;
  bool given_away_ = false;  // CheckpointHooks::dumped was satisfied: it must not run here any more
};

// The files on disk must be those that the processes have seen.
Result<> Checkpoint::sync_files() {
  UniqueFd root = VZ_TRY(open_root_of(state_.init.pid));
  return sync_file_system(root.get());
}

Result<> Checkpoint::make_room() {
  ct_.reporter.step("suspend.room");
  return make_parasite_room(VZ_TRY(running_.cgroups.pids()));
}

Result<> Checkpoint::prepare() {
  program_ = VZ_TRY(choose_criu());
  VZ_TRY(make_room());
  return sync_files();  // so that little is left to do when it is frozen
}

Result<> Checkpoint::freeze() {
  ct_.reporter.info("\tsuspend...");
  if (hooks_.freezing) hooks_.freezing();
  // A task that waits for its swapping cannot be frozen, and reading swapped pages is CRIU's doing, not the
  // container's.
  ct_.reporter.step("suspend.vswap");
  auto cgroups = VZ_TRY(CgroupHost::probe());
  VswapSubject subject{ct_.id, ct_.config, running_.cgroups, boottime_ns() - age_ns(state_.init), true};
  if (auto off = set_vswap_delay(cgroups, subject, false); !off) ct_.reporter.debug(off.error().message());
  ct_.reporter.step("suspend.freeze");
  VZ_TRY(running_.cgroups.freeze(true));
  frozen_ = true;
  return {};
}

Result<DumpManifest> Checkpoint::manifest_for(const CriuProgram& program) {
  auto host = VZ_TRY(host_identity());
  DumpManifest m;
  m.id = ct_.id;
  m.token = state_.token;
  m.host = host.name;
  m.kernel = host.kernel;
  m.machine = host.machine;
  m.criu = program.version.str();
  m.created_at = std::time(nullptr);
  m.idmap = state_.idmap;
  m.nesting = state_.nesting;
  m.capabilities = state_.capabilities;
  m.addresses = ct_.config.words("IP_ADDRESS");
  m.netif = ct_.config.get("NETIF").value_or("");
  auto access = VZ_TRY(plan_access(ct_.config));
  m.external = VZ_TRY(external_mounts(ct_.host, ct_.id, state_.init.pid, access));
  auto cgroups = VZ_TRY(CgroupHost::probe());
  m.hierarchies = hierarchy_names(cgroups);
  return m;
}

// CRIU has made itself ready, which takes a while, and has not yet looked at the container.
Result<> Checkpoint::begin(const UniqueFd& dir, DumpManifest& manifest) {
  if (!frozen_) VZ_TRY(freeze());
  ct_.reporter.info("\tdump...");
  manifest.groups = VZ_TRY(read_inner_groups(running_.cgroups, state_.idmap));
  manifest.scheduling = read_scheduling(VZ_TRY(running_.cgroups.pids()), state_.init.pid);
  auto access = VZ_TRY(plan_access(ct_.config));
  if (VZ_TRY(external_mounts(ct_.host, ct_.id, state_.init.pid, access)) != manifest.external)
    return fail(Error(Code::checkpoint, "the container's mounts changed in this moment").with_hint("try again"));
  if (netns_) {
    if (VZ_TRY(has_packet_tables_in(netns_))) return fail(network_changed());
    network_ = std::async(std::launch::async, [this] {
      std::string why;
      return read_network(ct_.config, netns_, &why);
    });
  }
  VZ_TRY(sync_files());
  return hooks_.frozen ? hooks_.frozen(dir) : Result<>();
}

// CRIU has thawed it for its work, and is all that keeps it from running: if CRIU was killed while another host gets
// the container, it would run here again. A task that a tracer has stopped counts as frozen in cgroup v2 (ptrace_stop()
// in kernel/signal.c), so this is done in an instant; let go, whoever does it, it meets the freezer before it returns
// to its program, and SIGKILL ends it there. v1's freezer would keep CRIU from that: without v2 all is as CRIU left it.
Result<> Checkpoint::hold_still(const Criu& criu) {
  ct_.reporter.step("suspend.still");
  VZ_TRY(running_.cgroups.freeze(true));
  // In this order: it was held all the time.
  return criu.alive() ? Result<>() : fail(Code::checkpoint, "CRIU ended before its time");
}

// The dump is complete, the processes still there: what makes it valid happens now.
Result<> Checkpoint::on_notification(CriuNotification& n, const Criu& criu, const UniqueFd& dir,
                                     DumpManifest& manifest) {
  ct_.reporter.step("suspend.criu." + n.name);
  if (ct_.reporter.cancelled()) return fail(Code::checkpoint, "interrupted");
  if (n.name == "pre-dump") return begin(dir, manifest);
  if (n.name != "post-dump") return {};
  const bool still = hooks_.dumped && running_.cgroups.frozen_can_die();
  if (still) VZ_TRY(hold_still(criu));
  if (netns_) {
    manifest.network = VZ_TRY(network_.get());
    if (!manifest.network) return fail(network_changed());
  }
  VZ_TRY(part_executables(dir.get()));
  if (hooks_.dumped) VZ_TRY(sync_files());  // CRIU gives names to files that are open and have none
  const auto known = hooks_.written ? VZ_TRY(hooks_.written()) : KnownFiles();
  ct_.reporter.step("suspend.commit");
  VZ_TRY(commit_dump(dir, path_, manifest, hooks_.durable, known));
  ct_.reporter.step("suspend.token");
  // It waits for the disk, and has to be there when the container is given away.
  std::future<Result<>> token;
  if (!hooks_.memory_sent)
    token = std::async(std::launch::async, [&] { return write_token(ct_.private_path, manifest.token); });
  auto dumped = hooks_.dumped ? hooks_.dumped(manifest.token) : Result<>();
  if (token.valid()) VZ_TRY(token.get());
  if (!dumped || !hooks_.dumped) return dumped;
  VZ_TRY(hooks_.giving_away());
  given_away_ = true;
  ct_.reporter.step("suspend.given");
  // After CRIU has been told: if we die then, it still ends the container, and does not unlock its network.
  if (still) n.then = hooks_.given_away;
  return {};
}

// PrivateNetwork= of a unit, for one, makes another.
Result<bool> Checkpoint::has_one_network() {
  const auto own = VZ_TRY(namespace_id(state_.init.pid, "net"));
  for (pid_t pid : VZ_TRY(running_.cgroups.pids()))
    if (auto id = namespace_id(pid, "net"); id && *id != own) return false;
  return true;
}

// Who saves the network.
Result<> Checkpoint::choose_network() {
  std::string why = "there are others";
  if (!whole_network_ && VZ_TRY(has_one_network())) {
    auto netns = VZ_TRY(open_namespace(state_.init.pid, "net"));
    const bool filtered = VZ_TRY(has_packet_tables_in(netns));
    if (filtered) why = "tables of a packet filter";
    if (!filtered && VZ_TRY(read_network(ct_.config, netns, &why))) {
      netns_ = std::move(netns);
      return {};
    }
  }
  ct_.reporter.debug("CRIU saves the network: " + why);
  return {};
}

Result<> Checkpoint::write_dump(bool then_kill) {
  if (!program_) program_ = VZ_TRY(choose_criu());
  auto manifest = VZ_TRY(manifest_for(*program_));
  UniqueFd dir = VZ_TRY(begin_dump(path_));
  const std::string work_dir = criu_work_dir(ct_.host, ct_.id);
  VZ_TRY(make_dirs(work_dir, 0711));
  CriuDump request;
  request.images_fd = dir.get();
  request.external = manifest.external;
  request.pid = state_.init.pid;
  const auto groups = VZ_TRY(read_file(fmt::format("/proc/{}/cgroup", state_.init.pid)));
  request.hierarchies = own_hierarchies(groups, ct_.id);
  request.freeze_cgroup = running_.cgroups.freeze_path();
  request.leave_running = !then_kill;
  request.without_memory = hooks_.memory_sent;
  VZ_TRY(choose_network());
  request.empty_network = netns_.get() >= 0;
  ct_.reporter.step("suspend.criu");
  auto criu = VZ_TRY(Criu::spawn(*program_, {work_dir, {}}));
  state_.criu = VZ_TRY(criu.process());
  VZ_TRY(save("suspending"));
  return criu.dump(request, [&](CriuNotification& n) { return on_notification(n, criu, dir, manifest); });
}

Result<> Checkpoint::dump(bool then_kill, const char* phase) {
  state_.dump = path_;
  state_.token = random_hex(16);
  state_.criu = {};
  VZ_TRY(save("suspending"));
  auto written = write_dump(then_kill);
  if (!written) return written;
  return then_kill ? Result<>() : save(phase);
}

Result<> Checkpoint::kill() {
  ct_.reporter.info("\tkill...");
  ct_.reporter.step("suspend.kill");
  VZ_TRY(running_.cgroups.kill());
  if (!wait_exit(running_.pidfd, kKillTimeout)) return fail(Code::checkpoint, "the container's processes do not end");
  return {};
}

Result<> Checkpoint::stand_still(const char* phase) {
  VZ_TRY(make_room());
  VZ_TRY(save("suspending"));
  VZ_TRY(freeze());
  return state_.phase == phase ? Result<>() : save(phase);
}

Result<> all_steps(Context& ct, Running& running, const std::string& path, const CheckpointHooks& hooks) {
  bool whole_network = false;
  for (int left = kDumps;; --left) {
    Checkpoint checkpoint(ct, running, path, hooks, whole_network);
    auto done = checkpoint.prepare();
    if (done) done = checkpoint.dump(/*then_kill=*/true);
    if (done || checkpoint.given_away()) {
      VZ_TRY(checkpoint.kill());
      if (hooks.ended) hooks.ended();
      return {};
    }
    ct.reporter.step("suspend.undo");
    auto undone = resume_frozen(ct, running);
    if (!undone) ct.reporter.warn("Warning: " + undone.error().message());
    const auto message = done.error().message();
    whole_network = whole_network || needs_whole_network(message);
    if (!undone || left == 1 || !(criu_refusal_passes(message) || needs_whole_network(message))) return done;
    ct.reporter.debug(message + "; once more");
    std::this_thread::sleep_for(kDumpPause);
    if (hooks.again) VZ_TRY(hooks.again());
  }
}

Result<> one_step(Context& ct, Running& running, CheckpointStep step, const std::string& path) {
  const CheckpointHooks none;
  Checkpoint checkpoint(ct, running, path, none, /*whole_network=*/false);
  const std::string& phase = running.state.phase;
  if (step == CheckpointStep::suspend) return checkpoint.stand_still("frozen");
  if (phase != "frozen" && phase != "dumped")
    return fail(Error(Code::checkpoint, "the container is not suspended")
                    .with_hint(fmt::format("`vzctl chkpnt {} --suspend` first", ct.id.value())));
  if (step == CheckpointStep::resume) return resume_frozen(ct, running);
  if (step == CheckpointStep::kill) return checkpoint.kill();
  auto dumped = checkpoint.dump(/*then_kill=*/false);
  if (dumped) return dumped;
  // Frozen as before, without a dump.
  VZ_TRY(remove_token(ct.private_path));
  VZ_TRY(remove_dump(path));
  running.state.dump = running.state.token = "";
  running.state.phase = "frozen";
  VZ_TRY(save_state(ct.host, running.state));
  return dumped;
}

// Some obstacles are there for a moment only: a timer that is about to be read, a parent that has just ended.
Result<> precheck(const Context& ct) {
  ct.reporter.step("suspend.check");
  for (int left = kChecks;; --left) {
    auto obstacles = VZ_TRY(find_obstacles(ct.host, ct.id));
    if (obstacles.empty() || left == 1) return refuse_obstacles(obstacles);
    std::this_thread::sleep_for(kCheckPause);
  }
}

}  // namespace

Result<> checkpoint_locked(Context& ct, const CheckpointOptions& options, const CheckpointHooks& hooks) {
  auto running = VZ_TRY(open_running(ct.host, ct.id));
  const std::string path = options.dump.empty() ? default_dump_path(ct.host, ct.id) : options.dump;
  if (path[0] != '/') return fail(Code::bad_value, "--dumpfile " + path + ": an absolute path is needed");
  if (!options.force && (options.step == CheckpointStep::all || options.step == CheckpointStep::suspend))
    VZ_TRY(precheck(ct));
  auto hold = vzd_hold(ct.host.paths().run, ct.id);  // best effort: it must not clean up what we still need
  const bool ends = options.step == CheckpointStep::all || options.step == CheckpointStep::kill;
  if (options.step == CheckpointStep::all) {
    ct.reporter.info("Setting up checkpoint...");
    VZ_TRY(all_steps(ct, running, path, hooks));
  } else {
    VZ_TRY(one_step(ct, running, options.step, path));
  }
  if (ends) {
    ct.reporter.step("suspend.cleanup");
    VZ_TRY(clean_up(ct.host, ct.id, ct.reporter));
    VZ_TRY(finish_unmounted(ct, /*skip_umount=*/false));
  }
  if (options.step == CheckpointStep::all || options.step == CheckpointStep::dump)
    ct.reporter.info("Checkpointing completed successfully");
  return {};
}

namespace {

// Whoever comes after our death finds "suspending" and lets it run on.
Result<> save_or_stand_still(Context& ct, Running& running, const std::string& dump) {
  const CheckpointHooks none;
  Checkpoint checkpoint(ct, running, dump, none, /*whole_network=*/false);
  if (!dump.empty()) {
    VZ_TRY(checkpoint.prepare());
    return checkpoint.dump(/*then_kill=*/false, "suspending");
  }
  return checkpoint.stand_still("suspending");
}

}  // namespace

Result<> while_suspended(Context& ct, const std::string& dump, const std::function<Result<>()>& meanwhile) {
  auto running = VZ_TRY(open_running(ct.host, ct.id));
  if (!dump.empty()) VZ_TRY(precheck(ct));
  auto hold = vzd_hold(ct.host.paths().run, ct.id);
  auto done = save_or_stand_still(ct, running, dump);
  if (done) done = meanwhile();
  if (done) running.state.dump = "";  // it stays
  ct.reporter.info("\tresume...");
  auto resumed = resume_frozen(ct, running);
  if (!done) return fail(as_checkpoint(std::move(done).error()));
  return resumed;
}

std::string criu_work_dir(const Host& host, Ctid id) { return host.paths().run + "/criu/" + id.str(); }
std::string restored_pid_file(const Host& host, Ctid id) { return criu_work_dir(host, id) + "/restored.pid"; }

Result<> resume_frozen(Context& ct, const Running& running) {
  ct.reporter.step("suspend.forget");
  // Before anything runs: from here on the dump, wherever it is, is the past.
  VZ_TRY(remove_token(ct.private_path));
  if (!running.state.dump.empty()) VZ_TRY(remove_dump(running.state.dump));
  auto cgroups = VZ_TRY(CgroupHost::probe());
  VswapSubject subject{ct.id, ct.config, running.cgroups, boottime_ns() - age_ns(running.state.init), true};
  if (auto on = set_vswap_delay(cgroups, subject, true); !on) ct.reporter.debug(on.error().message());
  ct.reporter.step("suspend.thaw");
  VZ_TRY(running.cgroups.freeze(false));
  State state = running.state;
  state.dump = state.token = "";
  state.criu = {};
  return save_phase(ct, &state, "running", "suspend");
}

Result<> Container::checkpoint(const CheckpointOptions& options, Reporter& reporter) {
  if (id_.value() == 0) return fail(Code::bad_value, "Only set actions are allowed for CT0");
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "suspending"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  auto done = checkpoint_locked(ct, options);
  if (done) return done;
  reporter.warn("Checkpointing failed");
  return fail(as_checkpoint(std::move(done).error()));
}

}  // namespace vz
