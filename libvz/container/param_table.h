// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <span>
#include <string_view>

#include <vz/config.h>
#include "libvz/container/value.h"

namespace vz {

// Another spelling that is understood and never written.
struct ParamAlias {
  const char* alias;
  const char* name;
};

std::span<const ParamAlias> option_aliases();  // --ip for --ipadd
std::span<const ParamAlias> key_aliases();     // DCACHE for DCACHESIZE
// The key itself, or what it is an alias of.
std::string_view canonical_key(std::string_view key);

// Rows of a key that is a beancounter or a disk limit, and what a bare number of theirs counts.
bool is_limit(const Param& param);
Unit unit_of(const Param& param);

// A beancounter's or disk limit's text in the unit of its row; Code::bad_value for other kinds.
Result<Limit> parse_param_limit(const Param& param, std::string_view text);

}  // namespace vz
