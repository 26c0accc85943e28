// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/traffic.h"

#include <algorithm>

#include <arpa/inet.h>
#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr unsigned kAnyClass = 1;

Result<ClassedNetwork> parse_line(const std::vector<std::string>& words) {
  auto bad = [](std::string what) { return fail(Code::bad_config, std::move(what)); };
  if (words.size() != 2) return bad("not of the form CLASS ADDRESS/PREFIX");
  ClassedNetwork n;
  auto number = parse_u64(words[0]);
  if (!number || *number >= kTrafficClasses)
    return bad(fmt::format("class {} is not a number from 0 to {}", printable(words[0]), kTrafficClasses - 1));
  n.traffic_class = static_cast<unsigned>(*number);
  auto slash = words[1].find('/');
  const std::string address = words[1].substr(0, slash);
  n.v6 = address.find(':') != std::string::npos;
  if (::inet_pton(n.v6 ? AF_INET6 : AF_INET, address.c_str(), n.address) != 1)
    return bad(printable(address) + " is not an IP address");
  const unsigned bits = n.v6 ? 128 : 32;
  n.prefix = bits;
  if (slash == std::string::npos) return n;
  auto prefix = parse_u64(std::string_view(words[1]).substr(slash + 1));
  if (!prefix || *prefix > bits)
    return bad(fmt::format("{}: the prefix is not within 0 and {}", printable(words[1]), bits));
  n.prefix = static_cast<unsigned>(*prefix);
  return n;
}

Result<std::vector<ClassedNetwork>> read_network_classes(const std::string& path) {
  auto text = read_file(path);
  if (!text && text.error().sys_errno() != ENOENT) return fail(std::move(text).error());
  return parse_network_classes(text ? *text : std::string(), path);
}

void add_counts(const vz_net_count (&from)[VZ_NET_CLASSES], TrafficCount (&to)[kTrafficClasses]) {
  for (unsigned i = 0; i < kTrafficClasses; ++i) to[i] = {from[i].bytes, from[i].packets};
}

}  // namespace

std::string network_classes_path(const Host& host) { return host.paths().etc + "/conf/networks_classes"; }

Result<std::vector<ClassedNetwork>> parse_network_classes(std::string_view text, const std::string& path) {
  std::vector<ClassedNetwork> out(2);
  out[1].v6 = true;
  for (auto& any : out) any.traffic_class = kAnyClass;
  std::size_t number = 0;
  for (const auto& line : split(text, '\n')) {
    ++number;
    auto words = split_blank(std::string_view(line).substr(0, line.find('#')));
    if (words.empty()) continue;
    out.push_back(VZ_TRY_CTX(parse_line(words), fmt::format("{}: line {}", path, number)));
  }
  return out;
}

std::vector<std::string> begin_counting(const Host& host, Ctid id, const std::string& link) {
  std::vector<std::string> warnings;
  auto networks = read_network_classes(network_classes_path(host));
  if (!networks) {
    warnings.push_back(networks.error().message() + "; all traffic counts as class 1 until it is corrected");
    networks = parse_network_classes("", "");
  }
  auto maps = TrafficMaps::make(*networks);
  auto attached = maps ? maps->attach(link, id.value()) : fail(std::move(maps).error());
  if (!attached) warnings.push_back("traffic is not counted: " + attached.error().message());
  return warnings;
}

void count_traffic(const Host& host, Ctid id, const std::string& link, Reporter& reporter) {
  for (const auto& warning : begin_counting(host, id, link)) reporter.warn("Warning: " + warning);
}

void forget_traffic(Ctid id) {
  if (auto maps = TrafficMaps::open()) (void)maps->forget(id.value());
}

Traffic to_traffic(const vz_net& c) {
  Traffic t;
  add_counts(c.ip[VZ_NET_IP4][VZ_NET_IN], t.ip4_in);
  add_counts(c.ip[VZ_NET_IP4][VZ_NET_OUT], t.ip4_out);
  add_counts(c.ip[VZ_NET_IP6][VZ_NET_IN], t.ip6_in);
  add_counts(c.ip[VZ_NET_IP6][VZ_NET_OUT], t.ip6_out);
  t.other_in = {c.other[VZ_NET_IN].bytes, c.other[VZ_NET_IN].packets};
  t.other_out = {c.other[VZ_NET_OUT].bytes, c.other[VZ_NET_OUT].packets};
  return t;
}

Result<std::size_t> load_network_classes(const Host& host) {
  auto networks = VZ_TRY(read_network_classes(network_classes_path(host)));
  auto maps = VZ_TRY(TrafficMaps::make(networks));
  VZ_TRY(maps.set_classes(networks));
  return networks.size() - 2;
}

}  // namespace vz
