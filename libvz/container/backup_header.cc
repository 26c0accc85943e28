// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/backup_header.h"

#include <stdexcept>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libvz/container/rootfs.h"
#include "libvz/container/snapshot_tree.h"
#include "libvz/container/value.h"

namespace vz {

namespace {

using Json = nlohmann::json;

std::string uuid_of(const std::string& text) {
  auto uuid = parse_uuid(text);
  if (!uuid || *uuid != text) throw std::out_of_range("uuid " + printable(text));
  return text;
}

// Shown to people and written into files of one line.
std::string line_of(const Json& j, const char* key) {
  std::string text = j.value(key, "");
  if (text.size() > 1024 || text.find_first_of(std::string("\n\r\0\"", 4)) != text.npos)
    throw std::out_of_range(std::string(key) + " " + printable(text));
  return text;
}

BackupHeader from_json(const Json& j) {
  BackupHeader h;
  h.uuid = uuid_of(j.at("uuid"));
  if (const std::string base = j.value("base", ""); !base.empty()) h.base = uuid_of(base);
  const auto id = j.at("ctid").get<std::uint64_t>();
  if (id == 0 || id > Ctid::kMax) throw std::out_of_range("ctid");
  h.id = Ctid(static_cast<std::uint32_t>(id));
  h.name = line_of(j, "name");
  h.layout = j.at("layout");
  if (h.layout != "image" && h.layout != "dir") throw std::out_of_range("layout " + printable(h.layout));
  h.size = j.at("size");
  if (h.size > BackupHeader::kLargestImage || (h.layout == "dir") != (h.size == 0)) throw std::out_of_range("size");
  h.host = line_of(j, "host");
  h.vz = line_of(j, "vz");
  h.description = line_of(j, "description");
  h.by_owner = j.value("by_owner", false);
  h.created_at = j.at("created_at");
  h.nanoseconds = j.value("nanoseconds", 0u);
  h.config = j.at("config");
  return h;
}

}  // namespace

std::string header_text(const BackupHeader& h) {
  Json j{{"uuid", h.uuid},
         {"base", h.base},
         {"ctid", h.id.value()},
         {"name", h.name},
         {"layout", h.layout},
         {"size", h.size},
         {"host", h.host},
         {"vz", h.vz},
         {"description", h.description},
         {"by_owner", h.by_owner},
         {"created_at", h.created_at},
         {"nanoseconds", h.nanoseconds},
         {"config", h.config}};
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<BackupHeader> parse_header(const std::string& text, const std::string& path) {
  auto bad = [&](const std::string& why) {
    return fail(Error(Code::bad_backup, fmt::format("the header of {} cannot be used: {}", path, why))
                    .with_hint("it was damaged, or made by a newer vz"));
  };
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return bad("it is no JSON object");
  // Untyped access throws on everything that is not as it should be.
  try {
    return from_json(json);
  } catch (const std::exception& e) {
    return bad(e.what());
  }
}

}  // namespace vz
