// SPDX-License-Identifier: LGPL-2.1-or-later
// Text forms of network addresses.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include <arpa/inet.h>

#include "libvz/base/text.h"
#include "libvz/kernel/netlink.h"

namespace vz {
namespace {

bool all_zero(const std::uint8_t* bytes, std::size_t count) {
  return std::all_of(bytes, bytes + count, [](std::uint8_t b) { return b == 0; });
}

// Why an address cannot be a container's; nullptr when it can.
const char* refusal(const IpAddress& a) {
  const std::uint8_t* b = a.bytes;
  if (!a.v6) {
    if (b[0] == 0) return "it is in 0.0.0.0/8";
    if (b[0] == 127) return "it is a loopback address";
    if (b[0] >= 240) return "it is reserved or broadcast";
    if (b[0] >= 224) return "it is a multicast address";
    return nullptr;
  }
  if (b[0] == 0xff) return "it is a multicast address";
  if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) return "it is link-local";
  if (all_zero(b, 10) && b[10] == 0xff && b[11] == 0xff) return "it is an IPv4-mapped address";
  if (all_zero(b, 15) && b[15] <= 1) return b[15] ? "it is the loopback address" : "it is the unspecified address";
  return nullptr;
}

Result<unsigned> parse_prefix(std::string_view text, unsigned max) {
  auto number = parse_u64(text);
  if (!number || *number < 1 || *number > max)
    return fail(Code::bad_value,
                "prefix length '" + std::string(text) + "' is not between 1 and " + std::to_string(max));
  return static_cast<unsigned>(*number);
}

}  // namespace

Result<IpAddress> IpAddress::parse(const std::string& text) {
  IpAddress a;
  std::size_t slash = text.find('/');
  std::string host = text.substr(0, slash);
  a.v6 = host.find(':') != std::string::npos;
  a.prefix = a.v6 ? 128 : 32;
  // inet_pton refuses short forms (10.1), leading zeros and zones, which is what we want. A NUL inside would end it.
  bool well_formed = host.size() == std::strlen(host.c_str());
  if (!well_formed || ::inet_pton(a.v6 ? AF_INET6 : AF_INET, host.c_str(), a.bytes) != 1)
    return fail(Error(Code::bad_value, "'" + text + "' is not an IP address")
                    .with_hint("use the form 10.0.0.5, fd00::5 or 10.0.0.5/24"));
  if (slash != std::string::npos)
    a.prefix =
        VZ_TRY_CTX(parse_prefix(std::string_view(text).substr(slash + 1), a.prefix), "IP address '" + text + "'");
  if (const char* why = refusal(a))
    return fail(Code::bad_value, "'" + text + "' cannot be an address of a container: " + why);
  return a;
}

std::string IpAddress::address() const {
  char buf[INET6_ADDRSTRLEN];
  return ::inet_ntop(v6 ? AF_INET6 : AF_INET, bytes, buf, sizeof buf);
}

std::string IpAddress::str() const {
  if (prefix == (v6 ? 128u : 32u)) return address();
  return address() + "/" + std::to_string(prefix);
}

bool IpAddress::same_address(const IpAddress& o) const {
  return v6 == o.v6 && std::memcmp(bytes, o.bytes, v6 ? 16 : 4) == 0;
}

Result<MacAddress> MacAddress::parse(const std::string& text) {
  MacAddress mac;
  auto bad = [&](const char* why) {
    return fail(Error(Code::bad_value, "'" + text + "' is not a MAC address of a device: " + why)
                    .with_hint("use the form 00:18:51:a1:b2:c3"));
  };
  if (text.size() != 17) return bad("it is not six pairs of hex digits");
  for (int i = 0; i < 6; ++i) {
    const char* p = text.data() + 3 * i;
    auto digit = [](char c) { return std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20)); };
    auto value = [&](char c) -> int {
      if (c >= '0' && c <= '9') return c - '0';
      std::size_t at = digit(c);
      return at == std::string_view::npos || at < 10 ? -1 : static_cast<int>(at);
    };
    int high = value(p[0]), low = value(p[1]);
    if (high < 0 || low < 0 || (i < 5 && p[2] != ':')) return bad("it is not six pairs of hex digits");
    mac.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  if (mac.bytes[0] & 1) return bad("it is a multicast address");
  if (all_zero(mac.bytes, 6)) return bad("it is all zero");
  return mac;
}

std::string MacAddress::str() const {
  char buf[18];
  std::snprintf(buf, sizeof buf, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
                bytes[5]);
  return buf;
}

}  // namespace vz
