// SPDX-License-Identifier: LGPL-2.1-or-later
// The Param table (one row per setting) and the configuration files that it reads and writes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>

namespace vz {

// A beancounter value `barrier:limit`; kUnlimited is LONG_MAX as in /proc/user_beancounters.
struct Limit {
  static constexpr std::uint64_t kUnlimited = 9223372036854775807ull;
  std::uint64_t barrier = kUnlimited;
  std::uint64_t limit = kUnlimited;
  bool operator==(const Limit&) const = default;
};

// What a value looks like, on the command line and in a file.
enum class Kind {
  text,          // any one-line text without '"'
  yes_no,        // yes|no
  number,        // plain decimal, range in the row
  pages,         // barrier[:limit] in 4 KiB pages, suffixes T G M K P(ages) B, "unlimited"
  bytes,         // barrier[:limit] in bytes, same suffixes
  count,         // barrier[:limit], no suffixes
  kib,           // soft[:hard] in KiB blocks, suffixes (diskspace)
  memory,        // one size, suffixes: --ram, --swap (stored through another key)
  real,          // non-negative decimal fraction
  list,          // words separated by blanks or commas; repeated options append
  cpu_set,       // 0-3,5 | all | auto
  io_rate,       // bytes/s; the command line's bare number means MB/s
  percent,       // N or N%
  on_off_list,   // name:on|off,…
  device_list,   // b|c:MAJ:MIN|all:[r][w][q]|none, blank separated
  devnode_list,  // NAME:[r][w][q]|none
  netif_list,    // ifname=…,mac=…;ifname=…
  choice,        // one of the words of metavar, separated by '|'
};

// When a changed value takes effect.
enum class Applies {
  online,        // at once on a running container
  restart,       // only at the next start (--setmode)
  start,         // read at start or by the host tools only; changing it on a running container just saves
  create,        // only an option of create
  not_enforced,  // accepted, kept and reported as not enforced yet; live change is refused (Code::not_enforced)
};

// One setting. This table drives files, options, help, man pages and completion.
struct Param {
  const char* key;      // name in the file, "PHYSPAGES"; nullptr: an option with no key of its own (--ram)
  const char* option;   // "--physpages"; nullptr: file only
  const char* metavar;  // "BAR[:LIM]"
  Kind kind;
  Applies applies;
  const char* group;  // heading in help and man page: "Memory", "CPU", "Network", …
  const char* help;   // one or more sentences; units and ranges
  std::uint64_t min = 0;
  std::uint64_t max = Limit::kUnlimited;
};

// All rows, in the order of the documentation.
VZ_API std::span<const Param> params();
VZ_API const Param* find_param_by_key(std::string_view key);        // aliases (DCACHE…) resolved
VZ_API const Param* find_param_by_option(std::string_view option);  // with the leading dashes

// Checks option text and turns it into the canonical text of the file (`512M` for PHYSPAGES -> `0:512M`).
// Code::bad_value with option, value and reason.
VZ_API Result<std::string> param_from_option(const Param& param, std::string_view text);
// Checks the text of a file. Code::bad_config with key, value and reason.
VZ_API Result<> param_check_file(const Param& param, std::string_view text);

// `added` on top of `old`, both canonical: on/off lists, devices and devnodes are merged by name, other lists append
// what is new, everything else is replaced. For repeated options, and for `set` on the words kinds of a file.
VZ_API std::string param_merge(const Param& param, std::string_view old, std::string_view added);

// A parsed value warning: the file goes on, the line is ignored (as vzctl 4 did).
struct ConfigWarning {
  std::string where;  // "file:line"
  std::string text;
};

// One KEY="value" file, shell-sourceable. Unknown keys, comments, order and blank lines survive a save.
// Values are kept as canonical text; the typed getters parse on demand.
class VZ_API Config {
 public:
  Config();
  Config(const Config&);
  Config(Config&&) noexcept;
  Config& operator=(const Config&);
  Config& operator=(Config&&) noexcept;
  ~Config();

  // Garbage lines and bad values become warnings. Fails only when the file cannot be read (Code::no_config) or
  // exceeds its bounds (16 MiB; one line 1 MiB is legal).
  static Result<Config> load(const std::string& path);
  static Config parse(std::string_view text, std::string name);
  std::string text() const;                      // what save() would write
  Result<> save(const std::string& path) const;  // atomic, follows symlinks, mode 0644; Code::save_config

  const std::vector<ConfigWarning>& warnings() const;

  std::optional<std::string> get(std::string_view key) const;  // last value wins, as in a shell
  void set(std::string_view key, std::string_view value);      // keeps the place of an existing line
  void unset(std::string_view key);
  std::vector<std::string> keys() const;
  // Values of `over` win; used for vz.conf <- ID.conf and file <- options.
  void merge(const Config& over);
  // The same as a copy of `base` with this one merged over it, but the lines of `base` are shared until something is
  // changed: thousands of containers inherit from one vz.conf.
  void inherit(const Config& base);

  // Typed getters: nullopt when unset or invalid (invalid ones are in warnings()).
  std::optional<bool> yes_no(std::string_view key) const;
  std::optional<std::uint64_t> number(std::string_view key) const;
  std::optional<double> real(std::string_view key) const;
  std::optional<Limit> limit(std::string_view key) const;  // pages, bytes, counts or KiB as the row says
  std::vector<std::string> words(std::string_view key) const;

 private:
  struct Impl;
  Impl* impl_;
};

}  // namespace vz
