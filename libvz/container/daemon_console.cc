// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/daemon.h"
#include "libvz/kernel/console_log.h"

namespace vz {
namespace {

// A container may print without end; vzd's time is the host's. Beyond this it waits in write(2), as on a real
// serial line: 1 MiB per 100 ms.
constexpr std::uint32_t kDrainPerWindow = 1u << 20;
constexpr auto kDrainWindow = std::chrono::milliseconds(100);
constexpr std::size_t kDrainOnce = 16u << 10;  // then the others' turn

}  // namespace

void Daemon::attach_console(Ctid id, Ward& ward, UniqueFd master) {
  auto slave = hold_slave(master);
  if (!slave) return log(Reporter::Level::warning, id, "no console: " + slave.error().message());
  ward.master = std::move(master);
  ward.slave = std::move(*slave);
  if (auto added = poller_.add(ward.master.get(), EPOLLIN, token(Token::console, id.value())); !added)
    log(Reporter::Level::warning, id, "console is not drained: " + added.error().message());
  // The file says "adopted" to a vzctl console that waits.
  (void)append_bounded(host_.run_dir(id) + "/console.log", "");
  if (manager_) manager_->store("ct-" + id.str(), ward.master.get());
}

void Daemon::drain(Ctid id, Ward& ward) {
  if (!ward.master || ward.lease >= 0) return;
  auto now = Clock::now();
  if (now - ward.drained_since >= kDrainWindow) {
    ward.drained_since = now;
    ward.drained = 0;
  }
  ward.drained +=
      static_cast<std::uint32_t>(drain_console(ward.master, host_.run_dir(id) + "/console.log", kDrainOnce));
  if (ward.drained < kDrainPerWindow) return;
  ward.throttled = true;
  ward.throttled_until = ward.drained_since + kDrainWindow;
  poller_.modify(ward.master.get(), 0, token(Token::console, id.value()));
}

void Daemon::resume_console(Ctid id, Ward& ward) {
  if (!ward.master || ward.lease >= 0) return;
  if (ward.throttled)
    poller_.modify(ward.master.get(), EPOLLIN, token(Token::console, id.value()));
  else
    (void)poller_.add(ward.master.get(), EPOLLIN, token(Token::console, id.value()));
  ward.throttled = false;
}

// A lease that is still there keeps its own duplicate; with our slave closed it reads the end of file.
void Daemon::close_console(Ctid id, Ward& ward) {
  if (!ward.master) return;
  // What init said last, even beyond the budget: bounded by what a pty buffers.
  if (ward.lease < 0) (void)drain_console(ward.master, host_.run_dir(id) + "/console.log", kConsoleLogMax);
  poller_.remove(ward.master.get());
  ward.slave.reset();
  ward.master.reset();
  ward.throttled = false;
  ward.lease = -1;
  if (manager_) manager_->forget("ct-" + id.str());
}

}  // namespace vz
