// SPDX-License-Identifier: LGPL-2.1-or-later
// create and destroy. Order of effects, chosen so that a kill at any point leaves something that create or
// destroy finish: PRIVATE.tmp (removed by the next call) -> ID.conf -> PRIVATE -> name.
#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/context.h"
#include "libvz/container/dump.h"
#include "libvz/container/limits.h"
#include "libvz/container/lock.h"
#include "libvz/container/migration_journal.h"
#include "libvz/container/names.h"
#include "libvz/container/network.h"
#include "libvz/container/owner_backups.h"
#include "libvz/container/private_plan.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/samples.h"
#include "libvz/container/snapshot_store.h"
#include "libvz/container/state.h"
#include "libvz/container/template_archive.h"
#include "libvz/container/usage_keep.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hostinfo.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/rename.h"

namespace vz {

namespace {

// Settings of the new container: sample, then options; what an earlier, killed create wrote is not kept.
Result<Config> new_config(const Host& host, const CreateOptions& options, const std::string& ostemplate) {
  Config config;
  auto sample = options.sample.empty() ? host.global().get("CONFIGFILE").value_or("") : options.sample;
  if (!sample.empty()) {
    config = VZ_TRY(load_sample(host, sample));
    config.set("ORIGIN_SAMPLE", sample);
  }
  config.merge(options.settings);
  config.set("OSTEMPLATE", ostemplate);
  config.set("UUID", VZ_TRY(new_uuid()));
  return config;
}

Result<std::string> choose_template(const Host& host, const CreateOptions& options) {
  if (!options.ostemplate.empty()) return options.ostemplate;
  auto name = host.global().get("DEF_OSTEMPLATE");
  if (!name || name->empty())
    return fail(Error(Code::no_ostemplate, "OS template is not specified")
                    .with_hint("give --ostemplate NAME; `vztmpl list` shows what is there"));
  return *name;
}

// Everything that can be refused before anything is written.
Result<> validate_settings(const Host& host, Ctid id, const Config& merged, const CreateOptions& options) {
  VZ_TRY(parse_ip_list(merged.get("IP_ADDRESS").value_or("")));
  VZ_TRY(parse_netif(merged.get("NETIF").value_or("")));
  VZ_TRY(plan_access(merged));
  VZ_TRY(check_settings(merged));
  if (auto name = merged.get("NAME"); name && !name->empty()) VZ_TRY(check_name(host, *name, id));
  auto cgroups = VZ_TRY(CgroupHost::probe());
  auto facts = VZ_TRY(read_limit_facts(cgroups, host.paths().lib));
  auto plan = VZ_TRY(plan_limits(merged, facts));
  if (options.force) return {};
  // What this machine will never have, said on the command line: not every limit that start would refuse, as a sample
  // may name some, and modules can still be loaded.
  for (const char* key : {"CPUMASK", "NODEMASK"})
    for (auto& e : plan.not_enforceable)
      if (options.settings.get(key) && e.message().starts_with(std::string(key) + "="))
        return fail(Error(Code::bad_value, e.message()).with_hint(e.hint()));
  return {};
}

}  // namespace

Result<> Container::create(const CreateOptions& options, Reporter& reporter) {
  if (id_.value() == 0) return fail(Code::bad_value, "Bad CT ID 0: the host itself cannot be created");
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "creating"));
  VZ_TRY(check_not_migrating(*host_, id_));
  if (VZ_TRY(running_state(*host_, id_))) return fail(Code::running, "Container is already running");
  VZ_TRY(clean_up(*host_, id_, reporter));
  // Of a container of this number that was taken away by hand.
  end_usage(*host_, id_, "", reporter);

  auto ostemplate = VZ_TRY(choose_template(*host_, options));
  auto archive = VZ_TRY(find_template(*host_, ostemplate));
  Config config = VZ_TRY(new_config(*host_, options, ostemplate));
  const Config merged = merged_config(*host_, config);
  auto private_path = host_->private_path(id_, merged);
  if (exists(private_path))
    return fail(Error(Code::private_exists, fmt::format("Private area already exists in {}", private_path))
                    .with_hint(fmt::format("`vzctl destroy {}` removes it", id_.value())));
  auto layout =
      VZ_TRY(parse_layout(options.layout.empty() ? merged.get("VE_LAYOUT").value_or("image") : options.layout));
  config.set("VE_LAYOUT", layout_name(layout));
  VZ_TRY(validate_settings(*host_, id_, merged, options));
  auto spec = VZ_TRY(plan_private(merged, layout, temporary_private(private_path), std::move(archive),
                                  options.settings.get("DISKINODES").has_value()));
  if (spec.inodes) config.set("DISKINODES", fmt::format("{}:{}", spec.inodes, spec.inodes));
  for (const auto& w : config.warnings()) reporter.warn(fmt::format("Warning: {}: {}", w.where, w.text));

  reporter.info(fmt::format("Creating container private area ({})", ostemplate));
  reporter.step("create.idmap");
  spec.idmap = VZ_TRY(allocate_idmap(*host_, id_));
  VZ_TRY(remove_private(spec.dest));
  reporter.step("create.private");
  auto slash = private_path.rfind('/');
  VZ_TRY(make_dirs(private_path.substr(0, slash), 0755));
  // Not for other users of the host: `vzctl mount` shows the container's files with the ids that they have inside.
  VZ_TRY(make_dirs(host_->root_path(id_, merged), 0700));
  if (auto made = make_private(spec, reporter); !made) {
    (void)remove_private(spec.dest);
    (void)release_idmap(*host_, id_);
    return fail(std::move(made).error());
  }
  if (spec.layout == Layout::dir)
    if (auto agreed = agree_on_grace(*host_, spec.dest, spec.disk); !agreed)
      reporter.warn("Warning: " + agreed.error().message());
  reporter.info("Performing postcreate actions");
  reporter.step("create.config");
  VZ_TRY(make_dirs(host_->paths().etc + "/conf", 0755));
  VZ_TRY(config.save(host_->config_path(id_)));
  reporter.info("CT configuration saved to " + host_->config_path(id_));
  reporter.step("create.rename");
  VZ_TRY(rename_durably(spec.dest, private_path));
  reporter.step("create.name");
  if (auto name = config.get("NAME"); name && !name->empty()) VZ_TRY(assign_name(*host_, *name, id_));
  reporter.info("Container private area was created");
  return {};
}

Result<> Container::destroy(Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "destroying"));
  VZ_TRY(check_not_migrating(*host_, id_));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  return destroy_locked(ct);
}

namespace {

Result<> drop_name(Context& ct) {
  ct.reporter.step("destroy.name");
  return remove_name(ct.host, ct.config.get("NAME").value_or(""), ct.id);
}

// All that is not in the private area, the configuration last.
Result<> remove_records(Context& ct) {
  const Host& host = ct.host;
  Reporter& reporter = ct.reporter;
  reporter.step("destroy.usage");
  end_usage(host, ct.id, ct.config.get("NAME").value_or(""), reporter);
  reporter.step("destroy.dump");
  VZ_TRY(remove_dump(default_dump_path(host, ct.id)));
  reporter.step("destroy.idmap");
  VZ_TRY(release_idmap(host, ct.id));
  reporter.step("destroy.config");
  VZ_TRY(rename_durably(host.config_path(ct.id), host.config_path(ct.id) + ".destroyed"));
  (void)remove_empty_dir(ct.root_path);
  forget_owner_record(host, ct.id);
  return {};
}

}  // namespace

Result<> destroy_locked(Context& ct) {
  const Host& host = ct.host;
  Reporter& reporter = ct.reporter;
  if (VZ_TRY(running_state(host, ct.id)))
    return fail(Error(Code::running, "Container is currently running. Stop it first.")
                    .with_hint(fmt::format("`vzctl stop {}`", ct.id.value())));
  if (is_mount_point(ct.root_path))
    return fail(Error(Code::mounted, fmt::format("Container is currently mounted (umount first): {}", ct.root_path))
                    .with_hint(fmt::format("`vzctl umount {}`", ct.id.value())));
  // VE_PRIVATE is the admin's text: a directory that no create made is never deleted.
  if (exists(ct.private_path) && !private_exists(ct.private_path))
    return fail(Error(Code::delete_private, fmt::format("{} is not the private area of a container", ct.private_path))
                    .with_hint(fmt::format("correct VE_PRIVATE in {}, or remove that file", host.config_path(ct.id))));
  if (exists(ct.private_path)) VZ_TRY(refuse_mounted_snapshots(ct.private_path));
  VZ_TRY(clean_up(host, ct.id, reporter));
  reporter.info("Destroying container private area: " + ct.private_path);
  // Moved aside first: from here on the container does not exist, however long removal takes.
  auto aside = temporary_private(ct.private_path);
  reporter.step("destroy.aside");
  VZ_TRY(remove_private(aside));
  if (exists(ct.private_path)) VZ_TRY(rename_durably(ct.private_path, aside));
  VZ_TRY(drop_name(ct));
  // The private area before the configuration: killed in between, `destroy` still finds the container.
  reporter.step("destroy.private");
  VZ_TRY(remove_private(aside));
  VZ_TRY(remove_records(ct));
  reporter.info("Container private area was destroyed");
  return {};
}

Result<> forget_locked(Context& ct) {
  VZ_TRY(clean_up(ct.host, ct.id, ct.reporter));
  VZ_TRY(drop_name(ct));
  return remove_records(ct);
}

}  // namespace vz
