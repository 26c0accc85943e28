// SPDX-License-Identifier: LGPL-2.1-or-later
// LIB/usage/journal: one JSON object a line, appended, a file a month (UTC). A month that is over is thinned to a line
// a day, and goes away after two years; so its size has a bound by the number of containers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/usage.h>

namespace vz {

struct JournalEntry {
  std::int64_t time = 0;  // seconds since the epoch
  Ctid id{0};
  std::string name, series;
  std::int64_t created = 0;
  bool destroyed = false;  // the last one of its series
  Usage usage;             // since `created`
};

// One write, one fsync. What a crash left half written at the end stays behind as a line that is no entry.
Result<> append_journal(const Host& host, const std::vector<JournalEntry>& entries, std::int64_t now);
// All entries, of each series in the order of time. Lines that are no entries are passed over.
Result<> read_journal(const Host& host, const std::function<void(const JournalEntry&)>& entry);
// Thins and removes old months.
Result<> tidy_journal(const Host& host, std::int64_t now);

// When all containers were last put in: 0 never.
std::int64_t last_round(const Host& host);
Result<> save_last_round(const Host& host, std::int64_t now);

// Pure.
std::string journal_line(const JournalEntry& entry);
std::vector<std::string> thin_journal(const std::string& text);  // first line of each series, and the last of each day

}  // namespace vz
