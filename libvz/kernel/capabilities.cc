// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/capabilities.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <string>
#include <vector>

#include <linux/capability.h>

#include "libvz/base/text.h"

namespace vz {

namespace {

// By number, as in linux/capability.h.
constexpr std::array<std::string_view, 41> kNames = {"CHOWN",
                                                     "DAC_OVERRIDE",
                                                     "DAC_READ_SEARCH",
                                                     "FOWNER",
                                                     "FSETID",
                                                     "KILL",
                                                     "SETGID",
                                                     "SETUID",
                                                     "SETPCAP",
                                                     "LINUX_IMMUTABLE",
                                                     "NET_BIND_SERVICE",
                                                     "NET_BROADCAST",
                                                     "NET_ADMIN",
                                                     "NET_RAW",
                                                     "IPC_LOCK",
                                                     "IPC_OWNER",
                                                     "SYS_MODULE",
                                                     "SYS_RAWIO",
                                                     "SYS_CHROOT",
                                                     "SYS_PTRACE",
                                                     "SYS_PACCT",
                                                     "SYS_ADMIN",
                                                     "SYS_BOOT",
                                                     "SYS_NICE",
                                                     "SYS_RESOURCE",
                                                     "SYS_TIME",
                                                     "SYS_TTY_CONFIG",
                                                     "MKNOD",
                                                     "LEASE",
                                                     "AUDIT_WRITE",
                                                     "AUDIT_CONTROL",
                                                     "SETFCAP",
                                                     "MAC_OVERRIDE",
                                                     "MAC_ADMIN",
                                                     "SYSLOG",
                                                     "WAKE_ALARM",
                                                     "BLOCK_SUSPEND",
                                                     "AUDIT_READ",
                                                     "PERFMON",
                                                     "BPF",
                                                     "CHECKPOINT_RESTORE"};

constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

// Powers over the host's kernel, clock, log and security modules. The kernel refuses them to a user namespace anyway;
// without the bit systemd skips the units that would only fail (ConditionCapability=: journald-audit needs AUDIT_READ).
// AUDIT_WRITE, AUDIT_CONTROL stay: login and sshd look for them and take the kernel's refusal for "no audit".
// SYS_BOOT stays: reboot(2) in a pid namespace ends the container. WAKE_ALARM timers cannot be checkpointed.
constexpr std::uint64_t kWithheld = bit(CAP_SYS_MODULE) | bit(CAP_SYS_RAWIO) | bit(CAP_SYS_TIME) |
                                    bit(CAP_MAC_OVERRIDE) | bit(CAP_MAC_ADMIN) | bit(CAP_SYSLOG) | bit(CAP_WAKE_ALARM) |
                                    bit(CAP_BLOCK_SUSPEND) | bit(CAP_AUDIT_READ) | bit(CAP_PERFMON) | bit(CAP_BPF);

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

// The bit of a name; 0 for OpenVZ's own names, which have no meaning here; nullopt for an unknown name.
std::optional<std::uint64_t> find(std::string_view text) {
  std::string name = upper(text);
  if (name.rfind("CAP_", 0) == 0) name.erase(0, 4);
  if (name == "VE_ADMIN" || name == "SETVEID") return 0;
  auto at = std::find(kNames.begin(), kNames.end(), name);
  if (at == kNames.end()) return std::nullopt;
  return bit(static_cast<unsigned>(at - kNames.begin()));
}

}  // namespace

std::uint64_t default_capabilities() { return (bit(kNames.size()) - 1) & ~kWithheld; }

std::string_view capability_name(unsigned number) { return number < kNames.size() ? kNames[number] : ""; }

Result<std::uint64_t> apply_capability_changes(std::uint64_t base, std::string_view text) {
  std::string list(text);
  std::replace(list.begin(), list.end(), ',', ' ');
  for (const auto& entry : split_blank(list)) {
    auto colon = entry.find(':');
    std::string state = colon == std::string::npos ? "" : upper(std::string_view(entry).substr(colon + 1));
    if (state != "ON" && state != "OFF")
      return fail(Error(Code::bad_value, "capability '" + entry + "': expected NAME:on or NAME:off"));
    auto mask = find(std::string_view(entry).substr(0, colon));
    if (!mask)
      return fail(Error(Code::bad_value, "capability '" + entry.substr(0, colon) + "' does not exist")
                      .with_hint("the names are those of capabilities(7), with or without CAP_"));
    base = state == "ON" ? base | *mask : base & ~*mask;
  }
  return base;
}

}  // namespace vz
