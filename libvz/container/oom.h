// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes of containers that the kernel killed for want of memory.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <vz/ctid.h>
#include <vz/host.h>
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/vzdev.h"

namespace vz {

// Kills of the run whose groups are still there.
std::uint64_t oom_kills_of_run(const CgroupHost& cgroups, Ctid id);
// Kills of earlier runs since the host booted: RUN/oom/ID.
std::uint64_t earlier_oom_kills(const Host& host, Ctid id);
std::set<Ctid> with_earlier_oom_kills(const Host& host);
// Adds those of the run that is cleaned up, before its groups go.
void keep_oom_count(const Host& host, const CgroupHost& cgroups, Ctid id);

// One kill for a log line.
struct OomReport {
  Ctid id{0};
  std::uint32_t pid = 0;
  std::string comm;                        // the container's text: printable, no line breaks
  bool host_short = false;                 // the host ran out, not the container
  std::optional<std::uint64_t> rss, swap;  // bytes of the victim
  std::optional<std::uint64_t> ram_used, ram_limit, swap_used, swap_limit;
};
std::string oom_message(const OomReport& report);
OomReport oom_report(const VzOomKill& kill);
// From a record of /dev/kmsg: "…oom-kill:constraint=…,oom_memcg=/vz.slice/vz-101.scope/ct,…,task=NAME,pid=1,uid=0".
// nullopt: the line is about something else. Nothing in it that a container can choose is taken for its number.
std::optional<OomReport> parse_oom_line(std::string_view record);
// Fills in what the container has and uses now.
void add_memory(const CgroupHost& cgroups, OomReport& report);

}  // namespace vz
