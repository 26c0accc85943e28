// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/state.h"

#include <nlohmann/json.hpp>

#include "libvz/kernel/boot_id.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

using Json = nlohmann::json;

std::string state_path(const Host& host, Ctid id) { return host.run_dir(id) + "/state.json"; }

tl::unexpected<Error> bad_state(const std::string& path, const std::string& reason) {
  return fail(
      Error(Code::bad_config, path + ": " + reason)
          .with_hint("it is written by vzctl only; stop the container's processes, remove the file, start again"));
}

Json state_to_json(const State& s) {
  return Json{{"version", State::kVersion},
              {"id", s.id.value()},
              {"phase", s.phase},
              {"init", {{"pid", s.init.pid}, {"start_time", s.init.start_time}}},
              {"idmap", {{"base", s.idmap.base}, {"count", s.idmap.count}}},
              {"layout", s.layout},
              {"root_device", s.root_device},
              {"veth", s.veth},
              {"bridged", s.bridged},
              {"addresses", s.addresses},
              {"nesting", s.nesting},
              {"capabilities", s.capabilities},
              {"user_quota", s.user_quota},
              {"native_quota", s.native_quota},
              {"quota_special", s.quota_special},
              {"cgroup_id", s.cgroup_id},
              {"boot_id", s.boot_id},
              {"started_at", s.started_at},
              {"dump", s.dump},
              {"token", s.token},
              {"criu", {{"pid", s.criu.pid}, {"start_time", s.criu.start_time}}},
              {"config_snapshot", s.config_snapshot}};
}

// Fields are optional: a missing one keeps its default. One of another type makes the file bad.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {}

  void read(const char* name, std::string& out) {
    if (const Json* v = find(name, &Json::is_string)) out = v->get<std::string>();
  }
  void read(const char* name, bool& out) {
    if (const Json* v = find(name, &Json::is_boolean)) out = v->get<bool>();
  }
  template <class Integer>
  void read(const char* name, Integer& out) {
    const Json* v = find(name, &Json::is_number_integer);
    if (!v) return;
    bool fits = v->is_number_unsigned() ? std::in_range<Integer>(v->get<std::uint64_t>())
                                        : std::in_range<Integer>(v->get<std::int64_t>());
    if (fits)
      out = v->get<Integer>();
    else
      bad_ = name;
  }
  void read(const char* name, std::vector<std::string>& out) {
    const Json* v = find(name, &Json::is_array);
    if (!v) return;
    for (const Json& item : *v) {
      if (!item.is_string())
        bad_ = name;
      else
        out.push_back(item.get<std::string>());
    }
  }
  Reader object(const char* name) {
    static const Json kEmpty = Json::object();
    const Json* v = find(name, &Json::is_object);
    return Reader(v ? *v : kEmpty);
  }
  const std::string& bad() const { return bad_; }

 private:
  const Json* find(const char* name, bool (Json::*type)() const noexcept) {
    auto at = object_.find(name);
    if (at == object_.end()) return nullptr;
    if (((*at).*type)()) return &*at;
    bad_ = name;
    return nullptr;
  }

  const Json& object_;
  std::string bad_;
};

Result<State> state_from_json(const Json& json, const std::string& path) {
  Reader reader(json);
  int version = 0;
  reader.read("version", version);
  if (version < 1 || version > State::kVersion)
    return bad_state(path, "version " + std::to_string(version) + " is not one that this vzctl knows");
  State s;
  std::uint32_t id = 0;
  reader.read("id", id);
  s.id = Ctid(id);
  reader.read("phase", s.phase);
  Reader init = reader.object("init"), idmap = reader.object("idmap"), criu = reader.object("criu");
  init.read("pid", s.init.pid);
  init.read("start_time", s.init.start_time);
  idmap.read("base", s.idmap.base);
  idmap.read("count", s.idmap.count);
  reader.read("layout", s.layout);
  reader.read("root_device", s.root_device);
  reader.read("veth", s.veth);
  reader.read("bridged", s.bridged);
  reader.read("addresses", s.addresses);
  reader.read("nesting", s.nesting);
  reader.read("capabilities", s.capabilities);
  reader.read("user_quota", s.user_quota);
  reader.read("native_quota", s.native_quota);
  reader.read("quota_special", s.quota_special);
  reader.read("cgroup_id", s.cgroup_id);
  reader.read("boot_id", s.boot_id);
  reader.read("started_at", s.started_at);
  reader.read("config_snapshot", s.config_snapshot);
  reader.read("dump", s.dump);
  reader.read("token", s.token);
  criu.read("pid", s.criu.pid);
  criu.read("start_time", s.criu.start_time);
  for (const Reader* r : {&reader, &init, &idmap, &criu}) {
    if (!r->bad().empty()) return bad_state(path, "field '" + r->bad() + "' is of the wrong type");
  }
  return s;
}

}  // namespace

Result<std::optional<State>> load_state(const Host& host, Ctid id) {
  auto path = state_path(host, id);
  auto text = read_file(path);
  if (!text && text.error().sys_errno() == ENOENT) return std::optional<State>();
  if (!text) return fail(std::move(text).error());
  auto json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return bad_state(path, "not a JSON object");
  State state = VZ_TRY(state_from_json(json, path));
  if (state.id != id) return bad_state(path, "it is the state of container " + state.id.str());
  return std::optional(std::move(state));
}

Result<> save_state(const Host& host, const State& state) {
  VZ_TRY(make_dirs(host.run_dir(state.id), 0700));
  // A configuration may hold bytes that are not UTF-8; they are shown as U+FFFD, nothing depends on them.
  auto text = state_to_json(state).dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
  return replace_file(state_path(host, state.id), text, 0600);
}

Result<> remove_state(const Host& host, Ctid id) { return remove_tree(state_path(host, id)); }

Result<std::optional<State>> running_state(const Host& host, Ctid id) {
  auto state = VZ_TRY(load_state(host, id));
  if (!state || state->init.pid <= 0 || state->boot_id != read_boot_id()) return std::optional<State>();
  auto process = open_process(state->init);
  if (process) return state;
  if (process.error().code() == Code::not_running) return std::optional<State>();
  return fail(std::move(process).error());
}

Result<std::optional<ProcessId>> running_init(const Host& host, Ctid id, const std::string& boot_id) {
  auto state = VZ_TRY(load_state(host, id));
  if (!state || state->init.pid <= 0 || state->boot_id != boot_id || !is_alive(state->init))
    return std::optional<ProcessId>();
  return std::optional(state->init);
}

}  // namespace vz
