// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/boot.h>

#include <algorithm>
#include <functional>
#include <map>
#include <thread>

#include <vz/container.h>
#include "libvz/container/prefix_reporter.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/job.h"
#include "libvz/kernel/poller.h"

namespace vz {
namespace {

constexpr int kStopTries = 3;

std::string reboot_dir(const Host& host) { return host.paths().lib + "/vzreboot"; }
std::string reboot_mark(const Host& host, Ctid id) { return reboot_dir(host) + "/" + id.str(); }

std::size_t parallel(const Host& host) {
  if (auto n = host.global().number("VE_PARALLEL"); n && *n > 0) return std::min<std::uint64_t>(*n, 1000);
  return std::max(1u, std::thread::hardware_concurrency());
}

// Runs `work` for each container in a child, `width` at a time, in the list's order.
class Crowd {
 public:
  using Work = std::function<Result<>(Ctid, Reporter&)>;
  Crowd(std::size_t width, Reporter& reporter, Work work)
      : width_(width), reporter_(reporter), work_(std::move(work)) {}

  Result<std::vector<BootStatus>> run(const std::vector<Ctid>& ids) {
    poller_ = VZ_TRY(Poller::create());
    for (Ctid id : ids) {
      while (jobs_.size() >= width_) VZ_TRY(wait_for_some());
      VZ_TRY(start(id));
    }
    while (!jobs_.empty()) VZ_TRY(wait_for_some());
    return std::move(done_);
  }

 private:
  Result<> start(Ctid id) {
    auto job = VZ_TRY(start_job([&] { return attempt(id); }));
    VZ_TRY(poller_.add(job.get(), EPOLLIN, id.value()));
    jobs_.emplace(id, std::move(job));
    return {};
  }
  int attempt(Ctid id) {
    PrefixReporter reporter(reporter_, id);
    auto result = work_(id, reporter);
    if (result) return 0;
    reporter.say(Reporter::Level::error, result.error().message());
    if (!result.error().hint().empty()) reporter.say(Reporter::Level::error, result.error().hint());
    return static_cast<int>(result.error().code());
  }
  Result<> wait_for_some() {
    for (const epoll_event& event : VZ_TRY(poller_.wait(std::nullopt))) {
      auto job = jobs_.find(Ctid(static_cast<std::uint32_t>(event.data.u64)));
      if (job == jobs_.end()) continue;
      poller_.remove(job->second.get());
      done_.push_back({job->first, finish_job(job->second)});
      jobs_.erase(job);
    }
    return {};
  }

  std::size_t width_;
  Reporter& reporter_;
  Work work_;
  Poller poller_;
  std::map<Ctid, UniqueFd> jobs_;
  std::vector<BootStatus> done_;
};

BootEntry entry_of(Ctid id, const Config& config) { return {id, config.number("BOOTORDER").value_or(0)}; }

bool starts_at_boot(const Host& host, Ctid id, const Config& config) {
  if (config.yes_no("DISABLED").value_or(false)) return false;
  if (auto onboot = config.yes_no("ONBOOT")) return *onboot;
  return exists(reboot_mark(host, id));
}

// As vzctl set --cpulimit 0 --iolimit 0 --iopslimit 0: a container of 1 % CPU would need hours to stop.
void lift_throttles(Container& container, Reporter& reporter) {
  for (const char* key : {"CPULIMIT", "IOLIMIT", "IOPSLIMIT"}) {
    SetOptions options;
    options.changes.set(key, "0");
    Reporter quiet;
    if (auto done = container.set(options, quiet); !done) reporter.debug(done.error().message());
  }
}

// VE_STOP_MODE=suspend. What cannot be saved is stopped.
bool suspended(const Host& host, Container& container, Reporter& reporter) {
  if (host.global().get("VE_STOP_MODE").value_or("") != "suspend") return false;
  auto done = container.checkpoint({}, reporter);
  if (!done) reporter.warn(done.error().message() + "; it is stopped instead");
  return done.has_value();
}

Result<> stop_one(const Host& host, Ctid id, Reporter& reporter) {
  Container container(host, id);
  lift_throttles(container, reporter);
  if (suspended(host, container, reporter)) return {};
  for (int attempt = 1;; ++attempt) {
    auto stopped = container.stop({}, reporter);
    if (stopped || attempt == kStopTries) return stopped;
    reporter.warn(stopped.error().message() + ", trying again");
  }
}

// VIRTUOZZO=no in vz.conf: vz.service leaves everything alone.
bool switched_off(const Host& host, Reporter& reporter) {
  if (host.global().yes_no("VIRTUOZZO").value_or(true)) return false;
  reporter.info("VIRTUOZZO=no in " + host.paths().etc + "/vz.conf: nothing to do");
  return true;
}

void forget_marks(const Host& host, Reporter& reporter) {
  if (auto removed = remove_tree(reboot_dir(host)); !removed) reporter.warn(removed.error().message());
}

}  // namespace

std::vector<Ctid> boot_order(std::vector<BootEntry> entries) {
  std::sort(entries.begin(), entries.end(), [](const BootEntry& a, const BootEntry& b) {
    return a.order != b.order ? a.order > b.order : a.id < b.id;
  });
  std::vector<Ctid> ids;
  for (const BootEntry& entry : entries) ids.push_back(entry.id);
  return ids;
}

Result<std::vector<BootStatus>> start_all(const Host& host, Reporter& reporter) {
  if (switched_off(host, reporter)) return std::vector<BootStatus>();
  std::vector<BootEntry> entries;
  for (Ctid id : VZ_TRY(host.containers())) {
    auto config = host.load(id);
    if (!config)
      reporter.warn("CT " + id.str() + ": not started: " + config.error().message());
    else if (starts_at_boot(host, id, *config))
      entries.push_back(entry_of(id, *config));
  }
  Crowd crowd(parallel(host), reporter, [&](Ctid id, Reporter& out) -> Result<> {
    Container container(host, id);
    if (VZ_TRY(container.status()).running) return {};
    return container.start({}, out);
  });
  auto done = VZ_TRY(crowd.run(boot_order(std::move(entries))));
  // Once: whatever ran before this boot has had its chance.
  forget_marks(host, reporter);
  return done;
}

Result<std::vector<BootStatus>> stop_all(const Host& host, Reporter& reporter) {
  if (switched_off(host, reporter)) return std::vector<BootStatus>();
  std::vector<BootEntry> entries;
  for (const ContainerInfo& info : VZ_TRY(list_containers(host, false)))
    if (info.status.running) entries.push_back(entry_of(info.id, info.config));
  auto made = make_dirs(reboot_dir(host), 0755);
  for (const BootEntry& entry : entries) {
    if (made) made = replace_file(reboot_mark(host, entry.id), "", 0644);
    if (!made) reporter.warn("CT " + entry.id.str() + " will not start by itself: " + made.error().message());
  }
  auto order = boot_order(std::move(entries));
  std::reverse(order.begin(), order.end());
  Crowd crowd(parallel(host), reporter, [&](Ctid id, Reporter& out) { return stop_one(host, id, out); });
  return crowd.run(order);
}

}  // namespace vz
