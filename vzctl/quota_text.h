// SPDX-License-Identifier: GPL-2.0-or-later
// Disk quotas as tables and JSON; vzctl quota and vzquota print them.
#pragma once

#include <ctime>
#include <string>

#include <vz/quota.h>
#include "vzctl/format.h"

namespace vzctl {

Value quota_value(const vz::UserQuota& quota);
Table quota_table(std::time_t now);
void add_quota(Table& table, const char* kind, const vz::UserQuota& quota, std::time_t now);
// What is left of a grace time, as repquota(8) has it: "6days", "23:59", "none" when it is over; "" when none runs.
std::string grace_left(std::int64_t until, std::time_t now);

}  // namespace vzctl
