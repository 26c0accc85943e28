// SPDX-License-Identifier: LGPL-2.1-or-later
// Values of the settings: checked and turned into the canonical text of a file.
#include <algorithm>
#include <charconv>
#include <cstdio>

#include <arpa/inet.h>

#include <vz/config.h>
#include "libvz/base/text.h"
#include "libvz/container/network.h"
#include "libvz/container/param_table.h"
#include "libvz/container/value.h"
#include "libvz/kernel/capabilities.h"

namespace vz {

namespace {

enum class From { option, file };

constexpr std::string_view kFeatures[] = {"nesting", "tun",   "fuse",   "sysfs", "nfs", "sit",    "ipip",
                                          "ppp",     "ipgre", "bridge", "nfsd",  "ubc", "backups"};

tl::unexpected<Error> bad(std::string reason, std::string hint = {}) {
  return fail(Error(Code::bad_value, std::move(reason)).with_hint(std::move(hint)));
}

std::string_view name_of(const Param& p) { return p.option ? p.option : p.key; }
bool is_row(const Param& p, std::string_view name) { return name_of(p) == name; }
bool has_key(const Param& p, std::string_view key) { return p.key && key == p.key; }

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    auto byte = static_cast<unsigned char>(c);
    return byte < 32 || byte == 127;
  });
}

// Lists and free text may be empty; a number may not.
bool may_be_empty(const Param& p, From from) {
  switch (p.kind) {
    case Kind::text:
      return from == From::file || has_key(p, "NAME") || has_key(p, "DESCRIPTION") || has_key(p, "MOUNT_OPTS");
    case Kind::choice:
      return from == From::file;
    case Kind::list:
      return from == From::file || has_key(p, "NAMESERVER") || has_key(p, "SEARCHDOMAIN");
    case Kind::on_off_list:
    case Kind::device_list:
    case Kind::devnode_list:
    case Kind::netif_list:
      return from == From::file;
    default:
      return false;
  }
}

Single single_of(const Param& p) {
  bool barrier_ignored = has_key(p, "PHYSPAGES") || has_key(p, "SWAPPAGES");
  return barrier_ignored ? Single::limit_only : Single::both;
}

Result<std::uint64_t> in_range(const Param& p, std::uint64_t value) {
  if (value >= p.min && value <= p.max) return value;
  if (p.max == Limit::kUnlimited) return bad("must be at least " + std::to_string(p.min));
  return bad("out of range", "from " + std::to_string(p.min) + " to " + std::to_string(p.max));
}

Result<std::string> check_number(const Param& p, std::string_view text) {
  bool zero_is_unlimited = has_key(p, "IOPSLIMIT") || has_key(p, "CPUS") || has_key(p, "VSWAP_RATE");
  auto value = VZ_TRY(parse_size(text, Unit::count));
  if (value == Limit::kUnlimited && zero_is_unlimited) value = 0;
  return std::to_string(VZ_TRY(in_range(p, value)));
}

Result<std::string> check_limit(const Param& p, std::string_view text) {
  auto limit = VZ_TRY(parse_limit(text, unit_of(p), single_of(p)));
  (void)VZ_TRY(in_range(p, limit.limit));
  return format_limit(limit, unit_of(p));
}

Result<std::string> check_memory(const Param& p, std::string_view text) {
  auto bytes = VZ_TRY(parse_size(text, Unit::bytes));
  if (bytes < p.min) {
    bool bare = text.find_first_not_of("0123456789") == text.npos;
    return bad("must be at least " + format_size(p.min, Unit::bytes),
               bare ? "a number without a suffix is bytes; did you mean " + std::string(text) + "M?" : "");
  }
  auto pages = VZ_TRY(parse_size(text, Unit::pages));
  if (bytes != Limit::kUnlimited) pages = (bytes + 4095) / 4096;
  return "0:" + format_size(pages, Unit::pages);
}

Result<std::string> check_real(const Param&, std::string_view text) {
  char buf[64];
  auto end = std::to_chars(buf, buf + sizeof buf, VZ_TRY(parse_real(text)), std::chars_format::fixed);
  return std::string(buf, end.ptr);
}

Result<std::string> check_cpu_set(const Param& p, std::string_view text) {
  if (text == "all") return std::string(text);
  if (text == "auto" && !has_key(p, "NODEMASK")) return std::string(text);
  if (text == "auto") return bad("auto is for --cpumask only", "write a list such as 0-1, or all");
  return normalize_cpu_list(text);
}

Result<std::string> check_choice(const Param& p, std::string_view text) {
  auto words = split(p.metavar, '|');
  if (std::find(words.begin(), words.end(), text) != words.end()) return std::string(text);
  return bad("unknown word", "one of " + join(words, ", "));
}

Result<> check_nameserver(const std::string& word) {
  unsigned char address[16];
  if (::inet_pton(AF_INET, word.c_str(), address) == 1 || ::inet_pton(AF_INET6, word.c_str(), address) == 1) return {};
  return bad("'" + printable(word) + "' is not an IP address", "write an IPv4 or IPv6 address, or inherit");
}

Result<> check_list_word(const Param& p, const std::string& word) {
  if (has_key(p, "NAMESERVER")) return check_nameserver(word);
  if (has_key(p, "SEARCHDOMAIN")) return check_hostname(word.ends_with('.') ? word.substr(0, word.size() - 1) : word);
  if (has_key(p, "NETDEV")) {
    for (std::string_view prefix : {"venet", "tun", "tap"}) {
      if (word.starts_with(prefix)) return bad("device " + printable(word) + " cannot be moved");
    }
    return word == "lo" ? bad("device lo cannot be moved") : check_ifname(word);
  }
  if (has_control(word) || word.find_first_of("\"\\`$") != word.npos)
    return bad("'" + printable(word) + "' has a character that is not allowed");
  return {};
}

Result<std::string> check_addresses(std::string_view text) {
  std::vector<std::string> words;
  for (const auto& address : VZ_TRY(parse_ip_list(std::string(text)))) {
    auto word = address.str();
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(std::move(word));
  }
  return join(words, " ");
}

Result<std::string> check_list(const Param& p, std::string_view text) {
  if (has_key(p, "IP_ADDRESS")) return check_addresses(text);
  if (is_row(p, "--ipdel")) return text == "all" ? std::string(text) : check_addresses(text);
  std::vector<std::string> out;
  for (auto& word : split_words(text)) {
    bool inherits = word == "inherit" && (has_key(p, "NAMESERVER") || has_key(p, "SEARCHDOMAIN"));
    if (!inherits) VZ_TRY(check_list_word(p, word));
    if (std::find(out.begin(), out.end(), word) == out.end()) out.push_back(std::move(word));
  }
  bool mixed = out.size() > 1 && std::find(out.begin(), out.end(), "inherit") != out.end();
  if (mixed) return bad("inherit stands alone");
  return join(out, " ");
}

// Later words win over earlier ones of the same name, in place.
template <class Entry, class Same>
std::vector<Entry> latest(std::vector<Entry> list, Same same) {
  std::vector<Entry> out;
  for (auto& entry : list) {
    auto at = std::find_if(out.begin(), out.end(), [&](const Entry& e) { return same(e, entry); });
    if (at == out.end())
      out.push_back(std::move(entry));
    else
      *at = std::move(entry);
  }
  return out;
}

bool same_name(const OnOff& a, const OnOff& b) { return a.name == b.name; }
bool same_node(const DevnodeEntry& a, const DevnodeEntry& b) { return a.name == b.name; }
bool same_device(const DeviceEntry& a, const DeviceEntry& b) {
  return a.type == b.type && a.major == b.major && a.minor == b.minor;
}

Result<std::string> check_on_off(const Param& p, std::string_view text) {
  auto list = VZ_TRY(parse_on_off_list(text));
  if (has_key(p, "CAPABILITY")) VZ_TRY(apply_capability_changes(0, text));
  for (const auto& item : list) {
    bool known = std::find(std::begin(kFeatures), std::end(kFeatures), item.name) != std::end(kFeatures);
    if (has_key(p, "FEATURES") && !known)
      return bad("unknown feature '" + printable(item.name) + "'",
                 "known are nesting, tun, fuse, ubc, backups and OpenVZ's own");
  }
  return format_on_off_list(latest(std::move(list), same_name));
}

Result<> check_mac(std::string_view text) {
  auto parsed = MacAddress::parse(std::string(text));
  return parsed ? Result<>() : fail(std::move(parsed).error());
}

// "IF[,MAC,HOST_IF,HOST_MAC,BRIDGE]"; what is left out is chosen later.
Result<> check_netif_option(std::string_view text) {
  constexpr bool kIsMac[] = {false, true, false, true, false};
  auto parts = split(text, ',');
  if (parts.size() > std::size(kIsMac)) return bad("too many parts", "write IF[,MAC,HOST_IF,HOST_MAC,BRIDGE]");
  if (parts[0].empty()) return bad("the interface's name is missing", "write IF[,MAC,HOST_IF,HOST_MAC,BRIDGE]");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].empty()) VZ_TRY(kIsMac[i] ? check_mac(parts[i]) : check_ifname(parts[i]));
  }
  return {};
}

Result<std::string> check_netif(std::string_view text, From from) {
  if (from == From::file) return format_netif(VZ_TRY(parse_netif(std::string(text))));
  VZ_TRY(check_netif_option(text));
  return std::string(text);
}

Result<> check_layout(std::string_view text) {
  for (std::string_view word : {"image", "ploop", "dir", "simfs", "ploop:expanded", "ploop:plain", "ploop:raw"}) {
    if (text == word) return {};
  }
  return bad("unknown layout", "image (ploop) or dir (simfs)");
}

Result<> check_meminfo(std::string_view text) {
  if (text == "none") return {};
  auto colon = text.find(':');
  auto mode = text.substr(0, colon);
  if (colon == text.npos || (mode != "pages" && mode != "privvmpages"))
    return bad("unknown mode", "write none, pages:N or privvmpages:N");
  VZ_TRY(parse_u64(text.substr(colon + 1)));
  return {};
}

Result<> check_userpasswd(std::string_view text) {
  auto colon = text.find(':');
  if (colon == text.npos || colon == 0 || colon + 1 == text.size())
    return bad("no user name or no password", "write USER:PASSWORD");
  return {};
}

// ${VEID} or $VEID at `at`.
bool is_veid(std::string_view text, std::size_t at) {
  return text.substr(at, 5) == "$VEID" || text.substr(at, 7) == "${VEID}";
}

Result<> check_path(std::string_view text) {
  if (!text.starts_with('/')) return bad("not an absolute path");
  if (text.size() > 4000) return bad("the path is too long");
  for (auto at = text.find('$'); at != text.npos; at = text.find('$', at + 1)) {
    if (!is_veid(text, at)) return bad("unknown variable", "only $VEID is replaced");
  }
  return {};
}

Result<> check_mount_opts(std::string_view text) {
  if (text.find_first_of(" \t") != text.npos) return bad("no blanks are allowed", "separate options by commas");
  return {};
}

struct TextRule {
  std::string_view name;  // option, or key of a row without one
  Result<> (*check)(std::string_view);
};

constexpr TextRule kTextRules[] = {{"--name", check_container_name},
                                   {"--hostname", check_hostname},
                                   {"--ostemplate", check_file_name},
                                   {"ORIGIN_SAMPLE", check_file_name},
                                   {"CONFIGFILE", check_file_name},
                                   {"DEF_OSTEMPLATE", check_file_name},
                                   {"--private", check_path},
                                   {"--root", check_path},
                                   {"--layout", check_layout},
                                   {"--meminfo", check_meminfo},
                                   {"--userpasswd", check_userpasswd},
                                   {"--netif_del", check_ifname},
                                   {"--ifname", check_ifname},
                                   {"--host_ifname", check_ifname},
                                   {"--bridge", check_ifname},
                                   {"--netdev_del", check_ifname},
                                   {"--mac", check_mac},
                                   {"--host_mac", check_mac},
                                   {"--mount_opts", check_mount_opts}};

// Characters that would end or change a quoted word of a shell. A password is not stored.
Result<> check_storable(const Param& p, std::string_view text) {
  if (has_control(text)) return bad("control characters and line ends are not allowed");
  if (!p.key) return {};
  if (text.find_first_of("\"\\`") != text.npos) return bad("the characters \", \\ and ` are not allowed");
  return {};
}

Result<std::string> check_text(const Param& p, std::string_view text, From from) {
  if (from == From::option) VZ_TRY(check_storable(p, text));
  if (from == From::file && text.find('\0') != text.npos) return bad("the value has a NUL byte");
  // Paths of a file are judged by Host::load(), which fails: a bad one must never fall back to a default.
  bool path_of_file = from == From::file && (has_key(p, "VE_PRIVATE") || has_key(p, "VE_ROOT"));
  for (const TextRule& rule : kTextRules) {
    if (is_row(p, rule.name) && !path_of_file) VZ_TRY(rule.check(text));
  }
  return std::string(text);
}

Result<std::string> canonical(const Param& p, std::string_view text, From from) {
  if (text.empty()) return may_be_empty(p, from) ? Result<std::string>("") : bad("the value is empty");
  switch (p.kind) {
    case Kind::text:
      return check_text(p, text, from);
    case Kind::yes_no:
      return text == "yes" || text == "no" ? Result<std::string>(text) : bad("neither yes nor no");
    case Kind::number:
      return check_number(p, text);
    case Kind::pages:
    case Kind::bytes:
    case Kind::count:
    case Kind::kib:
      return check_limit(p, text);
    case Kind::memory:
      return check_memory(p, text);
    case Kind::real:
      return check_real(p, text);
    case Kind::list:
      return check_list(p, text);
    case Kind::cpu_set:
      return check_cpu_set(p, text);
    case Kind::io_rate:
      return std::to_string(VZ_TRY(parse_io_rate(text, from == From::option ? 1 << 20 : 1)));
    case Kind::percent:
      return std::to_string(VZ_TRY(in_range(p, VZ_TRY(parse_percent(text)))));
    case Kind::on_off_list:
      return check_on_off(p, text);
    case Kind::device_list:
      return format_device_list(latest(VZ_TRY(parse_device_list(text)), same_device));
    case Kind::devnode_list:
      return format_devnode_list(latest(VZ_TRY(parse_devnode_list(text)), same_node));
    case Kind::netif_list:
      return check_netif(text, from);
    case Kind::choice:
      return check_choice(p, text);
  }
  return bad("unknown kind of setting");
}

// Words of `added` that `old` lacks, at its end.
std::string append_words(std::string_view old, std::string_view added) {
  auto words = split_words(old);
  for (auto& word : split_words(added)) {
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(std::move(word));
  }
  return join(words, " ");
}

}  // namespace

bool is_limit(const Param& p) {
  return p.kind == Kind::pages || p.kind == Kind::bytes || p.kind == Kind::count || p.kind == Kind::kib;
}

Unit unit_of(const Param& p) {
  switch (p.kind) {
    case Kind::pages:
      return Unit::pages;
    case Kind::bytes:
      return Unit::bytes;
    case Kind::kib:
      return Unit::kib;
    default:
      return Unit::count;
  }
}

Result<Limit> parse_param_limit(const Param& param, std::string_view text) {
  if (!is_limit(param)) return bad("not a limit");
  return parse_limit(text, unit_of(param), single_of(param));
}

Result<std::string> param_from_option(const Param& param, std::string_view text) {
  auto out = canonical(param, text, From::option);
  if (out) return out;
  bool secret = is_row(param, "--userpasswd");
  auto what = std::string(name_of(param)) + (secret ? "" : " " + (text.empty() ? "''" : printable(text)));
  return fail(std::move(out).error().context(what).with_code(Code::bad_value));
}

Result<> param_check_file(const Param& param, std::string_view text) {
  auto out = canonical(param, text, From::file);
  if (out) return {};
  auto what = std::string(param.key ? param.key : name_of(param)) + "=\"" + printable(text) + "\"";
  return fail(std::move(out).error().context(what).with_code(Code::bad_config));
}

std::string param_merge(const Param& param, std::string_view old, std::string_view added) {
  std::string both = std::string(old) + " " + std::string(added);
  switch (param.kind) {
    case Kind::on_off_list:
    case Kind::device_list:
    case Kind::devnode_list: {
      auto merged = canonical(param, both, From::file);
      return merged ? *merged : std::string(added);
    }
    case Kind::list:
      return append_words(old, added);
    case Kind::netif_list:
      return old.empty() || added.empty() ? std::string(old) + std::string(added)
                                          : std::string(old) + ";" + std::string(added);
    default:
      return std::string(added);
  }
}

}  // namespace vz
