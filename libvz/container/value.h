// SPDX-License-Identifier: LGPL-2.1-or-later
// The grammar of values, on the command line and in files. Pure functions.
//
// Errors carry Code::bad_value and the bare reason ("unknown size suffix 'Q'"); the caller puts the option or the
// key in front.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/config.h>
#include <vz/error.h>

namespace vz {

// Text of a user or a file made fit for a message: at most 60 bytes, control characters as \xNN.
std::string printable(std::string_view text);

// What a bare number counts. A page is 4 KiB on every host, as beancounters always had it.
enum class Unit { count, bytes, pages, kib };

// `N`, `N.N` with a suffix, `unlimited`, `max` or `infinity` (-> Limit::kUnlimited); the result is in `unit`, rounded
// up. Suffixes, powers of 1024, any case: B K M G T, also as KB, Ki, KiB; P is pages. Counts take none.
Result<std::uint64_t> parse_size(std::string_view text, Unit unit);
// The shortest exact form: "512M", "65537", "unlimited".
std::string format_size(std::uint64_t value, Unit unit);

// What one number without a colon means.
enum class Single { both, limit_only };  // `N` is N:N, or 0:N (physpages and swappages ignore the barrier)
// barrier[:limit]; a barrier above the limit is refused.
Result<Limit> parse_limit(std::string_view text, Unit unit, Single single);
std::string format_limit(const Limit& limit, Unit unit);

// Bytes per second, 0 and `unlimited` mean no limit. A bare number counts `bare` bytes (MiB on the command line, 1 in
// a file).
Result<std::uint64_t> parse_io_rate(std::string_view text, std::uint64_t bare);
Result<std::uint64_t> parse_percent(std::string_view text);  // N or N%; `unlimited` is 0
Result<double> parse_real(std::string_view text);            // digits[.digits], at most 10^9

// "0-3,5" sorted, merged and without blanks; numbers below 8192 (the kernel's largest NR_CPUS).
Result<std::string> normalize_cpu_list(std::string_view text);

// One word of FEATURES or CAPABILITY.
struct OnOff {
  std::string name;  // lower case
  bool on = false;
  bool operator==(const OnOff&) const = default;
};
Result<std::vector<OnOff>> parse_on_off_list(std::string_view text);  // separated by blanks or commas
std::string format_on_off_list(const std::vector<OnOff>& list);

// One word of DEVICES: b|c:MAJOR:MINOR|all:[r][w][q]|none. Loop devices are refused: a container that writes to one
// writes to another container's disk.
struct DeviceEntry {
  char type = 'c';
  std::uint32_t major = 0;
  std::optional<std::uint32_t> minor;  // nullopt: all
  bool read = false, write = false, quota = false;
  bool operator==(const DeviceEntry&) const = default;
};
Result<std::vector<DeviceEntry>> parse_device_list(std::string_view text);
std::string format_device_list(const std::vector<DeviceEntry>& rules);

// One word of DEVNODES: NAME:[r][w][q]|none, NAME below /dev.
struct DevnodeEntry {
  std::string name;
  bool read = false, write = false, quota = false;
  bool operator==(const DevnodeEntry&) const = default;
};
Result<std::vector<DevnodeEntry>> parse_devnode_list(std::string_view text);
std::string format_devnode_list(const std::vector<DevnodeEntry>& rules);

// Names: a container's (--name), a host's, an interface's, a file name without '/'.
Result<> check_container_name(std::string_view text);
Result<> check_hostname(std::string_view text);
Result<> check_ifname(std::string_view text);
Result<> check_file_name(std::string_view text);

// Words separated by blanks or commas, no empty ones.
std::vector<std::string> split_words(std::string_view text);

}  // namespace vz
