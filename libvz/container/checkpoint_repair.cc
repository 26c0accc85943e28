// SPDX-License-Identifier: LGPL-2.1-or-later
// After a vzctl that died between the steps of a checkpoint or a restore. Its CRIU has put everything back by itself;
// what remains is to say which of the two, the processes or the dump, is the container.
#include "libvz/container/checkpoint.h"

#include <fmt/format.h>

#include "libvz/container/lock.h"
#include "libvz/container/migration_journal.h"
#include "libvz/kernel/boot_id.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::chrono::seconds kCriuTimeout{60};
constexpr std::chrono::seconds kKillTimeout{30};

Result<> wait_for_criu(const ProcessId& criu) {
  if (criu.pid <= 0) return {};
  auto process = open_process(criu);
  if (!process) return process.error().code() == Code::not_running ? Result<>() : fail(std::move(process).error());
  if (wait_exit(*process, kCriuTimeout)) return {};
  return fail(Error(Code::locked, fmt::format("CRIU (process {}) of an earlier vzctl is still at work", criu.pid))
                  .with_hint("wait for it; killing it can end the container"));
}

Result<std::string> private_of(const Host& host, Ctid id) {
  auto config = VZ_TRY(host.load(id));
  return host.private_path(id, config);
}

Result<> settle_suspending(const Host& host, Ctid id, Reporter& reporter) {
  auto running = open_running(host, id);
  auto journal = VZ_TRY(load_migration(host, id));
  if (running && journal && journal->side == "source" && journal->phase == "committed") {
    // Given to another host in the meantime: it may run there.
    VZ_TRY(running->cgroups.kill());
    if (wait_exit(running->pidfd, kKillTimeout)) return {};
    return fail(Code::locked, "the container was migrated away, and its processes here do not end");
  }
  if (running) {
    // Frozen by us, and by CRIU when it gave up.
    Context ct{host, id, reporter, VZ_TRY(host.load(id)), {}, {}};
    ct.private_path = host.private_path(id, ct.config);
    VZ_TRY(resume_frozen(ct, *running));
    reporter.warn("Warning: an earlier vzctl died while it suspended this container; it runs on");
    return {};
  }
  if (running.error().code() != Code::not_running) return fail(std::move(running).error());
  // CRIU ended the processes, which it does after the dump was committed; or something else did before.
  auto state = VZ_TRY(load_state(host, id));
  auto private_path = VZ_TRY(private_of(host, id));
  if (state && VZ_TRY(read_token(private_path)) != state->token) VZ_TRY(remove_dump(state->dump));
  return {};
}

Result<> settle_restoring(const Host& host, Ctid id, Reporter& reporter, State& state) {
  const bool committed = exists(restored_pid_file(host, id));
  auto private_path = VZ_TRY(private_of(host, id));
  auto running = running_state(host, id);
  if (!running) return fail(std::move(running).error());
  if (!committed) {
    // Nothing of it has run: the dump is as good as before.
    auto cgroups = VZ_TRY(CgroupHost::probe());
    if (*running) VZ_TRY(Cgroups::remove(cgroups, id));
    if (!state.token.empty() && exists(state.dump)) VZ_TRY(write_token(private_path, state.token));
    return {};
  }
  VZ_TRY(remove_token(private_path));
  if (state.dump == default_dump_path(host, id)) VZ_TRY(remove_dump(state.dump));
  if (!*running) return {};
  state.phase = "running";
  state.dump = state.token = "";
  VZ_TRY(save_state(host, state));
  auto opened = VZ_TRY(open_running(host, id));
  VZ_TRY(opened.cgroups.freeze(false));
  reporter.warn("Warning: an earlier vzctl died while it restored this container; it runs");
  return {};
}

}  // namespace

Result<> settle_unlocked(const Host& host, Ctid id, Reporter& reporter) {
  auto state = load_state(host, id);
  if (!state || !*state) return {};
  const std::string& phase = (*state)->phase;
  if (phase == "frozen" || phase == "dumped")
    return fail(Error(Code::not_running, "the container is suspended (chkpnt --suspend or restore --undump)")
                    .with_hint(fmt::format("`vzctl chkpnt {} --resume` lets it run on", id.value())));
  if (phase != "suspending" && phase != "restoring") return {};
  auto lock = VZ_TRY(CtLock::take(host, id, "repairing"));
  return settle_checkpoint(host, id, reporter);
}

Result<> settle_checkpoint(const Host& host, Ctid id, Reporter& reporter) {
  auto state = load_state(host, id);
  if (!state || !*state) return {};  // a broken file is another's matter
  const std::string phase = (*state)->phase;
  if (phase != "suspending" && phase != "restoring") return {};
  if ((*state)->boot_id != read_boot_id()) return {};
  VZ_TRY(wait_for_criu((*state)->criu));
  reporter.step("settle." + phase);
  if (phase == "suspending") return settle_suspending(host, id, reporter);
  return settle_restoring(host, id, reporter, **state);
}

bool has_good_dump(const Host& host, Ctid id, const std::string& private_path) {
  auto token = read_token(private_path);
  if (!token || token->empty()) return false;
  auto dump = open_dump(default_dump_path(host, id));
  return dump && dump->manifest.token == *token;
}

Result<> refuse_suspended(const Context& ct, const std::string& what) {
  if (!has_good_dump(ct.host, ct.id, ct.private_path)) return {};
  return fail(Error(Code::mount, what + ": the container is suspended, and its files must stay as they are")
                  .with_hint(fmt::format("`vzctl restore {}` continues it; to give its processes up, remove {}",
                                         ct.id.value(), default_dump_path(ct.host, ct.id))));
}

}  // namespace vz
