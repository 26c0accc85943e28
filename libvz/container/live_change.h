// SPDX-License-Identifier: LGPL-2.1-or-later
// Applying changed settings to a running container.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <vz/config.h>
#include <vz/error.h>
#include "libvz/container/context.h"
#include "libvz/container/state.h"

namespace vz {

// Keys whose value differs between two configurations, in table order.
std::vector<std::string> changed_keys(const Config& from, const Config& to);
// Those of `keys` that the table marks with this Applies; options' names ("--capability") for messages.
std::vector<std::string> options_of(const std::vector<std::string>& keys, Applies applies);

// One reversible effect on a running container.
struct LiveStep {
  std::string name;
  std::function<Result<>()> apply;
  std::function<void()> undo;
};

// The steps that lead a running container from what it has (`from`) to `to`. Nothing is touched yet.
Result<std::vector<LiveStep>> plan_live_steps(Context& ct, const State& state, const Config& from, const Config& to);
// What a running container has by `config`, told to the kernel once more: `set --reset_ub`.
Result<std::vector<LiveStep>> plan_limit_steps(Context& ct, const State& state, const Config& config);
// All or nothing: when one fails, the ones before it are undone in reverse order.
Result<> apply_live_steps(std::vector<LiveStep>& steps, Reporter& reporter);

}  // namespace vz
