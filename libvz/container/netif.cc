// SPDX-License-Identifier: LGPL-2.1-or-later
// The NETIF setting: text forms, and what is filled in when the user gives only part of an interface.
#include <algorithm>
#include <random>

#include "libvz/base/text.h"
#include "libvz/container/network.h"

namespace vz {
namespace {

// IFNAMSIZ less the NUL.
constexpr std::size_t kMaxName = 15;
// Of the whole list: a configuration file is not a way to make the host allocate devices without end.
constexpr std::size_t kMaxNetifs = 256;

// A name that the kernel accepts and that stays one word in NETIF, in sysctl paths and in scripts.
Result<> check_name(const std::string& what, const std::string& name) {
  auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  if (name.empty() || name.size() > kMaxName || name == "." || name == ".." || name[0] == '-' ||
      !std::all_of(name.begin(), name.end(), plain))
    return fail(Error(Code::bad_value, what + " '" + name + "' is not the name of a network device")
                    .with_hint("use 1 to 15 letters, digits, '.', '_' or '-'"));
  return {};
}

Result<> check_names(const Netif& n) {
  VZ_TRY(check_name("interface name", n.ifname));
  if (n.ifname == "lo" || n.ifname == "venet0")
    return fail(Code::bad_value, "interface name '" + n.ifname + "' is taken inside every container");
  if (!n.host_ifname.empty()) VZ_TRY(check_name("host interface name", n.host_ifname));
  if (!n.bridge.empty()) VZ_TRY(check_name("bridge", n.bridge));
  return {};
}

Result<> set_mac(std::string& field, const std::string& text) {
  if (text.empty()) return {};
  field = VZ_TRY(MacAddress::parse(text)).str();
  return {};
}

Result<> set_field(Netif& n, const std::string& key, const std::string& value) {
  if (key == "ifname") return n.ifname = value, Result<>{};
  if (key == "bridge") return n.bridge = value, Result<>{};
  if (key == "host_ifname") return n.host_ifname = value, Result<>{};
  if (key == "mac") return set_mac(n.mac, value);
  if (key == "host_mac") return set_mac(n.host_mac, value);
  if (key == "mac_filter" && (value == "on" || value == "off" || value.empty()))
    return n.mac_filter = value != "off", Result<>{};
  if (key == "mac_filter") return fail(Code::bad_value, "mac_filter '" + value + "' is neither on nor off");
  return fail(Code::bad_value, "'" + key + "' is not a field of an interface");
}

Result<Netif> parse_record(const std::string& record) {
  Netif n;
  for (const std::string& part : split(record, ',')) {
    std::string field(trim(part));
    if (field.empty()) continue;
    std::size_t equals = field.find('=');
    if (equals == std::string::npos) return fail(Code::bad_value, "'" + field + "' is not of the form key=value");
    VZ_TRY(set_field(n, field.substr(0, equals), field.substr(equals + 1)));
  }
  VZ_TRY(check_names(n));
  return n;
}

// 00:18:51 is the prefix that OpenVZ's interfaces have always had. A bridge takes the lowest MAC of its ports for its
// own, so the host end gets fe: as the first byte; otherwise a new container would change the bridge's address.
std::string random_mac(std::uint8_t first) {
  std::random_device random;
  std::uint32_t r = random();
  MacAddress mac{{first, 0x18, 0x51, static_cast<std::uint8_t>(r >> 16), static_cast<std::uint8_t>(r >> 8),
                  static_cast<std::uint8_t>(r)}};
  return mac.str();
}

std::string host_name(Ctid id, unsigned n) {
  std::string name = "veth" + id.str() + "." + std::to_string(n);
  if (name.size() > kMaxName) name = "v" + id.str() + "." + std::to_string(n);
  return name;
}

// eth0 -> veth101.0 when that is free, else the lowest free number.
std::string free_host_name(Ctid id, const std::string& ifname, const std::vector<Netif>& existing) {
  auto is_free = [&](const std::string& name) {
    return name.size() <= kMaxName &&
           std::none_of(existing.begin(), existing.end(), [&](const Netif& n) { return n.host_ifname == name; });
  };
  std::size_t digits = ifname.find_last_not_of("0123456789");
  auto number = parse_u64(std::string_view(ifname).substr(digits == std::string::npos ? 0 : digits + 1));
  if (number && *number < kMaxNetifs && is_free(host_name(id, static_cast<unsigned>(*number))))
    return host_name(id, static_cast<unsigned>(*number));
  unsigned n = 0;
  while (!is_free(host_name(id, n))) ++n;
  return host_name(id, n);
}

}  // namespace

Result<std::vector<Netif>> parse_netif(const std::string& text) {
  std::vector<Netif> list;
  for (const std::string& part : split(text, ';')) {
    if (trim(part).empty()) continue;
    if (list.size() == kMaxNetifs)
      return fail(Code::bad_config, "NETIF has more than " + std::to_string(kMaxNetifs) + " interfaces");
    auto n = parse_record(part);
    if (!n)
      return fail(std::move(n.error()).with_code(Code::bad_config).context("NETIF '" + std::string(trim(part)) + "'"));
    for (const Netif& other : list)
      if (other.ifname == n->ifname) return fail(Code::bad_config, "NETIF has two interfaces " + n->ifname);
    list.push_back(std::move(*n));
  }
  return list;
}

std::string format_netif(const std::vector<Netif>& list) {
  std::vector<std::string> records;
  for (const Netif& n : list) {
    std::string record = "ifname=" + n.ifname;
    auto add = [&](const char* key, const std::string& value) {
      if (!value.empty()) record += "," + std::string(key) + "=" + value;
    };
    add("bridge", n.bridge);
    add("mac", n.mac);
    add("host_ifname", n.host_ifname);
    add("host_mac", n.host_mac);
    if (!n.mac_filter) add("mac_filter", "off");
    records.push_back(std::move(record));
  }
  return join(records, ";");
}

Result<Netif> netif_from_option(const std::string& text, Ctid id, const std::vector<Netif>& existing) {
  std::vector<std::string> fields = split(text, ',');
  if (fields.size() > 5)
    return fail(Error(Code::bad_value, "'" + text + "' has more than five fields")
                    .with_hint("use the form ifname[,mac,host_ifname,host_mac,bridge]"));
  fields.resize(5);
  Netif n;
  n.ifname = fields[0];
  n.host_ifname = fields[2];
  n.bridge = fields[4];
  VZ_TRY(set_mac(n.mac, fields[1]));
  VZ_TRY(set_mac(n.host_mac, fields[3]));
  VZ_TRY(check_names(n));
  for (const Netif& other : existing) {
    if (other.ifname == n.ifname)
      return fail(Code::veth, "container " + id.str() + " already has an interface " + n.ifname);
    if (!n.host_ifname.empty() && other.host_ifname == n.host_ifname)
      return fail(Code::veth, "host interface " + n.host_ifname + " already belongs to " + other.ifname);
  }
  if (existing.size() >= kMaxNetifs)
    return fail(Code::veth, "container " + id.str() + " already has " + std::to_string(kMaxNetifs) + " interfaces");
  if (n.mac.empty()) n.mac = random_mac(0x00);
  if (n.host_mac.empty()) n.host_mac = random_mac(0xfe);
  if (n.host_ifname.empty()) n.host_ifname = free_host_name(id, n.ifname, existing);
  return n;
}

Result<std::vector<IpAddress>> parse_ip_list(const std::string& text) {
  std::vector<IpAddress> list;
  std::string blanks = text;
  std::replace(blanks.begin(), blanks.end(), ',', ' ');
  for (const std::string& word : split_blank(blanks)) {
    auto a = VZ_TRY(IpAddress::parse(word));
    bool known = std::any_of(list.begin(), list.end(), [&](const IpAddress& o) { return o.same_address(a); });
    if (!known) list.push_back(a);
  }
  return list;
}

}  // namespace vz
