// SPDX-License-Identifier: LGPL-2.1-or-later
// Starting a container: everything is prepared and held by file descriptors, then one process is let go. Whatever
// fails or kills us before that, the kernel takes apart; only the cgroups and RUN/ID stay, and the next call removes
// them.
#include <ctime>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/beancounter_limits.h"
#include "libvz/container/boot_wait.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/context.h"
#include "libvz/container/dir_quota.h"
#include "libvz/container/guest.h"
#include "libvz/container/guest_settings.h"
#include "libvz/container/limits.h"
#include "libvz/container/lock.h"
#include "libvz/container/migration_journal.h"
#include "libvz/container/mount_scripts.h"
#include "libvz/container/network.h"
#include "libvz/container/network_handover.h"
#include "libvz/container/owner_dir.h"
#include "libvz/container/private_plan.h"
#include "libvz/container/quota_scope.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/running.h"
#include "libvz/container/scripts.h"
#include "libvz/container/start_steps.h"
#include "libvz/container/state.h"
#include "libvz/container/traffic.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/boot_id.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/console.h"
#include "libvz/kernel/device_node.h"
#include "libvz/kernel/devices.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/lxcfs.h"
#include "libvz/kernel/rename.h"
#include "libvz/kernel/vzfs.h"

namespace vz {

Result<> check_startable(Context& ct, bool force) {
  if (VZ_TRY(running_state(ct.host, ct.id))) return fail(Code::running, "Container is already running");
  if (ct.config.yes_no("DISABLED").value_or(false) && !force)
    return fail(Error(Code::disabled, "Container start disabled")
                    .with_hint(fmt::format("`vzctl set {} --disabled no --save`, or start --force", ct.id.value())));
  if (!private_exists(ct.private_path))
    return fail(Code::no_private, fmt::format("Container private area {} does not exist", ct.private_path));
  return {};
}

Result<StartPlan> plan_start(Context& ct, const StartOptions& options) {
  StartPlan plan;
  plan.cgroups = VZ_TRY(CgroupHost::probe());
  auto facts = VZ_TRY(read_limit_facts(plan.cgroups, ct.private_path));
  plan.limits = VZ_TRY(plan_limits(ct.config, facts));
  for (const auto& w : plan.limits.warnings) ct.reporter.warn("Warning: " + w);
  for (auto& e : plan.limits.not_enforceable) {
    if (!options.force && options.enforce_all)
      return fail(Error(Code::set_ubc, e.message() + " (--force starts without this limit)").with_hint(e.hint()));
    ct.reporter.warn("Warning: " + e.message() + ", going on without it");
  }
  // What a sample configuration of another host brings along is no reason not to start.
  if (auto list = unenforced_limits(ct.config, ub_abilities()); !list.empty())
    ct.reporter.warn("Warning: not enforced on this host: " + describe(list));
  if (auto stored = not_enforced_options(ct.config); !stored.empty())
    ct.reporter.debug("Stored but not enforced by this version: " + join(stored, " "));
  plan.access = VZ_TRY(plan_access(ct.config));
  VZ_TRY(check_owner_backups(ct.config));
  plan.idmap = VZ_TRY(allocate_idmap(ct.host, ct.id));
  plan.lenient = options.force || !options.enforce_all;
  return plan;
}

namespace {

// Limits of users inside, as QUOTAUGIDLIMIT wants them.
Result<> apply_user_quota(Context& ct, const RootMount& root, StartPlan& plan) {
  const bool on = plan.access.sandbox.quota != QuotaCalls::refused;
  ct.reporter.step("start.userquota");
  if (auto done = prepare_user_quota(ct.private_path, root.mount.get(), on); !done) {
    if (on && !plan.lenient)
      return fail(Error(done.error().code(), done.error().message() + " (--force starts without these limits)")
                      .with_hint(done.error().hint()));
    ct.reporter.warn("Warning: " + done.error().message() + ", going on without it");
  }
  if (!on) return {};
  if (VZ_TRY(kernel_answers_quota_calls(ct.private_path))) plan.access.sandbox.quota = QuotaCalls::native;
  plan.quota_special = quota_special(ct.private_path, root.device);
  if (!plan.quota_special.empty())
    plan.access.nodes.push_back(VZ_TRY(quota_node(plan.quota_special, root.mount.get())));
  return {};
}

}  // namespace

Result<> prepare_disk(Context& ct, const StartPlan& plan, bool strict) {
  if (VZ_TRY(private_layout(ct.private_path)) != Layout::dir) return {};
  const auto disk = disk_limits(ct.config);
  ct.reporter.step("start.quota");
  auto put = put_dir_quota(ct.private_path, plan.idmap, disk, ct.reporter);
  if (put) put = agree_on_grace(ct.host, ct.private_path, disk);
  if (put) return {};
  if (disk.any() && strict) return fail(std::move(put).error().context("--force starts without disk limits"));
  ct.reporter.warn("Warning: " + put.error().message() + ", going on without disk limits");
  return {};
}

Result<UniqueFd> prepare_root(Context& ct, StartPlan& plan, bool fsck, bool write_files, std::string* device) {
  auto mounted = VZ_TRY(mount_private(ct.private_path, plan.idmap, ct.config.get("MOUNT_OPTS").value_or(""),
                                      /*host_view=*/false, fsck, ct.reporter));
  *device = mounted.device;
  VZ_TRY(apply_user_quota(ct, mounted, plan));
  if (write_files) VZ_TRY(write_guest_files(mounted.mount, plan.idmap, guest_settings(ct.config)));
  auto root = VZ_TRY(run_mount_scripts(ct.host, ct.id, ct.config, std::move(mounted.mount), ct.reporter));
  ct.reporter.info("Container is mounted");
  return root;
}

ShownFiles shown_files(const Context& ct, const StartPlan& plan) {
  ShownFiles out;
  if (wants_owner_backups(ct.config)) {
    if (auto dir = mount_owner_dir(ct.host, ct.id))
      out.owner_dir = std::move(*dir);
    else
      ct.reporter.warn("Warning: no backups from inside: " + dir.error().message());
  }
  const bool beancounters = feature_on(ct.config, "ubc", true);
  if (auto vzfs = mount_vzfs(plan.idmap, beancounters)) out.vzfs = std::move(*vzfs);
  if (!ct.host.global().yes_no("LXCFS").value_or(true)) return out;
  out.binds = lxcfs_files();
  std::erase_if(out.binds, [&](const BindFile& b) { return out.vzfs.has(b.target); });
  return out;
}

namespace {

std::vector<std::string> init_environment() {
  // MEMORY_PRESSURE_WATCH: a PSI trigger held by PID 1 is lost by checkpoint/restore and makes it spin (criu.md §5).
  auto env = guest_environment();
  env.insert(env.end(), {"container=vz", "MEMORY_PRESSURE_WATCH=/dev/null"});
  return env;
}

InitSpec init_spec(const Context& ct, const StartPlan& plan, UniqueFd root) {
  InitSpec spec;
  spec.idmap = plan.idmap;
  spec.root = std::move(root);
  spec.devices = plan.access.nodes;
  auto shown = shown_files(ct, plan);
  spec.proc_files = std::move(shown.vzfs);
  spec.binds = std::move(shown.binds);
  spec.owner_dir = std::move(shown.owner_dir);
  spec.hostname = ct.config.get("HOSTNAME").value_or("");
  if (spec.hostname.empty()) spec.hostname = "ct" + ct.id.str();
  spec.env = init_environment();
  spec.sandbox = plan.access.sandbox;
  return spec;
}

}  // namespace

void enter_policy(Context& ct, const StartPlan& plan, const Cgroups& cgroups) {
  ct.reporter.step("start.beancounters");
  if (auto set = set_ub_limits(ct.host, ct.id, cgroups, ct.config); !set)
    ct.reporter.warn("Warning: beancounters: " + set.error().message() + "; they are not limited");
  ct.reporter.step("start.vswap");
  auto done = enter_vswap(plan.cgroups, {ct.id, ct.config, cgroups, boottime_ns(), false}, ct.reporter);
  ct.reporter.debug(fmt::format("Swapping is limited to {} pages/s by: {} ({})", done.rate,
                                vswap_mechanism_name(done.mechanism), done.why));
}

namespace {

// The two orders of "cgroup first" (ours) and "process first" (systemd wants a pid for its scope).
Result<std::pair<PendingInit, Cgroups>> clone_into_cgroups(Context& ct, const StartPlan& plan, InitSpec spec) {
  auto owner = plan.idmap.base;
  if (plan.cgroups.systemd_manages) {
    ct.reporter.step("start.clone");
    auto pending = VZ_TRY(clone_init(std::move(spec)));
    ct.reporter.step("start.cgroup");
    auto cgroups = VZ_TRY(Cgroups::create(plan.cgroups, ct.id, owner, owner, pending.pid()));
    enter_policy(ct, plan, cgroups);
    VZ_TRY(enter_cgroups(pending.pid(), cgroups));
    return std::make_pair(std::move(pending), std::move(cgroups));
  }
  ct.reporter.step("start.cgroup");
  auto cgroups = VZ_TRY(Cgroups::create(plan.cgroups, ct.id, owner, owner, -1));
  enter_policy(ct, plan, cgroups);
  spec.cgroups = &cgroups;
  ct.reporter.step("start.clone");
  auto pending = VZ_TRY(clone_init(std::move(spec)));
  return std::make_pair(std::move(pending), std::move(cgroups));
}

}  // namespace

Result<> apply_limits(Context& ct, const Cgroups& cgroups, const StartPlan& plan) {
  ct.reporter.step("start.limits");
  std::vector<std::string> warnings;
  VZ_TRY(cgroups.apply(plan.limits.writes, &warnings));
  for (const auto& w : warnings) ct.reporter.warn("Warning: " + w);
  if (cgroups.unified_ct_fd() < 0) {
    ct.reporter.warn("Warning: device rules not enforced: this host has no cgroup2");
    return {};
  }
  if (auto attached = attach_device_rules(cgroups.unified_ct_fd(), plan.access.rules); !attached)
    ct.reporter.warn("Warning: device rules not enforced: " + attached.error().message());
  return {};
}

Result<> save_phase(Context& ct, State* state, const char* phase, const char* verb) {
  state->phase = phase;
  ct.reporter.step(std::string(verb) + ".state." + phase);
  return save_state(ct.host, *state);
}

namespace {

// A script CTID.start runs inside, its text piped to the shell.
Result<> run_start_script(Context& ct, const Cgroups& cgroups, const UniqueFd& pidfd, const Sandbox& sandbox) {
  auto path = inside_script(ct.host, ct.id, "start");
  if (path.empty()) return {};
  ct.reporter.step("start.script");
  auto script = VZ_TRY(open_file(path, O_RDONLY));
  EnterSpec spec;
  spec.init_pidfd = &pidfd;
  spec.cgroups = &cgroups;
  spec.sandbox = sandbox;
  spec.sandbox.quota = QuotaCalls::refused;
  spec.argv = {"/bin/bash"};
  spec.fallbacks = {{"/bin/sh"}};
  spec.env = init_environment();
  spec.stdio[0] = script.get();
  int status = VZ_TRY(run_inside(spec));
  if (status != 0) return fail(Code::action_script, fmt::format("{} failed with status {}", path, status));
  return {};
}

}  // namespace

State new_state(const Context& ct, const StartPlan& plan) {
  State state;
  state.id = ct.id;
  state.idmap = plan.idmap;
  state.nesting = plan.access.sandbox.nesting;
  state.capabilities = plan.access.sandbox.capabilities;
  state.user_quota = plan.access.sandbox.quota != QuotaCalls::refused;
  state.boot_id = read_boot_id();
  state.started_at = std::time(nullptr);
  state.config_snapshot = ct.config.text();
  state.addresses = ct.config.words("IP_ADDRESS");
  return state;
}

Result<> check_cancelled(const Context& ct) {
  if (ct.reporter.cancelled()) return fail(Code::env_create, "interrupted");
  return {};
}

namespace {

// vzd answers quotactl(2) of the container from now on. Without it that is ENOSYS, as on a kernel without quotas.
void hand_over_quota(Context& ct, UniqueFd listener) {
  if (!listener) return;
  ct.reporter.step("start.quota");
  if (auto done = vzd_quota(ct.host.paths().run, ct.id, listener); !done)
    ct.reporter.warn("Warning: vzd: " + done.error().message() + "; no quota tools inside");
}

// From "nothing of it exists" to "init runs". On failure the caller cleans up.
Result<UniqueFd> launch(Context& ct, const StartOptions& options, StartPlan& plan, State* state) {
  VZ_TRY(save_phase(ct, state, "starting"));
  VZ_TRY(prepare_disk(ct, plan, !options.force && options.enforce_all));
  ct.reporter.step("start.mount");
  auto root = VZ_TRY(prepare_root(ct, plan, !options.skip_fsck, /*write_files=*/true, &state->root_device));
  state->quota_special = plan.quota_special;
  state->native_quota = plan.access.sandbox.quota == QuotaCalls::native;
  state->layout = layout_name(VZ_TRY(private_layout(ct.private_path)));

  VZ_TRY(check_cancelled(ct));
  auto started = VZ_TRY(clone_into_cgroups(ct, plan, init_spec(ct, plan, std::move(root))));
  auto& [pending, cgroups] = started;
  state->cgroup_id = cgroups.unified_id().value_or(0);
  VZ_TRY(apply_limits(ct, cgroups, plan));
  ct.reporter.step("start.network");
  auto netns = VZ_TRY(pending.open_ns("net"));
  if (auto list = ct.config.words("IP_ADDRESS"); !list.empty())
    ct.reporter.info("Adding IP address(es): " + join(list, " "));
  auto count = [&](const std::string& link) { count_traffic(ct.host, ct.id, link, ct.reporter); };
  auto network = VZ_TRY(setup_network(ct.config, ct.id, plan.idmap, netns, ct.reporter, count));
  state->veth = network.veth;
  state->bridged = network.bridged;
  announce_network(ct.config, netns);
  if (auto units = ct.config.number("CPUUNITS")) ct.reporter.info(fmt::format("Setting CPU units: {}", *units));

  VZ_TRY(check_cancelled(ct));
  ct.reporter.step("start.release");
  auto console = VZ_TRY(pending.release());
  state->init = VZ_TRY(identify(pending.pid()));
  UniqueFd pidfd = pending.pidfd().dup();
  VZ_TRY(save_phase(ct, state, "running"));
  ct.reporter.step("start.adopt");
  if (auto adopted = vzd_adopt(ct.host.paths().run, ct.id, console, pidfd); !adopted)
    ct.reporter.warn("Warning: vzd: " + adopted.error().message() + "; no console and no clean-up after self-poweroff");
  hand_over_quota(ct, pending.take_listener());
  VZ_TRY(run_start_script(ct, cgroups, pidfd, plan.access.sandbox));
  return pidfd;
}

}  // namespace

namespace {

// True: it runs again. A dump that cannot be restored is set aside, because the container boots then.
Result<bool> restored_instead(Context& ct, const StartOptions& options) {
  const std::string path = default_dump_path(ct.host, ct.id);
  if (!exists(path)) return false;
  auto token = VZ_TRY(read_token(ct.private_path));
  if (!token.empty()) {
    RestoreOptions restore;
    restore.skip_fsck = options.skip_fsck;
    restore.force = options.force;
    auto done = restore_locked(ct, restore);
    if (done) return true;
    if (ct.reporter.cancelled()) return fail(std::move(done).error());
    ct.reporter.warn("Warning: cannot restore " + path + ": " + done.error().message());
  }
  ct.reporter.warn("Warning: the container boots; its old processes are lost, their dump is kept as " + path +
                   ".unused");
  VZ_TRY(remove_token(ct.private_path));
  VZ_TRY(remove_tree(path + ".unused"));
  VZ_TRY(rename_durably(path, path + ".unused"));
  return false;
}

}  // namespace

Result<> start_locked(Context& ct, const StartOptions& options) {
  VZ_TRY(check_startable(ct, options.force));
  if (VZ_TRY(restored_instead(ct, options))) return {};
  VZ_TRY(clean_up(ct.host, ct.id, ct.reporter));
  VZ_TRY(remove_leftover_private(ct.private_path));
  VZ_TRY(remove_token(ct.private_path));
  ct.reporter.info("Starting container...");
  StartPlan plan = VZ_TRY(plan_start(ct, options));
  State state = new_state(ct, plan);
  auto pidfd = launch(ct, options, plan, &state);
  if (!pidfd) {
    (void)clean_up(ct.host, ct.id, ct.reporter);
    ct.reporter.warn("Container start failed");
    return fail(std::move(pidfd).error());
  }
  if (!options.wait) {
    ct.reporter.info("Container start in progress...");
    return {};
  }
  ct.reporter.info("Container start in progress, waiting ...");
  VZ_TRY(wait_booted(ct, state, *pidfd, options.wait_timeout));
  ct.reporter.info("Container started successfully");
  return {};
}

namespace {

// A shell that waits for its console to close stands in for init, so that the namespaces live as long as we want.
Result<int> run_in_environment(Context& ct, StartPlan& plan, State* state, std::vector<std::string> argv,
                               int stdin_fd) {
  VZ_TRY(save_phase(ct, state, "environment"));
  VZ_TRY(prepare_disk(ct, plan, false));
  std::string device;
  InitSpec init = init_spec(ct, plan, VZ_TRY(prepare_root(ct, plan, /*fsck=*/true, /*write_files=*/true, &device)));
  init.sandbox.quota = QuotaCalls::refused;
  init.argv = {"/bin/sh", "-c", "read line"};
  auto started = VZ_TRY(clone_into_cgroups(ct, plan, std::move(init)));
  auto& [pending, cgroups] = started;
  VZ_TRY(apply_limits(ct, cgroups, plan));
  auto console = VZ_TRY(pending.release());
  EnterSpec spec;
  spec.init_pidfd = &pending.pidfd();
  spec.cgroups = &cgroups;
  spec.sandbox = plan.access.sandbox;
  spec.sandbox.quota = QuotaCalls::refused;
  spec.argv = std::move(argv);
  spec.env = init_environment();
  spec.stdio[0] = stdin_fd;
  auto status = run_inside(spec);
  VZ_TRY(cgroups.kill());
  (void)wait_exit(pending.pidfd(), std::chrono::milliseconds(5000));
  return status;
}

}  // namespace

Result<int> run_without_init(Context& ct, std::vector<std::string> argv, int stdin_fd) {
  StartOptions options;
  options.force = true;
  VZ_TRY(check_startable(ct, options.force));
  VZ_TRY(refuse_suspended(ct, "Cannot run in it"));
  VZ_TRY(clean_up(ct.host, ct.id, ct.reporter));
  VZ_TRY(remove_token(ct.private_path));
  StartPlan plan = VZ_TRY(plan_start(ct, options));
  State state = new_state(ct, plan);
  auto status = run_in_environment(ct, plan, &state, std::move(argv), stdin_fd);
  (void)clean_up(ct.host, ct.id, ct.reporter);
  return status;
}

Result<> Container::start(const StartOptions& options, Reporter& reporter) {
  if (id_.value() == 0) return fail(Code::bad_value, "Only set actions are allowed for CT0");
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "starting"));
  VZ_TRY(check_not_migrating(*host_, id_));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  return start_locked(ct, options);
}

}  // namespace vz
