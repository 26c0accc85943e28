// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether a container's configuration makes sense: the values alone, and with each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/config.h>
#include <vz/error.h>

namespace vz {

enum class Severity { error, warning, recommendation };

// A setting that mends what was found; an empty value removes the key.
struct Fix {
  std::string key, value;
  bool operator==(const Fix&) const = default;
};

struct Finding {
  Severity severity;
  std::string where;  // "file:line", or the key
  std::string text;
  std::optional<Fix> fix;
};

struct ValidateOptions {
  std::optional<bool> vswap;   // nullopt: a limit of PHYSPAGES, or SWAPPAGES alone, makes it VSwap
  std::uint64_t host_ram = 0;  // bytes, to compare with; 0: do not
};

struct Validation {
  bool vswap = false;  // else beancounters of before VSwap (UBC)
  std::vector<Finding> findings;
  VZ_API std::size_t errors() const;
};

// `text` of a KEY="value" file that is called `name`. Never fails: what is wrong is found.
VZ_API Validation validate_config(std::string_view text, const std::string& name, const ValidateOptions& options);

// Sets or removes the key.
VZ_API void apply_fix(Config& config, const Fix& fix);

}  // namespace vz
