// SPDX-License-Identifier: LGPL-2.1-or-later
// Usage as JSON: in records and in the journal. Zeroes are left out.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include <vz/usage.h>

namespace vz {

nlohmann::json usage_to_json(const Usage& usage);
nlohmann::json traffic_to_json(const Traffic& traffic);
// False: a field is of the wrong type. Missing ones are zero.
bool usage_from_json(const nlohmann::json& json, Usage& out);
bool traffic_from_json(const nlohmann::json& json, Traffic& out);
// One number of an object; a missing one keeps its value.
bool number_from_json(const nlohmann::json& json, const char* name, std::uint64_t& out);

}  // namespace vz
