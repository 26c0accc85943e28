// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/quota_text.h"

#include <fmt/format.h>

namespace vzctl {
namespace {

constexpr std::int64_t kDay = 24 * 3600;

Cell number(std::uint64_t value, bool over) { return {std::to_string(value), value, over ? Tone::bad : Tone::plain}; }

Cell text(std::string value) {
  Cell cell{value.empty() ? "-" : value, value.empty() ? Value() : Value(value)};
  return cell;
}

bool over(std::uint64_t used, std::uint64_t soft, std::uint64_t hard) {
  return (soft && used > soft) || (hard && used >= hard);
}

}  // namespace

Value quota_value(const vz::UserQuota& q) {
  return Value::Object{{"id", std::uint64_t{q.id}},
                       {"name", q.name.empty() ? Value() : Value(q.name)},
                       {"space", q.space},
                       {"space_soft", q.space_soft},
                       {"space_hard", q.space_hard},
                       {"space_until", q.space_until},
                       {"inodes", q.inodes},
                       {"inodes_soft", q.inodes_soft},
                       {"inodes_hard", q.inodes_hard},
                       {"inodes_until", q.inodes_until}};
}

Table quota_table(std::time_t) {
  return {{{"kind", "KIND", -1, {}},
           {"id", "ID", 1, {}},
           {"name", "NAME", -1, {}},
           {"blocks", "BLOCKS", 1, {}},
           {"blocks_soft", "SOFT", 1, {}},
           {"blocks_hard", "HARD", 1, {}},
           {"blocks_grace", "GRACE", 1, {}},
           {"inodes", "INODES", 1, {}},
           {"inodes_soft", "SOFT", 1, {}},
           {"inodes_hard", "HARD", 1, {}},
           {"inodes_grace", "GRACE", 1, {}}},
          {}};
}

void add_quota(Table& table, const char* kind, const vz::UserQuota& q, std::time_t now) {
  table.rows.push_back({text(kind), number(q.id, false), text(q.name),
                        number((q.space + 1023) / 1024, over(q.space, q.space_soft, q.space_hard)),
                        number(q.space_soft / 1024, false), number(q.space_hard / 1024, false),
                        text(grace_left(q.space_until, now)),
                        number(q.inodes, over(q.inodes, q.inodes_soft, q.inodes_hard)), number(q.inodes_soft, false),
                        number(q.inodes_hard, false), text(grace_left(q.inodes_until, now))});
}

std::string grace_left(std::int64_t until, std::time_t now) {
  if (until == 0) return "";
  std::int64_t left = until - std::int64_t{now};
  if (left <= 0) return "none";
  if (left >= 2 * kDay) return fmt::format("{}days", (left + kDay / 2) / kDay);
  return fmt::format("{:02}:{:02}", left / 3600, left / 60 % 60);
}

}  // namespace vzctl
