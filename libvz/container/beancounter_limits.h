// SPDX-License-Identifier: LGPL-2.1-or-later
// Barriers and limits on their way from a configuration to kernel code, and to those who read counters.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include <vz/beancounters.h>
#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/cgroup.h"

namespace vz {

using UbLimits = std::array<Limit, kUbRows>;

vz_ub_conf ub_conf_of(const UbLimits& limits);
UbLimits limits_of(const vz_ub_conf& conf);

// A running or starting container's limits are given to the BPF programs, where they are loaded, and noted in RUN/ID/ub
// for those who read. The container is counted from then on; again, with other limits, is fine. Before any of its tasks
// runs, so that none goes uncounted.
Result<> set_ub_limits(const Host& host, Ctid id, const Cgroups& cgroups, const Config& config);
// What was noted; nullopt: it does not run, or was started by a version that did not.
std::optional<UbLimits> noted_ub_limits(const Host& host, Ctid id);

// Lines "NAME BARRIER LIMIT". Unknown names and lines that are none are skipped.
std::string format_ub_limits(const UbLimits& limits);
UbLimits parse_ub_limits(std::string_view text);

// Limits of a configuration that this host does not enforce: key and why. Only of rows that plan_limits() says nothing
// of; --privvmpages and what control groups do are its business.
struct UnenforcedLimit {
  const UbResource* resource = nullptr;
  std::string why;
};
std::vector<UnenforcedLimit> unenforced_limits(const Config& config, const UbAbilities& abilities);
// "NUMFILE, NUMPTY (why); KMEMSIZE (another reason)"
std::string describe(const std::vector<UnenforcedLimit>& list);
// The refusal of one that was asked for.
Error refusal_of(const UnenforcedLimit& limit, const Config& config);

}  // namespace vz
