// SPDX-License-Identifier: LGPL-2.1-or-later
#include <algorithm>
#include <csignal>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/context.h"
#include "libvz/container/lock.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/running.h"
#include "libvz/container/scripts.h"
#include "libvz/container/stop_steps.h"
#include "libvz/container/usage_keep.h"
#include "libvz/kernel/console.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/rename.h"
#include "libvz/kernel/signal.h"

namespace vz {

namespace {

constexpr std::chrono::seconds kDefaultTimeout{120};
constexpr std::chrono::seconds kKillTimeout{30};
constexpr std::chrono::seconds kHaltCommandTimeout{10};

std::chrono::seconds stop_timeout(const Context& ct, const StopOptions& options) {
  if (options.timeout) return *options.timeout;
  if (auto t = ct.config.number("STOP_TIMEOUT")) return std::chrono::seconds(*t);
  return kDefaultTimeout;
}

// Asks the container to shut down. Its answer proves nothing, so errors do not count: the wait that follows does.
void request_shutdown(Context& ct, const Running& running) {
  if (init_is_systemd(running.state)) {
    // systemd(1), SIGNALS: SIGRTMIN+4 starts poweroff.target; needs no bus and no program inside.
    (void)send_signal(running.pidfd, SIGRTMIN + 4);
    return;
  }
  auto null = open_file("/dev/null", O_RDWR);
  if (!null) return;
  auto spec = quiet_enter_spec(running, *null);
  spec.argv = {"halt"};
  spec.fallbacks = {{"poweroff"}};
  spec.timeout = kHaltCommandTimeout;
  if (auto done = run_inside(spec); !done || *done != 0) {
    ct.reporter.debug("halt inside failed, sending SIGTERM to init");
    (void)send_signal(running.pidfd, SIGTERM);
  }
}

void run_stop_script(Context& ct, const Running& running, std::chrono::seconds timeout) {
  auto path = inside_script(ct.host, ct.id, "stop");
  if (path.empty()) return;
  ct.reporter.step("stop.script");
  auto script = open_file(path, O_RDONLY);
  auto null = open_file("/dev/null", O_RDWR);
  if (!script || !null) return;
  auto spec = quiet_enter_spec(running, *null);
  spec.argv = {"/bin/bash"};
  spec.fallbacks = {{"/bin/sh"}};
  spec.stdio[0] = script->get();
  spec.timeout = timeout;
  auto status = run_inside(spec);
  if (!status || *status != 0)
    ct.reporter.warn(fmt::format("Warning: {} failed{}", path, status ? fmt::format(" with status {}", *status) : ""));
}

// Until init has ended, the time is over (false), or the user interrupts: then the container goes on shutting down.
Result<bool> wait_for_end(Context& ct, const UniqueFd& pidfd, std::chrono::seconds timeout) {
  using clock = std::chrono::steady_clock;
  auto deadline = clock::now() + timeout;
  for (auto now = clock::now(); now < deadline; now = clock::now()) {
    auto slice = std::min<clock::duration>(deadline - now, std::chrono::milliseconds(250));
    if (wait_exit(pidfd, std::chrono::ceil<std::chrono::milliseconds>(slice))) return true;
    if (ct.reporter.cancelled())
      return fail(Error(Code::stop_failed, "interrupted; the container goes on shutting down")
                      .with_hint(fmt::format("`vzctl stop {} --fast` kills it", ct.id.value())));
  }
  return false;
}

Result<> kill_container(Context& ct, const Cgroups& cgroups, const UniqueFd& pidfd) {
  ct.reporter.step("stop.kill");
  ct.reporter.info("Killing container ...");
  VZ_TRY(cgroups.kill());
  (void)send_signal(pidfd, SIGKILL);
  if (!wait_exit(pidfd, kKillTimeout))
    return fail(Error(Code::stop_failed, "Unable to stop container: operation timed out")
                    .with_hint("a process is stuck in the kernel (state D): see `ps axo pid,stat,wchan:32,comm`"));
  return {};
}

// Asks first, unless told not to; kills what has not ended in time.
Result<> end_running(Context& ct, const Running& running, const StopOptions& options) {
  ct.reporter.info("Stopping container ...");
  auto timeout = stop_timeout(ct, options);
  bool ended = false;
  if (!options.fast) {
    run_stop_script(ct, running, timeout);
    ct.reporter.step("stop.request");
    (void)running.cgroups.freeze(false);
    request_shutdown(ct, running);
    ended = VZ_TRY(wait_for_end(ct, running.pidfd, timeout));
  }
  if (ended) return {};
  return kill_container(ct, running.cgroups, running.pidfd);
}

// Scripts run after the container is gone; one that fails cannot keep it from being stopped.
void run_umount_scripts(Context& ct) {
  for (const char* name : {"umount", "postumount"}) {
    if (!has_host_scripts(ct.host, ct.id, name)) continue;
    ct.reporter.step(std::string("stop.script.") + name);
    if (auto ran = run_host_scripts(ct.host, ct.id, name, ct.reporter); !ran)
      ct.reporter.warn("Warning: " + ran.error().message());
  }
}

}  // namespace

Result<> finish_unmounted(Context& ct, bool skip_umount) {
  if (is_mount_point(ct.root_path) && !skip_umount) VZ_TRY(detach_path(ct.root_path));
  run_umount_scripts(ct);
  ct.reporter.info("Container is unmounted");
  return {};
}

Result<> stop_locked(Context& ct, const StopOptions& options) {
  auto state = VZ_TRY(running_state(ct.host, ct.id));
  if (!state) {
    ct.reporter.warn("Unable to stop: container is not running");
    return clean_up(ct.host, ct.id, ct.reporter);
  }
  // What follows may end with the groups gone before clean_up() reads them: systemd removes those of an empty scope.
  keep_last_usage(ct.host, ct.id, ct.reporter);
  auto hold = vzd_hold(ct.host.paths().run, ct.id);  // best effort: vzd must not clean up or reboot meanwhile
  // Frozen with a dump on disk: from now on it runs, and changes its files.
  if (!state->dump.empty()) VZ_TRY(remove_token(ct.private_path));
  if (auto pidfd = open_process(state->init)) {
    auto cgroups = VZ_TRY(Cgroups::open(VZ_TRY(CgroupHost::probe()), ct.id));
    VZ_TRY(end_running(ct, {*state, *std::move(pidfd), std::move(cgroups)}, options));
  }
  ct.reporter.step("stop.cleanup");
  VZ_TRY(clean_up(ct.host, ct.id, ct.reporter));
  ct.reporter.info("Container was stopped");
  return finish_unmounted(ct, options.skip_umount);
}

Result<> Container::stop(const StopOptions& options, Reporter& reporter) {
  if (id_.value() == 0) return fail(Code::bad_value, "Only set actions are allowed for CT0");
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "stopping"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  return stop_locked(ct, options);
}

Result<> Container::restart(const StartOptions& start, const StopOptions& stop, Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "restarting"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  reporter.info("Restarting container");
  if (VZ_TRY(running_state(*host_, id_))) VZ_TRY(stop_locked(ct, stop));
  return start_locked(ct, start);
}

Result<> Container::mount(Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "mounting"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  if (VZ_TRY(running_state(*host_, id_)) || is_mount_point(ct.root_path)) {
    reporter.warn("Container is already mounted");
    return {};
  }
  if (!private_exists(ct.private_path))
    return fail(Code::no_private, fmt::format("Container private area {} does not exist", ct.private_path));
  VZ_TRY(refuse_suspended(ct, "Cannot mount"));
  VZ_TRY(remove_token(ct.private_path));
  if (has_host_scripts(*host_, id_, "premount")) VZ_TRY(run_host_scripts(*host_, id_, "premount", reporter));
  auto idmap = VZ_TRY(allocate_idmap(*host_, id_));
  auto root = VZ_TRY(mount_private(ct.private_path, idmap, ct.config.get("MOUNT_OPTS").value_or(""),
                                   /*host_view=*/true, /*fsck=*/true, reporter));
  VZ_TRY(make_dirs(ct.root_path, 0755));
  reporter.step("mount.attach");
  VZ_TRY(attach_mount(root.mount.get(), -100 /* AT_FDCWD */, ct.root_path));
  if (auto ran = run_host_scripts(*host_, id_, "mount", reporter); !ran) {
    (void)detach_path(ct.root_path);
    return fail(std::move(ran).error());
  }
  reporter.info("Container is mounted");
  return {};
}

Result<> Container::umount(Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "unmounting"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  if (VZ_TRY(running_state(*host_, id_))) return fail(Code::running, "Container is running -- stop it first");
  if (!is_mount_point(ct.root_path)) return fail(Code::not_mounted, "CT is not mounted");
  VZ_TRY(run_host_scripts(*host_, id_, "umount", reporter));
  reporter.step("umount.detach");
  VZ_TRY(detach_path(ct.root_path));
  VZ_TRY(run_host_scripts(*host_, id_, "postumount", reporter));
  reporter.info("Container is unmounted");
  return {};
}

}  // namespace vz
