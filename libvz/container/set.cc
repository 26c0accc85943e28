// SPDX-License-Identifier: LGPL-2.1-or-later
// set: live first, then the file, so that a file never promises what the running container refused.
#include <algorithm>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/beancounter_limits.h"
#include "libvz/container/context.h"
#include "libvz/container/limits.h"
#include "libvz/container/live_change.h"
#include "libvz/container/lock.h"
#include "libvz/container/names.h"
#include "libvz/container/network.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/samples.h"
#include "libvz/container/state.h"
#include "libvz/kernel/memfd.h"

namespace vz {

namespace {

// Settings that belong to one container and are never taken over from a sample.
constexpr const char* kPersonalKeys[] = {"VE_ROOT",  "VE_PRIVATE", "OSTEMPLATE", "VE_LAYOUT",   "IP_ADDRESS",
                                         "HOSTNAME", "NAME",       "NETIF",      "DESCRIPTION", "UUID"};

Result<> change_addresses(const SetOptions& options, Config* config) {
  auto list = VZ_TRY(parse_ip_list(config->get("IP_ADDRESS").value_or("")));
  for (const auto& text : options.ip_del) {
    if (text == "all") {
      list.clear();
      continue;
    }
    auto a = VZ_TRY(IpAddress::parse(text));
    auto at = std::find_if(list.begin(), list.end(), [&](const IpAddress& b) { return b.same_address(a); });
    if (at == list.end())
      return fail(Code::bad_value, fmt::format("--ipdel {}: the container has no such address", text));
    list.erase(at);
  }
  for (const auto& text : options.ip_add) {
    auto a = VZ_TRY(IpAddress::parse(text));
    if (std::none_of(list.begin(), list.end(), [&](const IpAddress& b) { return b.same_address(a); }))
      list.push_back(a);
  }
  std::vector<std::string> words;
  for (const auto& a : list) words.push_back(a.str());
  config->set("IP_ADDRESS", join(words, " "));
  return {};
}

Result<> change_interfaces(Ctid id, const SetOptions& options, Config* config) {
  auto list = VZ_TRY(parse_netif(config->get("NETIF").value_or("")));
  for (const auto& name : options.netif_del) {
    if (name == "all") {
      list.clear();
      continue;
    }
    auto at = std::find_if(list.begin(), list.end(), [&](const Netif& n) { return n.ifname == name; });
    if (at == list.end())
      return fail(Code::veth, fmt::format("--netif_del {}: the container has no such interface", name));
    list.erase(at);
  }
  for (const auto& text : options.netif_add) list.push_back(VZ_TRY(netif_from_option(text, id, list)));
  config->set("NETIF", format_netif(list));
  return {};
}

// The same edits for the file and for what the running container has.
Result<Config> changed(const Host& host, Ctid id, const SetOptions& options, Config config) {
  if (!options.apply_config.empty()) {
    Config sample = VZ_TRY(load_sample(host, options.apply_config));
    for (const char* key : kPersonalKeys) sample.unset(key);
    config.merge(sample);
    config.set("ORIGIN_SAMPLE", options.apply_config);
  }
  // On/off lists and devices change word by word; everything else is replaced.
  for (const auto& key : options.changes.keys()) {
    const Param* p = find_param_by_key(key);
    auto added = options.changes.get(key).value_or("");
    bool by_name = p && (p->kind == Kind::on_off_list || p->kind == Kind::device_list || p->kind == Kind::devnode_list);
    config.set(key, by_name ? param_merge(*p, config.get(key).value_or(""), added) : added);
  }
  for (const auto& key : options.unset) config.unset(key);
  if (!options.ip_add.empty() || !options.ip_del.empty()) VZ_TRY(change_addresses(options, &config));
  if (!options.netif_add.empty() || !options.netif_del.empty()) VZ_TRY(change_interfaces(id, options, &config));
  return config;
}

Result<> validate(const Host& host, Ctid id, const Config& merged, const std::string& private_path) {
  auto cgroups = VZ_TRY(CgroupHost::probe());
  auto facts = VZ_TRY(read_limit_facts(cgroups, private_path));
  VZ_TRY(plan_limits(merged, facts));
  VZ_TRY(plan_access(merged));
  VZ_TRY(check_settings(merged));
  if (auto name = merged.get("NAME"); name && !name->empty()) VZ_TRY(check_name(host, *name, id));
  return {};
}

std::vector<Change> list_changes(const Config& from, const Config& to) {
  std::vector<Change> out;
  for (const auto& key : changed_keys(from, to))
    out.push_back({key, from.get(key).value_or(""), to.get(key).value_or("")});
  return out;
}

// For --dry-run: what the kernel would be told.
Result<> add_limit_changes(const Context& ct, const Config& from, const Config& to, std::vector<Change>* out) {
  auto host = VZ_TRY(CgroupHost::probe());
  auto facts = VZ_TRY(read_limit_facts(host, ct.private_path));
  auto plan = VZ_TRY(plan_limit_change(from, to, facts));
  auto cgroups = VZ_TRY(Cgroups::open(host, ct.id));
  for (const auto& w : plan.writes) {
    auto now = cgroups.read(w.controller, w.file);
    out->push_back({"cgroup " + w.file, now ? std::string(trim(*now)) : "", w.value});
  }
  const auto before = ub_limits(from), after = ub_limits(to);
  auto text = [](const Limit& l) { return fmt::format("{}:{}", l.barrier, l.limit); };
  for (const auto& r : ub_resources()) {
    const auto i = static_cast<std::size_t>(r.id);
    if (before[i] != after[i]) out->push_back({std::string("beancounter ") + r.name, text(before[i]), text(after[i])});
  }
  return {};
}

Result<> set_password(Context& ct, const std::string& userpasswd, bool running) {
  auto input = VZ_TRY(text_fd(userpasswd + "\n"));
  int status = 0;
  if (running) {
    ExecOptions exec;
    exec.argv = {"chpasswd"};
    exec.stdin_fd = input.get();
    status = VZ_TRY(Container(ct.host, ct.id).exec(exec, ct.reporter));
  } else {
    status = VZ_TRY(run_without_init(ct, {"chpasswd"}, input.get()));
  }
  auto user = userpasswd.substr(0, userpasswd.find(':'));
  if (status != 0)
    return fail(Error(Code::password, fmt::format("--userpasswd: chpasswd inside failed with status {}", status))
                    .with_hint(fmt::format("is there a user '{}' and the program chpasswd in the container?", user)));
  return {};
}

// mkfs decides the number of inodes of an image; nothing changes it afterwards.
Result<> refuse_inode_change(const Context& ct, const Config& from, const Config& to) {
  if (from.limit("DISKINODES") == to.limit("DISKINODES") || !private_exists(ct.private_path)) return {};
  if (VZ_TRY(private_layout(ct.private_path)) != Layout::image) return {};
  return fail(Error(Code::resize_image, "--diskinodes: the number of inodes of an image is fixed when it is created")
                  .with_hint("create a new container with --diskinodes and copy the content"));
}

// Limits that differ and that this host does not enforce.
std::vector<UnenforcedLimit> newly_unenforced(const Config& from, const Config& to) {
  auto list = unenforced_limits(to, ub_abilities());
  std::erase_if(list,
                [&](const UnenforcedLimit& l) { return from.limit(l.resource->key) == to.limit(l.resource->key); });
  return list;
}

// They are refused when they are asked for by name.
Result<> refuse_unenforced(Context& ct, const SetOptions& options, const Config& from, const Config& to) {
  auto list = newly_unenforced(from, to);
  for (const auto& l : list)
    if (options.changes.get(l.resource->key) && !options.force && !options.reset_ub) return fail(refusal_of(l, to));
  if (!list.empty()) ct.reporter.warn("Warning: not enforced on this host: " + describe(list));
  return {};
}

// Settings that nothing enforces; beancounters have reasons of their own.
std::vector<std::string> stored_options(const std::vector<std::string>& keys) {
  auto others = keys;
  std::erase_if(others, [](const std::string& key) { return find_ub_resource(key); });
  return options_of(others, Applies::not_enforced);
}

Result<> apply_running(Context& ct, State& state, const SetOptions& options, SetReport* report) {
  Config from = Config::parse(state.config_snapshot, "running configuration");
  Config to = VZ_TRY(changed(ct.host, ct.id, options, from));
  VZ_TRY(refuse_inode_change(ct, from, to));
  auto keys = changed_keys(from, to);
  VZ_TRY(refuse_unenforced(ct, options, from, to));
  if (auto stored = stored_options(keys); !stored.empty() && !options.force)
    return fail(
        Error(Code::not_enforced,
              fmt::format("{}: not enforced by this version of vz, so it cannot be set live", join(stored, " ")))
            .with_hint("--force --save keeps it in the configuration file"));
  report->needs_restart = options_of(keys, Applies::restart);
  auto steps = VZ_TRY(plan_live_steps(ct, state, from, to));
  VZ_TRY(apply_live_steps(steps, ct.reporter));
  if (options.reset_ub) {
    auto again = VZ_TRY(plan_limit_steps(ct, state, to));
    VZ_TRY(apply_live_steps(again, ct.reporter));
  }
  // What waits for a restart is not what the container has.
  for (const auto& key : keys) {
    const Param* p = find_param_by_key(key);
    if (!p || p->applies != Applies::restart) continue;
    if (auto old = from.get(key))
      to.set(key, *old);
    else
      to.unset(key);
  }
  state.config_snapshot = to.text();
  state.addresses = to.words("IP_ADDRESS");
  ct.reporter.step("set.state");
  return save_state(ct.host, state);
}

Result<> apply_stopped_dir(Context& ct, const Config& from, const Config& to) {
  const auto disk = disk_limits(merged_config(ct.host, to));
  if (disk == disk_limits(merged_config(ct.host, from))) return {};
  ct.reporter.step("set.quota");
  auto idmap = VZ_TRY(allocate_idmap(ct.host, ct.id));
  VZ_TRY(put_dir_quota(ct.private_path, idmap, disk, ct.reporter));
  return agree_on_grace(ct.host, ct.private_path, disk);
}

// The disk of a stopped container: the one setting whose truth is on disk and not in the file.
Result<> apply_stopped(Context& ct, const Config& from, const Config& to) {
  VZ_TRY(refuse_inode_change(ct, from, to));
  if (private_exists(ct.private_path) && VZ_TRY(private_layout(ct.private_path)) == Layout::dir)
    return apply_stopped_dir(ct, from, to);
  auto old_space = from.limit("DISKSPACE"), new_space = to.limit("DISKSPACE");
  if (old_space == new_space || !new_space || new_space->limit == Limit::kUnlimited) return {};
  if (!private_exists(ct.private_path)) return {};
  ct.reporter.step("set.resize");
  return resize_private(ct.private_path, "", new_space->limit * 1024, ct.reporter);
}

Result<> save_changes(Context& ct, const Config& old_file, const Config& new_file, SetReport* report) {
  auto path = ct.host.config_path(ct.id);
  if (old_file.text() == new_file.text()) {
    ct.reporter.info("No changes in CT configuration, not saving");
    return {};
  }
  ct.reporter.step("set.save");
  VZ_TRY(new_file.save(path));
  auto old_name = old_file.get("NAME").value_or(""), new_name = new_file.get("NAME").value_or("");
  if (old_name != new_name) {
    ct.reporter.step("set.name");
    if (!new_name.empty()) VZ_TRY(assign_name(ct.host, new_name, ct.id));
    if (!old_name.empty()) VZ_TRY(remove_name(ct.host, old_name, ct.id));
    if (!new_name.empty()) ct.reporter.info(fmt::format("Name {} assigned", new_name));
  }
  report->saved = true;
  ct.reporter.info("CT configuration saved to " + path);
  return {};
}

// Of a container that does not run: it may run where they are.
void note_unenforced(const Config& from, const Config& to, Reporter& reporter) {
  auto list = newly_unenforced(from, to);
  if (!list.empty()) reporter.warn("Note: kept in the configuration, not enforced on this host: " + describe(list));
}

Result<> warn_about_restart(Context& ct, const SetOptions& options, const SetReport& report) {
  if (report.needs_restart.empty()) return {};
  for (const auto& o : report.needs_restart)
    ct.reporter.warn(fmt::format("Unable to set {} on a running container", o.substr(o.find_first_not_of('-'))));
  if (options.mode == SetMode::ignore)
    return fail(Code::running, "some parameters could not be applied to a running container");
  if (options.mode == SetMode::warn)
    ct.reporter.warn(
        "WARNING: Some of the parameters could not be applied to a running container.\n"
        "\tPlease consider using --setmode option");
  return {};
}

}  // namespace

Result<SetReport> Container::set(const SetOptions& options, Reporter& reporter) {
  if (id_.value() == 0) return fail(Code::bad_value, "CT0 is the host: no parameter can be set on it by this version");
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "setting"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  Config old_file = VZ_TRY(Config::load(host_->config_path(id_)));
  Config new_file = VZ_TRY(changed(*host_, id_, options, old_file));
  const Config merged = merged_config(*host_, new_file);
  VZ_TRY(validate(*host_, id_, merged, ct.private_path));

  SetReport report;
  report.changes = list_changes(old_file, new_file);
  auto state = VZ_TRY(running_state(*host_, id_));
  if (options.dry_run) {
    Config from = state ? Config::parse(state->config_snapshot, "running") : Config();
    if (state) {
      Config to = VZ_TRY(changed(*host_, id_, options, from));
      VZ_TRY(add_limit_changes(ct, from, to, &report.changes));
    }
    return report;
  }
  if (!state && !options.save)
    return fail(Error(Code::not_running, "Unable to apply new values: container is not running")
                    .with_hint("use --save to change the configuration file"));
  bool restart = state && options.mode == SetMode::restart;
  if (state) {
    if (auto applied = apply_running(ct, *state, options, &report); !applied) {
      if (options.save) reporter.warn("Error: failed to apply some parameters, not saving configuration file!");
      return fail(std::move(applied).error());
    }
    if (!restart) VZ_TRY(warn_about_restart(ct, options, report));
  } else {
    VZ_TRY(clean_up(*host_, id_, reporter));
    VZ_TRY(apply_stopped(ct, old_file, new_file));
  }
  if (!options.userpasswd.empty()) VZ_TRY(set_password(ct, options.userpasswd, state.has_value()));
  if (options.save) {
    VZ_TRY(save_changes(ct, old_file, new_file, &report));
    if (auto stored = stored_options(changed_keys(old_file, new_file)); !stored.empty())
      reporter.warn("Note: kept in the configuration, not enforced by this version: " + join(stored, " "));
    if (!state) note_unenforced(old_file, new_file, reporter);
  } else if (!report.changes.empty()) {
    reporter.warn("WARNING: Settings were not saved to config and will be lost after CT restart (use --save flag)");
  }
  if (restart && !report.needs_restart.empty()) {
    ct.config = VZ_TRY(host_->load(id_));
    VZ_TRY(stop_locked(ct, {}));
    VZ_TRY(start_locked(ct, {}));
  }
  return report;
}

}  // namespace vz
