// SPDX-License-Identifier: LGPL-2.1-or-later
// Continuing a suspended container. Its surroundings are made by what start uses; CRIU brings the processes into them.
#include <future>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/lock.h"
#include "libvz/container/network.h"
#include "libvz/container/network_handover.h"
#include "libvz/container/owner_dir.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/traffic.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/console.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hostinfo.h"
#include "libvz/kernel/namespace.h"
#include "libvz/kernel/task_facts.h"

namespace vz {

namespace {

Error as_restore(Error error) {
  return error.code() == Code::system || error.code() == Code::no_access ? std::move(error).with_code(Code::restore)
                                                                         : std::move(error);
}

tl::unexpected<Error> other(const std::string& what, const std::string& hint) {
  return fail(Error(Code::restore, "the dump does not fit: " + what).with_hint(hint));
}

// What must be as it was. What CRIU checks by itself (CPU, open files) is not repeated.
Result<> check_fits(Context& ct, const Dump& dump, const StartPlan& plan, const CriuProgram& program) {
  const DumpManifest& m = dump.manifest;
  if (m.id != ct.id) return other("it is of container " + m.id.str(), "restore it as that container");
  auto token = VZ_TRY(read_token(ct.private_path));
  if (token.empty() || token != m.token)
    return other("the container has run, or its files were changed, since " + dump.path + " was made",
                 "`vzctl start` boots it; the dump is worthless, remove it");
  if (m.idmap != plan.idmap) return other("the container's id range has changed", "");
  auto host = VZ_TRY(host_identity());
  if (m.machine != host.machine) return other("it was made on " + m.machine + ", this is " + host.machine, "");
  if (m.nesting != plan.access.sandbox.nesting || m.capabilities != plan.access.sandbox.capabilities)
    return other("FEATURES or CAPABILITY were changed since", "set them back, or start the container without it");
  if (m.addresses != ct.config.words("IP_ADDRESS") || m.netif != ct.config.get("NETIF").value_or(""))
    return other("IP_ADDRESS or NETIF were changed since", "set them back, restore, then change them");
  if (m.hierarchies != hierarchy_names(plan.cgroups))
    return other("this host has other cgroup mounts: " + join(hierarchy_names(plan.cgroups), " "),
                 "they were: " + join(m.hierarchies, " "));
  if (minor_of(m.criu) != minor_of(program.version.str()))
    ct.reporter.warn(
        fmt::format("Warning: the dump was made by CRIU {}, {} restores it", m.criu, program.version.str()));
  return {};
}

class Restore {
 public:
  Restore(Context& ct, const RestoreOptions& options, const RestoreHooks& hooks, Dump& dump, StartPlan plan,
          CriuProgram program)
      : ct_(ct), options_(options), hooks_(hooks), dump_(dump), plan_(std::move(plan)), program_(std::move(program)) {
    state_ = new_state(ct_, plan_);
    state_.dump = dump_.path;
    state_.token = dump_.manifest.token;
  }
  Result<> run();

 private:
  Result<Cgroups> make_cgroups();
  Result<CriuPlace> make_place(UniqueFd root, CriuRestore* request);
  Result<> on_notification(CriuNotification& n);
  Result<> prepare_links(CriuRestore* request);
  Result<> make_network(pid_t pid);
  Result<> complete(pid_t pid);
  Result<> set_delay(bool on);

  Context& ct_;
  const RestoreOptions& options_;
  const RestoreHooks& hooks_;
  Dump& dump_;
  StartPlan plan_;
  CriuProgram program_;
  State state_;
  std::optional<Cgroups> cgroups_;
  Child placeholder_;
  LinkHook count_ = [this](const std::string& link) { count_traffic(ct_.host, ct_.id, link, ct_.reporter); };
  UniqueFd console_, netns_;
  std::future<std::vector<std::string>> counting_;
  std::future<void> announcing_;
  bool resuming_ = false;  // all that CRIU has left to do is to let it go
};

// systemd makes a scope around a process: one of ours waits there until the container's are.
Result<Cgroups> Restore::make_cgroups() {
  ct_.reporter.step("restore.cgroup");
  if (plan_.cgroups.systemd_manages) placeholder_ = VZ_TRY(start_idle_child());
  auto owner = plan_.idmap.base;
  auto cgroups = VZ_TRY(Cgroups::create(plan_.cgroups, ct_.id, owner, owner, placeholder_.pid()));
  if (placeholder_.pid() > 0) {
    // Out of the way of controllers that the container's groups are to have.
    auto exec = VZ_TRY(cgroups.exec_fd());
    VZ_TRY(write_kernel_file_at(exec.get(), "cgroup.procs", std::to_string(placeholder_.pid())));
    for (const auto& tasks : VZ_TRY(cgroups.v1_procs()))
      VZ_TRY(write_all(tasks.get(), std::to_string(placeholder_.pid())));
  }
  enter_policy(ct_, plan_, cgroups);
  VZ_TRY(apply_limits(ct_, cgroups, plan_));
  VZ_TRY(make_inner_groups(cgroups, plan_.idmap, dump_.manifest.groups));
  return cgroups;
}

Result<CriuPlace> Restore::make_place(UniqueFd root, CriuRestore* request) {
  CriuPlace place;
  place.work_dir = criu_work_dir(ct_.host, ct_.id);
  // The container's root goes through them to what it binds.
  VZ_TRY(make_dirs(place.work_dir, 0711));
  request->root = place.work_dir + "/root";
  VZ_TRY(make_dirs(request->root, 0711));
  place.mounts.emplace_back(std::move(root), request->root);
  auto shown = shown_files(ct_, plan_);
  // It was there when the dump was made; whether anybody answers in it is another question.
  if (!shown.owner_dir && uses_owner_dir(dump_.manifest.external))
    shown.owner_dir = VZ_TRY(mount_owner_dir(ct_.host, ct_.id));
  request->external = VZ_TRY(place_mounts(dump_.manifest.external, place.work_dir, plan_, std::move(shown), &place));
  return place;
}

Result<> Restore::set_delay(bool on) {
  VswapSubject subject{ct_.id, ct_.config, *cgroups_, boottime_ns(), false};
  return set_vswap_delay(plan_.cgroups, subject, on);
}

// The host's part of what CRIU restores, or what can be checked of what make_network() makes.
Result<> Restore::prepare_links(CriuRestore* request) {
  NetworkResult result;
  if (dump_.manifest.network) {
    request->empty_network = true;
    result = VZ_TRY(check_network(ct_.config, ct_.id));
  } else {
    auto waiting = VZ_TRY(prepare_network(ct_.config, ct_.id, ct_.reporter, count_));
    for (const auto& link : waiting.links)
      request->external.push_back(fmt::format("netdev[{}]:{}", link.inside, link.waiting));
    result = std::move(waiting.result);
  }
  state_.veth = result.veth;
  state_.bridged = result.bridged;
  return {};
}

// In the namespace of init, which does not run yet: sockets are bound to addresses that must be there.
Result<> Restore::make_network(pid_t pid) {
  ct_.reporter.step("restore.network.inside");
  auto netns = VZ_TRY(open_namespace(pid, "net"));
  std::vector<std::string> links;
  VZ_TRY(remake_network(ct_.config, ct_.id, netns, *dump_.manifest.network, ct_.reporter,
                        [&](const std::string& link) { links.push_back(link); }));
  // The kernel waits for an RCU grace period per link and direction (13 to 15 ms each), in which CRIU can go on.
  counting_ = std::async(std::launch::async, [this, links = std::move(links)] {
    std::vector<std::string> warnings;
    for (const auto& link : links)
      for (auto& warning : begin_counting(ct_.host, ct_.id, link)) warnings.push_back(std::move(warning));
    return warnings;
  });
  ct_.reporter.step("restore.network.made");
  return {};
}

// Everything is there, nothing has run yet. From the answer on nothing is undone, whoever dies.
Result<> Restore::complete(pid_t pid) {
  state_.init = VZ_TRY(identify(pid));
  ct_.reporter.step("restore.connect");
  if (counting_.valid())
    for (const auto& warning : counting_.get()) ct_.reporter.warn("Warning: " + warning);
  netns_ = VZ_TRY(open_namespace(pid, "net"));
  VZ_TRY(connect_network(ct_.config, ct_.id, plan_.idmap, netns_, ct_.reporter));
  if (auto own = own_message_queues(pid, plan_.idmap.base); !own) ct_.reporter.debug(own.error().message());
  for (const auto& lost : apply_scheduling(VZ_TRY(cgroups_->pids()), dump_.manifest.scheduling))
    ct_.reporter.warn("Warning: not as it was: " + lost);
  ct_.reporter.step("restore.adopt");
  auto pidfd = VZ_TRY(open_process(state_.init));
  auto adopted = console_ ? vzd_adopt(ct_.host.paths().run, ct_.id, console_, pidfd)
                          : Result<>(fail(Code::system, "nothing in the container has its console open"));
  if (!adopted)
    ct_.reporter.warn("Warning: vzd: " + adopted.error().message() +
                      "; no console and no clean-up after self-poweroff");
  ct_.reporter.step("restore.state.restoring");
  VZ_TRY(save_state(ct_.host, state_));
  if (hooks_.made) {
    ct_.reporter.step("restore.made");
    VZ_TRY(hooks_.made(*cgroups_, state_.init));
  }
  ct_.reporter.step("restore.held");
  if (hooks_.held) VZ_TRY(hooks_.held());
  ct_.reporter.step("restore.token");
  VZ_TRY(remove_token(ct_.private_path));
  if (ct_.reporter.cancelled()) return fail(Code::restore, "interrupted");
  ct_.reporter.step("restore.commit");
  return {};
}

Result<> Restore::on_notification(CriuNotification& n) {
  ct_.reporter.step("restore.criu." + n.name);
  if (n.name == "orphan-pts-master") console_ = std::move(n.fd);
  if (n.name == "setup-namespaces" && dump_.manifest.network) return make_network(n.pid);
  // Init is where it belongs, and the others are not there yet: what they have is counted where it was.
  if (n.name == "post-setup-namespaces") return set_inner_groups(*cgroups_, plan_.idmap, dump_.manifest.groups);
  if (n.name == "post-restore") return complete(n.pid);
  if (n.name == "pre-resume") {
    resuming_ = true;
    if (hooks_.resuming) hooks_.resuming();
    // Said at once; that the kernel closes the sockets takes milliseconds for each address.
    if (netns_) announcing_ = std::async(std::launch::async, [this] { announce_network(ct_.config, netns_); });
  }
  // The kernel stops each task before it returns to the program.
  if (n.name == "pre-resume" && options_.step == RestoreStep::undump)
    return write_kernel_file(cgroups_->freeze_path() + "/cgroup.freeze", "1");
  if (ct_.reporter.cancelled() && n.name.rfind("pre-re", 0) == 0) return fail(Code::restore, "interrupted");
  return {};
}

Result<> Restore::run() {
  // First: a process id file of an earlier restore would say that this one cannot be undone.
  VZ_TRY(remove_tree(criu_work_dir(ct_.host, ct_.id)));
  VZ_TRY(save_phase(ct_, &state_, "restoring", "restore"));
  ct_.reporter.step("restore.mount");
  VZ_TRY(prepare_disk(ct_, plan_, !options_.force));
  auto root = VZ_TRY(prepare_root(ct_, plan_, !options_.skip_fsck, /*write_files=*/false, &state_.root_device));
  state_.quota_special = plan_.quota_special;
  state_.native_quota = plan_.access.sandbox.quota == QuotaCalls::native;
  state_.layout = layout_name(VZ_TRY(private_layout(ct_.private_path)));
  CriuRestore request;
  UniqueFd other_images;
  if (!hooks_.images.empty())
    other_images = VZ_TRY(open_file(hooks_.images, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  request.images_fd = other_images ? other_images.get() : dump_.images.get();
  request.pid_file = restored_pid_file(ct_.host, ct_.id);
  auto place = VZ_TRY(make_place(std::move(root), &request));
  cgroups_ = VZ_TRY(make_cgroups());
  state_.cgroup_id = cgroups_->unified_id().value_or(0);
  if (auto off = set_delay(false); !off) ct_.reporter.debug(off.error().message());

  VZ_TRY(check_cancelled(ct_));
  ct_.reporter.step("restore.network");
  VZ_TRY(prepare_links(&request));
  ct_.reporter.info("\tundump...");
  ct_.reporter.step("restore.criu");
  auto criu = VZ_TRY(Criu::spawn(program_, std::move(place)));
  state_.criu = VZ_TRY(criu.process());
  VZ_TRY(save_phase(ct_, &state_, "restoring", "restore"));
  if (auto done = criu.restore(request, [&](CriuNotification& n) { return on_notification(n); }); !done) {
    // When CRIU is killed, the kernel lets them go: then it runs. When CRIU fails, it ends them.
    if (!resuming_ || !is_alive(state_.init)) return fail(std::move(done).error());
    ct_.reporter.warn("Warning: " + done.error().message());
  }
  if (auto on = set_delay(true); !on) ct_.reporter.debug(on.error().message());
  if (options_.keep_dump) state_.dump = "";
  // It goes with --resume; --kill makes it good again.
  if (options_.step == RestoreStep::undump) return save_phase(ct_, &state_, "frozen", "restore");
  ct_.reporter.step("restore.dump");
  if (!options_.keep_dump) VZ_TRY(remove_dump(dump_.path));
  ct_.reporter.info("\tresume...");
  state_.dump = state_.token = "";
  state_.criu = {};
  return save_phase(ct_, &state_, "running", "restore");
}

// After --undump.
Result<> later_step(Context& ct, RestoreStep step) {
  auto running = VZ_TRY(open_running(ct.host, ct.id));
  if (running.state.phase != "frozen")
    return fail(Error(Code::restore, "the container is not suspended").with_hint("`vzctl restore --undump` first"));
  if (step == RestoreStep::resume) {
    ct.reporter.info("\tresume...");
    return resume_frozen(ct, running);
  }
  ct.reporter.info("\tkill...");
  auto hold = vzd_hold(ct.host.paths().run, ct.id);
  VZ_TRY(running.cgroups.kill());
  VZ_TRY(clean_up(ct.host, ct.id, ct.reporter));
  // Nothing of it has run.
  if (!running.state.token.empty()) VZ_TRY(write_token(ct.private_path, running.state.token));
  return {};
}

}  // namespace

Result<> restore_locked(Context& ct, const RestoreOptions& options, const RestoreHooks& hooks) {
  VZ_TRY(check_startable(ct, options.force));
  const std::string path = options.dump.empty() ? default_dump_path(ct.host, ct.id) : options.dump;
  auto program = hooks.criu ? *hooks.criu : VZ_TRY(choose_criu());
  Dump dump = VZ_TRY(open_dump(path));
  VZ_TRY(clean_up(ct.host, ct.id, ct.reporter));
  ct.reporter.info("Restoring container ...");
  StartOptions start;
  start.force = options.force;
  start.enforce_all = !options.force;
  auto plan = VZ_TRY(plan_start(ct, start));
  VZ_TRY(check_fits(ct, dump, plan, program));
  if (!hooks.verified) VZ_TRY(verify_dump(dump));
  auto restored = Restore(ct, options, hooks, dump, std::move(plan), std::move(program)).run();
  if (!restored) {
    ct.reporter.step("restore.undo");
    (void)clean_up(ct.host, ct.id, ct.reporter);
    return restored;
  }
  ct.reporter.info("Restoring completed successfully");
  return {};
}

Result<> Container::restore(const RestoreOptions& options, Reporter& reporter) {
  if (id_.value() == 0) return fail(Code::bad_value, "Only set actions are allowed for CT0");
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "restoring"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  const bool whole = options.step == RestoreStep::all || options.step == RestoreStep::undump;
  auto done = whole ? restore_locked(ct, options) : later_step(ct, options.step);
  if (done) return done;
  reporter.warn("Restoring failed");
  return fail(as_restore(std::move(done).error()));
}

}  // namespace vz
