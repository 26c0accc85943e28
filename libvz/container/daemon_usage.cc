// SPDX-License-Identifier: LGPL-2.1-or-later
// Where systemd runs, it removes the control groups of a container that ended by itself as soon as they are empty,
// often before we can read them. So they are read every few seconds, into memory; what is written down stays exact.
#include <utility>

#include "libvz/container/daemon.h"

namespace vz {
namespace {

constexpr auto kInterval = std::chrono::seconds(5);

}  // namespace

void Daemon::sample_usage() {
  if (!next_sample_ || wards_.empty() || Clock::now() < *next_sample_) return;
  sample_all();
}

void Daemon::sample_all() {
  if (!next_sample_) return;
  next_sample_ = Clock::now() + kInterval;
  auto sources = UsageSources::open();
  if (!sources) return;
  sources->traffic.reset();
  for (const auto& [id, ward] : wards_) {
    if (ward.state != Ward::State::running) continue;
    RunSample sample = sample_run(host_, *sources, id);
    if (sample.group != 0) samples_[id] = std::move(sample);
  }
}

void Daemon::keep_ended(Ctid id) {
  auto sample = samples_.find(id);
  keep_last_usage(host_, id, reporter_, sample == samples_.end() ? nullptr : &sample->second);
  if (sample != samples_.end()) samples_.erase(sample);
}

}  // namespace vz
