// SPDX-License-Identifier: LGPL-2.1-or-later
#include <algorithm>

#include <vz/container.h>
#include "libvz/container/daemon.h"
#include "libvz/container/prefix_reporter.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/job.h"

namespace vz {
namespace {

constexpr std::size_t kMaxJobs = 4;                  // children at a time; a start is a few milliseconds of CPU
constexpr auto kReapWait = std::chrono::seconds(2);  // a parent that never reaps must not stop the clean-up
constexpr std::uint32_t kMaxReboots = 5;             // within kRebootWindow: something is wrong inside
constexpr auto kRebootWindow = std::chrono::seconds(30);
constexpr std::uint32_t kMaxRetries = 60;  // one a second while another vzctl has the container's lock
constexpr int kLockedStatus = static_cast<int>(Code::locked);

// In the child, with an own view of the host: the configuration may have changed since vzd started.
int run_job(HostPaths paths, Ctid id, bool reboot, Reporter& out) {
  PrefixReporter reporter(out, id);
  auto work = [&]() -> Result<> {
    Host host = VZ_TRY(Host::open(paths));
    Container container(host, id);
    VZ_TRY(container.repair(reporter));
    if (!reboot) return {};
    StartOptions options;
    options.force = true;  // DISABLED=yes forbids a start from outside, not the reboot of what runs
    return container.start(options, reporter);
  };
  auto done = work();
  if (done) return 0;
  if (done.error().code() != Code::locked)
    reporter.say(Reporter::Level::error,
                 std::string(reboot ? "cannot restart: " : "cannot clean up: ") + done.error().message());
  int status = static_cast<int>(done.error().code());
  return status > 0 && status < 256 ? status : 255;
}

}  // namespace

void Daemon::init_event(Ctid id, Ward& ward) {
  std::uint32_t events = ward.pidfd ? poll_now(ward.pidfd.get()) : 0;
  if (!events) return;
  if (ward.state == Ward::State::running) {
    ward.end = reboots_.ended(ward.init, ward.pidfd);
    keep_ended(id);
    ward.state = Ward::State::dying;
    ward.due = Clock::now() + kReapWait;
    // From now on only the reaping is news.
    poller_.modify(ward.pidfd.get(), 0, token(Token::init, id.value()));
  }
  if (events & EPOLLHUP) init_ended(id, ward);
}

void Daemon::init_ended(Ctid id, Ward& ward) {
  if (ward.end == EndKind::unknown) ward.end = reboots_.ended(ward.init, ward.pidfd);
  poller_.remove(ward.pidfd.get());
  ward.pidfd.reset();
  close_console(id, ward);
  close_quota(id);
  close_owner(id);
  ward.state = Ward::State::ended;
  ward.due = Clock::now();
  next_step(id, ward);
}

void Daemon::next_step(Ctid id, Ward& ward) {
  if (ward.state == Ward::State::dying && Clock::now() >= ward.due) return init_ended(id, ward);
  if (ward.state != Ward::State::ended || ward.job || held(id) || Clock::now() < ward.due) return;
  if (jobs_running() >= kMaxJobs) {
    ward.due = Clock::now() + std::chrono::milliseconds(50);
    return;
  }
  // vzctl, which held it, has cleaned up already.
  if (!exists(host_.run_dir(id) + "/state.json")) return erase(id);
  start_job_for(id, ward);
}

void Daemon::start_job_for(Ctid id, Ward& ward) {
  bool reboot = ward.end == EndKind::reboot && may_reboot(id, ward);
  log(Reporter::Level::info, id,
      reboot ? "rebooted inside, starting it again" : "ended by itself, cleaning up what it left");
  HostPaths paths = host_.paths();
  auto job = start_job([&] {
    Reporter& out = reporter_;
    drop_descriptors();
    return run_job(paths, id, reboot, out);
  });
  if (job && poller_.add(job->get(), EPOLLIN, token(Token::job, id.value()))) {
    ward.job = std::move(*job);
    ward.state = Ward::State::working;
    return;
  }
  log(Reporter::Level::error, id, "cannot clean up: " + (job ? std::string("epoll") : job.error().message()));
  ward.due = Clock::now() + std::chrono::seconds(1);
}

// Counts this reboot. A container that reboots at once, again and again, would keep the host busy for ever.
bool Daemon::may_reboot(Ctid id, Ward& ward) {
  auto now = Clock::now();
  if (ward.retries > 0) return true;  // the same reboot once more
  if (now - ward.reboots_since > kRebootWindow) {
    ward.reboots_since = now;
    ward.reboots = 0;
  }
  if (++ward.reboots < kMaxReboots) return true;
  log(Reporter::Level::error, id,
      "rebooted " + std::to_string(kMaxReboots) + " times in 30 seconds; it stays down until `vzctl start " + id.str() +
          "`");
  ward.end = EndKind::halt;
  return false;
}

void Daemon::job_ended(Ctid id, Ward& ward) {
  if (!ward.job || !poll_now(ward.job.get())) return;
  poller_.remove(ward.job.get());
  int status = finish_job(ward.job);
  ward.job.reset();
  if (ward.state != Ward::State::working) return next_step(id, ward);  // adopted again: it runs, or has run
  if (status == kLockedStatus && ++ward.retries <= kMaxRetries) {
    ward.state = Ward::State::ended;
    ward.due = Clock::now() + std::chrono::seconds(1);
    return;
  }
  erase(id);
}

void Daemon::erase(Ctid id) {
  auto found = wards_.find(id);
  if (found == wards_.end()) return;
  close_console(id, found->second);
  close_quota(id);
  close_owner(id);
  if (found->second.pidfd) poller_.remove(found->second.pidfd.get());
  wards_.erase(found);
}

std::size_t Daemon::jobs_running() const {
  return static_cast<std::size_t>(
      std::count_if(wards_.begin(), wards_.end(), [](const auto& entry) { return entry.second.job.valid(); }));
}

}  // namespace vz
