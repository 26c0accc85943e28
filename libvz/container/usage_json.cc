// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/usage_json.h"

#include <array>
#include <utility>

namespace vz {

namespace {

using Json = nlohmann::json;

struct Field {
  const char* name;
  std::uint64_t Usage::*member;
};
constexpr std::array kFields = {
    Field{"run_s", &Usage::run_s},
    Field{"cpu_ns", &Usage::cpu_ns},
    Field{"cpu_user_ns", &Usage::cpu_user_ns},
    Field{"cpu_system_ns", &Usage::cpu_system_ns},
    Field{"read_bytes", &Usage::read_bytes},
    Field{"written_bytes", &Usage::written_bytes},
    Field{"reads", &Usage::reads},
    Field{"writes", &Usage::writes},
    Field{"ram_kib_s", &Usage::ram_kib_s},
    Field{"swap_kib_s", &Usage::swap_kib_s},
};

using Classes = TrafficCount (Traffic::*)[kTrafficClasses];
constexpr std::array kTables = {
    std::pair<const char*, Classes>{"ip4_in", &Traffic::ip4_in},
    std::pair<const char*, Classes>{"ip4_out", &Traffic::ip4_out},
    std::pair<const char*, Classes>{"ip6_in", &Traffic::ip6_in},
    std::pair<const char*, Classes>{"ip6_out", &Traffic::ip6_out},
};
constexpr std::array kOthers = {
    std::pair<const char*, TrafficCount Traffic::*>{"other_in", &Traffic::other_in},
    std::pair<const char*, TrafficCount Traffic::*>{"other_out", &Traffic::other_out},
};

Json count_to_json(const TrafficCount& c) { return Json::array({c.bytes, c.packets}); }

bool count_from_json(const Json& json, TrafficCount& out) {
  if (!json.is_array() || json.size() != 2 || !json[0].is_number_unsigned() || !json[1].is_number_unsigned())
    return false;
  out = {json[0].get<std::uint64_t>(), json[1].get<std::uint64_t>()};
  return true;
}

// {"1": [bytes, packets]}
bool classes_from_json(const Json& json, TrafficCount (&out)[kTrafficClasses]) {
  if (!json.is_object()) return false;
  for (unsigned i = 0; i < kTrafficClasses; ++i) {
    auto found = json.find(std::to_string(i));
    if (found != json.end() && !count_from_json(*found, out[i])) return false;
  }
  return true;
}

}  // namespace

bool number_from_json(const Json& json, const char* name, std::uint64_t& out) {
  auto found = json.find(name);
  if (found == json.end()) return true;
  if (!found->is_number_unsigned()) return false;
  out = found->get<std::uint64_t>();
  return true;
}

Json traffic_to_json(const Traffic& traffic) {
  Json out = Json::object();
  for (const auto& [name, table] : kTables)
    for (unsigned i = 0; i < kTrafficClasses; ++i)
      if (const auto& c = (traffic.*table)[i]; c.packets) out[name][std::to_string(i)] = count_to_json(c);
  for (const auto& [name, member] : kOthers)
    if ((traffic.*member).packets) out[name] = count_to_json(traffic.*member);
  return out;
}

bool traffic_from_json(const Json& json, Traffic& out) {
  if (!json.is_object()) return false;
  for (const auto& [name, table] : kTables)
    if (auto found = json.find(name); found != json.end() && !classes_from_json(*found, out.*table)) return false;
  for (const auto& [name, member] : kOthers)
    if (auto found = json.find(name); found != json.end() && !count_from_json(*found, out.*member)) return false;
  return true;
}

Json usage_to_json(const Usage& usage) {
  Json out = Json::object();
  for (const auto& f : kFields)
    if (usage.*f.member) out[f.name] = usage.*f.member;
  out["traffic"] = traffic_to_json(usage.traffic);
  return out;
}

bool usage_from_json(const Json& json, Usage& out) {
  if (!json.is_object()) return false;
  for (const auto& f : kFields)
    if (!number_from_json(json, f.name, out.*f.member)) return false;
  auto traffic = json.find("traffic");
  return traffic == json.end() || traffic_from_json(*traffic, out.traffic);
}

}  // namespace vz
