// SPDX-License-Identifier: GPL-2.0-or-later
// The columns of vzlist: names, headers and widths as in OpenVZ 6, values from what the library knows.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <vz/beancounters.h>
#include <vz/container.h>
#include <vz/host.h>
#include "vzctl/format.h"

namespace vzctl {

// One container with what the requested columns need.
struct ListItem {
  vz::ContainerInfo info;
  vz::Sample sample;  // both empty unless a requested column asked for them
  vz::UbSnapshot ub;
};

enum class ColumnKind { plain, beancounter, quota };

// Which number of a beancounter or quota is meant, in the order of vz::UbPart.
enum class Part { held, maxheld, barrier, limit, failcnt };

struct ColumnSpec {
  const char* name;
  const char* alias;  // of the same column; nullptr
  const char* header;
  int width;  // negative: left-aligned
  ColumnKind kind;
  Cell (*cell)(const vz::Host&, const ListItem&, Part);
  bool numeric;                   // how -s sorts
  vz::Ub row = vz::Ub::kmemsize;  // of a beancounter
};

std::span<const ColumnSpec> column_specs();

// A requested column: "physpages.l" is physpages with Part::limit and a suffix.
struct ColumnChoice {
  const ColumnSpec* spec;
  Part part = Part::held;
  std::string name;  // as requested
  bool suffixed = false;
};
std::optional<ColumnChoice> find_column(std::string_view name);
// What must be read for it; `whole` when all parts are shown, as in JSON.
vz::UbParts needed_counters(const ColumnChoice& choice, bool whole);
bool needs_disk(const ColumnChoice& choice, bool whole);

// status column: running, stopped, mounted, suspended
std::string_view status_word(const vz::Status& status);

}  // namespace vzctl
