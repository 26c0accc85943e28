// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/daemon.h"

#include <algorithm>

#include <fmt/format.h>

#include "libvz/container/state.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/job.h"
#include "libvz/kernel/process.h"

namespace vz {
namespace {

// "ct-101" in systemd's descriptor store.
std::optional<Ctid> stored_ctid(const std::string& name) {
  if (name.rfind("ct-", 0) != 0) return std::nullopt;
  auto id = Ctid::parse(std::string_view(name).substr(3));
  if (!id) return std::nullopt;
  return *id;
}

}  // namespace

Result<> run_daemon(const Host& host, Reporter& reporter, const DaemonOptions& options) {
  Daemon daemon(host, reporter, options);
  if (!VZ_TRY(daemon.open())) {
    reporter.debug("another vzd serves " + host.paths().run);
    return {};
  }
  return daemon.run();
}

void Daemon::log(Reporter::Level level, Ctid id, const std::string& text) {
  reporter_.say(level, fmt::format("CT {}: {}", id.value(), text));
}

Result<bool> Daemon::open() {
  const std::string& run = host_.paths().run;
  VZ_TRY(make_dirs(run, 0755));
  instance_ = VZ_TRY(lock_instance(run + "/vzd.pid"));
  manager_ = ServiceManager::from_environment();
  if (!instance_ && !manager_) return false;
  std::map<std::string, UniqueFd> handed;
  if (!instance_) handed = VZ_TRY(take_over());
  raise_open_files();
  poller_ = VZ_TRY(Poller::create());
  signals_.emplace(VZ_TRY(EndSignals::block()));
  if (manager_) options_.idle_exit.reset();
  if (auto watch = RebootWatch::load())
    reboots_ = std::move(*watch);
  else
    reporter_.warn("a reboot inside a container may be taken for a halt: " + watch.error().message());
  watch_oom();
  watch_quota();
  if (auto host = CgroupHost::probe(); host && host->systemd_manages) next_sample_ = Clock::now();
  adopt_running(std::move(handed));
  listener_ = VZ_TRY(listen_local(vzd_socket_path(run)));
  VZ_TRY(poller_.add(listener_.get(), EPOLLIN, token(Token::listener)));
  VZ_TRY(poller_.add(signals_->fd(), EPOLLIN, token(Token::signals)));
  return true;
}

// Containers that an earlier vzd, or none, looked after. Their consoles are back only if systemd kept them, or if it
// has handed them over.
void Daemon::adopt_running(std::map<std::string, UniqueFd> handed) {
  auto stored = std::move(handed);
  if (manager_) {
    for (const auto& [name, fd] : stored)
      if (is_seccomp_listener(fd.get())) manager_->store_until_hangup(name, fd.get());
    stored.merge(manager_->take_stored());
  }
  auto names = list_dir(host_.paths().run);
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    auto id = Ctid::parse(name);
    if (!id || !exists(host_.run_dir(*id) + "/state.json")) continue;
    auto state = load_state(host_, *id);
    if (!state || !*state || (*state)->init.pid == 0) continue;
    auto kept = stored.find("ct-" + id->str());
    UniqueFd master;
    if (kept != stored.end() && is_pty_master(kept->second.get())) master = std::move(kept->second);
    auto pidfd = open_process((*state)->init);
    if (pidfd) {
      if (auto done = adopt(*id, std::move(master), std::move(*pidfd)); !done)
        log(Reporter::Level::warning, *id, done.error().message());
    } else if ((*state)->phase == "running") {
      // It ended while nobody looked.
      wards_[*id].state = Ward::State::ended;
    }
  }
  adopt_operations();
  restore_listeners(stored);
  for (auto& [name, fd] : stored)
    if (fd && stored_ctid(name)) manager_->forget(name);
}

Result<> Daemon::run() {
  if (manager_) manager_->ready();
  while (!ending_ && !idle_too_long()) {
    auto events = VZ_TRY(poller_.wait(next_timeout()));
    for (const epoll_event& event : events) VZ_TRY(dispatch(event));
    tick();
  }
  // The socket goes while we still have the lock: a client that finds none starts a new vzd.
  if (auto gone = remove_tree(vzd_socket_path(host_.paths().run)); !gone) reporter_.debug(gone.error().message());
  return {};
}

Result<> Daemon::dispatch(const epoll_event& event) {
  auto which = static_cast<std::uint32_t>(event.data.u64);
  auto ward = wards_.find(Ctid(which));
  switch (static_cast<Token>(event.data.u64 >> 32)) {
    case Token::listener:
      accept_clients();
      break;
    case Token::signals:
      ending_ = true;
      break;
    case Token::client:
      serve(static_cast<int>(which));
      break;
    case Token::console:
      if (ward != wards_.end()) drain(ward->first, ward->second);
      break;
    case Token::init:
      if (ward != wards_.end()) init_event(ward->first, ward->second);
      break;
    case Token::oom:
      oom_event();
      break;
    case Token::quota:
      quota_asked(static_cast<int>(which));
      break;
    case Token::quota_answer:
      quota_answered();
      break;
    case Token::quota_event:
      quota_event();
      break;
    case Token::owner_listener:
      accept_owner(Ctid(which));
      break;
    case Token::owner_client:
      owner_event(static_cast<int>(which));
      break;
    case Token::owner_job:
      owner_job_event(Ctid(which));
      break;
    case Token::job:
      if (ward != wards_.end()) job_ended(ward->first, ward->second);
      break;
  }
  return {};
}

std::optional<std::chrono::milliseconds> Daemon::next_timeout() const {
  std::optional<Clock::time_point> first;
  auto consider = [&](Clock::time_point t) {
    if (!first || t < *first) first = t;
  };
  for (const auto& [id, ward] : wards_) {
    if (ward.throttled) consider(ward.throttled_until);
    if (ward.state == Ward::State::dying || (ward.state == Ward::State::ended && !held(id))) consider(ward.due);
  }
  if (next_sample_ && !wards_.empty()) consider(*next_sample_);
  if (auto due = next_owner_time()) consider(*due);
  if (wards_.empty() && connections_.empty() && !owner_busy() && options_.idle_exit)
    consider(idle_since_ + *options_.idle_exit);
  if (!first) return std::nullopt;
  // Rounded up: waking a moment too early would spin.
  auto left = std::chrono::ceil<std::chrono::milliseconds>(*first - Clock::now());
  return std::max(left, std::chrono::milliseconds(1));
}

// What waits for time to pass. Called after each round of events: at most ten times a second for a throttled console.
void Daemon::tick() {
  std::vector<Ctid> ids;  // next_step may erase
  for (const auto& [id, ward] : wards_)
    if (ward.throttled || ward.state == Ward::State::dying || ward.state == Ward::State::ended) ids.push_back(id);
  for (Ctid id : ids) {
    Ward& ward = wards_.find(id)->second;
    if (ward.throttled && Clock::now() >= ward.throttled_until) resume_console(id, ward);
    next_step(id, ward);
  }
  tick_owner();
  sample_usage();
  if (!wards_.empty() || !connections_.empty() || owner_busy()) idle_since_ = Clock::now();
}

bool Daemon::idle_too_long() const {
  return options_.idle_exit && wards_.empty() && connections_.empty() && !owner_busy() &&
         Clock::now() - idle_since_ >= *options_.idle_exit;
}

// In a job's child: nothing of vzd may live on in it, neither the instance lock nor a container's console.
void Daemon::drop_descriptors() {
  instance_.reset();
  listener_.reset();
  poller_.close();
  signals_.reset();
  if (manager_) manager_->close();
  reboots_.close();
  oom_events_.reset();
  kernel_log_.reset();
  quota_events_.reset();
  // A thread may hold it too, but not in this process: closed, not just let go.
  for (auto& [fd, listener] : quota_listeners_) listener.listener->close();
  quota_listeners_.clear();
  if (quota_broker_) quota_broker_->abandon();
  owner_clients_.clear();
  owner_wards_.clear();
  wards_.clear();
  connections_.clear();
}

}  // namespace vz
