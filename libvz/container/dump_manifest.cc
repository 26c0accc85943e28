// SPDX-License-Identifier: LGPL-2.1-or-later
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libvz/base/text.h"
#include "libvz/container/dump.h"

namespace vz {

namespace {

using Json = nlohmann::json;

Json groups_json(const std::vector<InnerGroup>& groups) {
  Json out = Json::array();
  for (const auto& g : groups)
    out.push_back({{"path", g.path}, {"uid", g.uid}, {"files", g.files}, {"attributes", g.attributes}});
  return out;
}

Json scheduling_json(const std::vector<TaskScheduling>& tasks) {
  Json out = Json::array();
  for (const auto& t : tasks) out.push_back({{"task", t.inside}, {"cpus", t.cpus}, {"io_priority", t.io_priority}});
  return out;
}

Json hex_json(const std::vector<std::string>& messages) {
  Json out = Json::array();
  for (const auto& m : messages) out.push_back(to_hex(m));
  return out;
}

Json network_json(const NetState& state) {
  Json devices = Json::array();
  for (const auto& d : state.devices)
    devices.push_back({{"name", d.name}, {"index", d.index}, {"flags", d.flags}, {"mtu", d.mtu}});
  return {{"devices", devices},
          {"addresses", hex_json(state.addresses)},
          {"routes", hex_json(state.routes)},
          {"sysctls", state.sysctls}};
}

Json files_json(const std::vector<DumpFile>& files) {
  Json out = Json::array();
  for (const auto& f : files)
    out.push_back({{"name", f.name}, {"size", f.size}, {"xxh3", fmt::format("{:016x}", f.hash)}});
  return out;
}

std::vector<InnerGroup> groups_of(const Json& list) {
  std::vector<InnerGroup> out;
  for (const auto& g : list)
    out.push_back({g.at("path"), g.at("uid"), g.at("files").get<decltype(InnerGroup::files)>(),
                   g.at("attributes").get<decltype(InnerGroup::attributes)>()});
  return out;
}

std::vector<TaskScheduling> scheduling_of(const Json& list) {
  std::vector<TaskScheduling> out;
  for (const auto& t : list)
    out.push_back({t.at("task"), t.at("cpus").get<decltype(TaskScheduling::cpus)>(), t.at("io_priority")});
  return out;
}

std::vector<std::string> bytes_of(const Json& list) {
  std::vector<std::string> out;
  for (const auto& text : list) {
    auto bytes = from_hex(text.get<std::string>());
    if (!bytes) throw std::invalid_argument(bytes.error().message());
    out.push_back(*std::move(bytes));
  }
  return out;
}

NetState network_of(const Json& j) {
  NetState out;
  for (const auto& d : j.at("devices"))
    out.devices.push_back({d.at("name"), d.at("index"), d.at("flags"), d.at("mtu")});
  out.addresses = bytes_of(j.at("addresses"));
  out.routes = bytes_of(j.at("routes"));
  out.sysctls = j.at("sysctls").get<decltype(NetState::sysctls)>();
  for (const auto& [name, value] : out.sysctls)
    if (("/" + name + "/").find("/../") != name.npos || name.starts_with('/'))
      throw std::out_of_range("setting " + name);
  return out;
}

// Names are those of files right in the directory, each once.
std::vector<DumpFile> files_of(const Json& list) {
  std::vector<DumpFile> out;
  std::set<std::string> seen;
  for (const auto& f : list) {
    DumpFile file{f.at("name"), f.at("size"), std::stoull(f.at("xxh3").get<std::string>(), nullptr, 16)};
    bool good = !file.name.empty() && file.name.find('/') == file.name.npos && file.name != "." && file.name != "..";
    if (!good || !seen.insert(file.name).second) throw std::out_of_range("file name " + file.name);
    out.push_back(std::move(file));
  }
  return out;
}

DumpManifest from_json(const Json& j) {
  DumpManifest m;
  m.id = Ctid(j.at("id").get<std::uint32_t>());
  m.token = j.at("token");
  m.host = j.value("host", "");
  m.kernel = j.value("kernel", "");
  m.machine = j.value("machine", "");
  m.criu = j.at("criu");
  m.created_at = j.value("created_at", std::int64_t{0});
  m.idmap = {j.at("idmap").at("base"), j.at("idmap").at("count")};
  m.nesting = j.at("nesting");
  m.capabilities = j.at("capabilities");
  m.addresses = j.at("addresses").get<std::vector<std::string>>();
  m.netif = j.at("netif");
  m.external = j.at("external").get<std::vector<std::string>>();
  m.hierarchies = j.at("hierarchies").get<std::vector<std::string>>();
  m.groups = groups_of(j.at("groups"));
  m.scheduling = scheduling_of(j.value("scheduling", Json::array()));
  if (j.contains("network")) m.network = network_of(j.at("network"));
  m.files = files_of(j.at("files"));
  return m;
}

}  // namespace

std::string manifest_text(const DumpManifest& m) {
  Json j{{"version", DumpManifest::kVersion},
         {"id", m.id.value()},
         {"token", m.token},
         {"host", m.host},
         {"kernel", m.kernel},
         {"machine", m.machine},
         {"criu", m.criu},
         {"created_at", m.created_at},
         {"idmap", {{"base", m.idmap.base}, {"count", m.idmap.count}}},
         {"nesting", m.nesting},
         {"capabilities", m.capabilities},
         {"addresses", m.addresses},
         {"netif", m.netif},
         {"external", m.external},
         {"hierarchies", m.hierarchies},
         {"groups", groups_json(m.groups)},
         {"scheduling", scheduling_json(m.scheduling)},
         {"files", files_json(m.files)}};
  if (m.network) j["network"] = network_json(*m.network);
  return j.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<DumpManifest> parse_manifest(const std::string& text, const std::string& path) {
  auto bad = [&](const std::string& why) {
    return fail(Error(Code::restore, fmt::format("the manifest of dump {} cannot be used: {}", path, why))
                    .with_hint("it was damaged, or made by another version of vz; start the container without it"));
  };
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return bad("it is no JSON object");
  // Untyped access throws on everything that is not as it should be.
  try {
    if (int version = json.at("version"); version != DumpManifest::kVersion)
      return bad(fmt::format("version {}, this vz knows {}", version, DumpManifest::kVersion));
    return from_json(json);
  } catch (const std::exception& e) {
    return bad(e.what());
  }
}

}  // namespace vz
