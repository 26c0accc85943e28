// SPDX-License-Identifier: GPL-2.0-or-later
// Beancounters as vzubc shows them: pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <vz/beancounters.h>
#include "vzctl/format.h"

namespace vzctl {

// What differs from an earlier look.
struct UbcChange {
  std::optional<std::int64_t> held;
  std::optional<std::uint64_t> failcnt;  // of a container that started anew: since it started
};

struct UbcView {
  bool quiet = false;       // only rows with refusals, or close to barrier or limit
  double quiet_held = 0.5;  // share of barrier or limit from which held is close; 0: never
  double quiet_maxheld = 0.8;
  bool relative = false;     // failcnt since the last look
  bool incremental = false;  // a column with how held changed
  bool color = false;
};

using UbcLook = std::map<std::uint32_t, vz::UbSnapshot>;  // by container id

UbcChange ubc_change(const UbcLook& before, const vz::UbSnapshot& now, vz::Ub row);

// 4 or 5 characters: "-" for nothing, "4.16M", "240".
std::string ubc_amount(std::optional<std::uint64_t> value, vz::UbUnit unit);

// One table per container; "" when quiet and nothing is worth a line. `names`: by id, may lack some.
std::string ubc_text(const std::vector<vz::UbSnapshot>& now, const std::map<std::uint32_t, std::string>& names,
                     const UbcLook& before, const UbcView& view);
Value ubc_value(const std::vector<vz::UbSnapshot>& now, const UbcLook& before, const UbcView& view);

// A look kept for the next one, in the format that vz::parse_ub_text() reads. What was not known is left out.
std::string ubc_store(const std::vector<vz::UbSnapshot>& now);
UbcLook ubc_look(const std::vector<vz::UbSnapshot>& stored);

// The table of rows for the manual, in reStructuredText: `vzctl help --rst beancounters`. Documentation/accounting.rst
// has it; a test compares.
std::string ubc_rst();

}  // namespace vzctl
