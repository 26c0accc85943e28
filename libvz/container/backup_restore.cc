// SPDX-License-Identifier: LGPL-2.1-or-later
// A backup becomes a container. Order of effects as in create: PRIVATE.tmp -> ID.conf -> PRIVATE -> name. In place of a
// container that is there, PRIVATE.tmp brings its configuration along and changes places with PRIVATE at once.
#include <algorithm>
#include <functional>

#include <fcntl.h>

#include <fmt/format.h>
#include <vz/backup.h>

#include "libvz/base/text.h"
#include "libvz/container/backup_content.h"
#include "libvz/container/backup_store.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/context.h"
#include "libvz/container/dir_layout.h"
#include "libvz/container/image.h"
#include "libvz/container/lock.h"
#include "libvz/container/migration_journal.h"
#include "libvz/container/names.h"
#include "libvz/container/network.h"
#include "libvz/container/owner_backups.h"
#include "libvz/container/private_plan.h"
#include "libvz/container/restored_config.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/snapshot_store.h"
#include "libvz/container/state.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/rename.h"

namespace vz {

namespace {

class Restoring {
 public:
  Restoring(const Host& host, Ctid id, const RestoreBackupOptions& options, Reporter& reporter)
      : host_(host), id_(id), options_(options), reporter_(reporter) {}

  Result<> run(const std::vector<std::string>& chain, const BackupHeader& header, bool trusted);
  // Only up to where nothing of the container has changed.
  Result<> make_ready(const Context& ct, const std::vector<std::string>& chain, const BackupHeader& header);

 private:
  Result<> check_fits(const Context& ct, const BackupHeader& header) const;
  Result<> check_place();
  Result<Config> wanted_config(const BackupHeader& header, bool trusted);
  Result<> drop_privileges(Config* config);
  Result<> drop_taken(Config* config);
  Result<> renew_netif(Config* config);
  Result<> fill(const std::vector<std::string>& chain, const BackupHeader& header, const Config& merged);
  Result<> become_new(const Config& config);
  Result<> replace(const Config& config);

  const Host& host_;
  Ctid id_;
  const RestoreBackupOptions& options_;
  Reporter& reporter_;
  std::string private_path_;
  bool replaces_ = false;
};

// What it may not be put over.
Result<> Restoring::check_place() {
  if (VZ_TRY(running_state(host_, id_)))
    return fail(Error(Code::running, fmt::format("Container {} is running", id_.value()))
                    .with_hint(fmt::format("`vzctl stop {}` first, or give --ctid", id_.value())));
  if (!exists(host_.config_path(id_))) return {};
  Config own = VZ_TRY(host_.load(id_));
  // A configuration alone is what a killed restore leaves, or what a lost disk does.
  replaces_ = exists(host_.private_path(id_, own));
  if (!replaces_) return {};
  if (!options_.replace)
    return fail(Error(Code::private_exists, fmt::format("Container {} exists", id_.value()))
                    .with_hint("--ctid restores it under another number; --replace puts it in place of this one, whose "
                               "present state is lost"));
  Context ct = VZ_TRY(load_context(host_, id_, reporter_));
  private_path_ = ct.private_path;
  if (is_mount_point(ct.root_path))
    return fail(Error(Code::mounted, fmt::format("Container is mounted at {}", ct.root_path))
                    .with_hint(fmt::format("`vzctl umount {}`", id_.value())));
  return refuse_snapshots(ct, "Cannot replace", Code::private_exists);
}

// A file from elsewhere may ask for anything.
Result<> Restoring::drop_privileges(Config* config) {
  std::vector<std::string> dropped;
  for (const char* key : {"CAPABILITY", "DEVICES", "DEVNODES", "FEATURES", "MOUNT_OPTS", "NETDEV", "PCI"}) {
    auto value = config->get(key);
    if (!value || value->empty()) continue;
    dropped.push_back(fmt::format("{}=\"{}\"", key, printable(*value)));
    config->unset(key);
  }
  if (!dropped.empty())
    reporter_.warn(fmt::format("Warning: not taken from a file that is not in {}: {}; --force takes it",
                               host_.backup_dir(), join(dropped, " ")));
  return {};
}

// Names and addresses that another container has now.
Result<> Restoring::drop_taken(Config* config) {
  if (!options_.name.empty()) {
    VZ_TRY(check_name(host_, options_.name, id_));
    config->set("NAME", options_.name);
  } else if (auto name = config->get("NAME"); name && !name->empty() && !check_name(host_, *name, id_)) {
    reporter_.warn(fmt::format("Warning: the name {} is another container's; this one has none", printable(*name)));
    config->unset("NAME");
  }
  auto addresses = config->words("IP_ADDRESS");
  for (Ctid other : VZ_TRY(host_.containers())) {
    auto theirs = other == id_ ? Result<Config>(Config()) : host_.load(other);
    if (!theirs) continue;
    for (const auto& address : theirs->words("IP_ADDRESS"))
      if (std::erase(addresses, address) > 0)
        reporter_.warn(
            fmt::format("Warning: IP address {} belongs to container {}, and is left out", address, other.value()));
  }
  if (config->get("IP_ADDRESS")) config->set("IP_ADDRESS", join(addresses, " "));
  return {};
}

// Devices of another container have other names and MAC addresses.
Result<> Restoring::renew_netif(Config* config) {
  auto text = config->get("NETIF").value_or("");
  if (text.empty()) return {};
  std::vector<Netif> renewed;
  for (const auto& netif : VZ_TRY(parse_netif(text)))
    renewed.push_back(VZ_TRY(netif_from_option(fmt::format("{},,,,{}", netif.ifname, netif.bridge), id_, renewed)));
  config->set("NETIF", format_netif(renewed));
  return {};
}

Result<Config> Restoring::wanted_config(const BackupHeader& header, bool trusted) {
  Config config = Config::parse(header.config, "the backup's configuration");
  for (const auto& w : config.warnings()) reporter_.warn(fmt::format("Warning: {}: {}", w.where, w.text));
  // Where it is, this host and its own configuration say.
  auto own = Config::load(host_.config_path(id_));
  for (const char* key : {"VE_PRIVATE", "VE_ROOT"}) {
    if (auto place = own ? own->get(key) : std::nullopt)
      config.set(key, *place);
    else
      config.unset(key);
  }
  config.set("VE_LAYOUT", header.layout);
  if (!trusted && !options_.force) VZ_TRY(drop_privileges(&config));
  VZ_TRY(drop_taken(&config));
  if (id_ != header.id) VZ_TRY(renew_netif(&config));
  if (header.layout == layout_name(Layout::image)) config.set("DISKSPACE", fmt::format("{0}:{0}", header.size >> 10));
  const Config merged = merged_config(host_, config);
  VZ_TRY(plan_access(merged));
  VZ_TRY(check_settings(merged));
  return config;
}

Result<> Restoring::fill(const std::vector<std::string>& chain, const BackupHeader& header, const Config& merged) {
  const auto dest = temporary_private(private_path_);
  const Layout layout = VZ_TRY(parse_layout(header.layout));
  reporter_.step("restore-backup.private");
  VZ_TRY(make_dirs(dest.substr(0, dest.rfind('/')), 0755));
  VZ_TRY(remove_private(dest));
  VZ_TRY(make_dirs(dest, 0700));
  reporter_.step("restore-backup.copy");
  if (layout == Layout::image) {
    UniqueFd image = VZ_TRY(open_file(image_path(dest), O_RDWR | O_CREAT | O_EXCL, 0600));
    VZ_TRY(replay_image(chain, {image.get()}, reporter_));
    VZ_TRY_CTX(sync_file(image.get()), image_path(dest));
    image.reset();
    reporter_.step("restore-backup.check");
    VZ_TRY(check_image(image_path(dest), reporter_));
  } else {
    const auto idmap = VZ_TRY(allocate_idmap(host_, id_));
    const auto dir = dir_path(dest);
    VZ_TRY(make_dirs(dir, 0755));
    VZ_TRY(set_owner(dir, idmap.base, idmap.base));
    VZ_TRY(start_dir_quota(dest, idmap, disk_limits(merged)));
    VZ_TRY(replay_tree(chain, {dir, idmap}, reporter_));
    UniqueFd fd = VZ_TRY(open_file(dir, O_RDONLY | O_DIRECTORY));
    VZ_TRY(sync_file_system(fd.get()));
  }
  return write_layout(dest, layout);
}

Result<> Restoring::become_new(const Config& config) {
  const Config merged = merged_config(host_, config);
  VZ_TRY(make_dirs(host_.root_path(id_, merged), 0700));
  reporter_.step("restore-backup.config");
  VZ_TRY(make_dirs(host_.paths().etc + "/conf", 0755));
  VZ_TRY(config.save(host_.config_path(id_)));
  reporter_.step("restore-backup.rename");
  VZ_TRY(rename_durably(temporary_private(private_path_), private_path_));
  reporter_.step("restore-backup.name");
  if (auto name = config.get("NAME"); name && !name->empty()) VZ_TRY(assign_name(host_, *name, id_));
  return {};
}

// What was made ready takes the place of what is there, with its configuration. `done`: from then on it is the new one.
Result<> change_places(const Host& host, Ctid id, const std::string& private_path, Reporter& reporter,
                       const std::function<Result<>()>& done) {
  reporter.step("restore-backup.exchange");
  VZ_TRY(exchange_durably(temporary_private(private_path), private_path));
  VZ_TRY(done());
  VZ_TRY(settle_restored_config(host, id, private_path, reporter));
  return {};
}

Result<> Restoring::replace(const Config& config) {
  VZ_TRY(leave_config(temporary_private(private_path_), config));
  return change_places(host_, id_, private_path_, reporter_, [] { return Result<>(); });
}

Result<> Restoring::run(const std::vector<std::string>& chain, const BackupHeader& header, bool trusted) {
  VZ_TRY(check_place());
  Config config = VZ_TRY(wanted_config(header, trusted));
  const Config merged = merged_config(host_, config);
  if (!replaces_) private_path_ = host_.private_path(id_, merged);
  if (!replaces_ && exists(private_path_))
    return fail(Error(Code::private_exists, fmt::format("Private area already exists in {}", private_path_))
                    .with_hint("remove it, or give --ctid"));
  VZ_TRY(clean_up(host_, id_, reporter_));
  auto filled = fill(chain, header, merged);
  if (filled && reporter_.cancelled()) filled = fail(Code::io, "interrupted");
  if (!filled) {
    (void)remove_private(temporary_private(private_path_));
    if (!replaces_) (void)release_idmap(host_, id_);
    return filled;
  }
  return replaces_ ? replace(config) : become_new(config);
}

// What the owner has now, and nothing of what he may have had.
Result<> Restoring::check_fits(const Context& ct, const BackupHeader& header) const {
  if (header.layout != layout_name(VZ_TRY(private_layout(private_path_))))
    return fail(Code::convert_image, fmt::format("the backup is of layout {}", header.layout));
  auto space = ct.config.limit("DISKSPACE");
  if (header.layout == layout_name(Layout::image) && space && header.size > space->limit * 1024)
    return fail(Code::resize_image,
                fmt::format("the disk of then has {} KiB, {} are allowed now", header.size >> 10, space->limit));
  return refuse_snapshots(ct, "Cannot replace", Code::private_exists);
}

Result<> Restoring::make_ready(const Context& ct, const std::vector<std::string>& chain, const BackupHeader& header) {
  private_path_ = ct.private_path;
  VZ_TRY(check_fits(ct, header));
  const auto dest = temporary_private(private_path_);
  auto ready = [&]() -> Result<> {
    VZ_TRY(fill(chain, header, ct.config));
    auto space = ct.config.limit("DISKSPACE");
    if (header.size != 0 && space && space->limit != Limit::kUnlimited && header.size < space->limit * 1024)
      VZ_TRY(resize_private(dest, "", space->limit * 1024, reporter_));
    return leave_config(dest, VZ_TRY(Config::load(host_.config_path(id_))));
  };
  auto done = ready();
  if (!done) (void)remove_private(dest);
  return done;
}

}  // namespace

Result<> restore_in_place(Context& ct, const std::string& path, const Reached& reached) {
  if (!VZ_TRY(running_state(ct.host, ct.id))) return fail(Code::not_running, "Container is not running");
  const auto chain = VZ_TRY(backup_chain(path));
  const auto header = VZ_TRY(open_backup(path)).header;
  VZ_TRY(Restoring(ct.host, ct.id, {}, ct.reporter).make_ready(ct, chain, header));
  VZ_TRY(reached("restarting"));
  return finish_in_place(ct, reached);
}

bool is_ready_in_place(const std::string& private_path) { return has_restored_config(temporary_private(private_path)); }

Result<> finish_in_place(Context& ct, const Reached& reached) {
  if (VZ_TRY(running_state(ct.host, ct.id))) VZ_TRY(stop_locked(ct, {}));
  auto exchange = [&]() -> Result<> {
    VZ_TRY(change_places(ct.host, ct.id, ct.private_path, ct.reporter, [&] { return reached("replaced"); }));
    ct.config = VZ_TRY(ct.host.load(ct.id));
    return {};
  };
  auto exchanged = exchange();
  // Whatever its files are: it ran, and runs again.
  VZ_TRY(start_locked(ct, {.force = true}));
  return exchanged;
}

Result<Ctid> restore_backup(const Host& host, const std::string& which, const RestoreBackupOptions& options,
                            Reporter& reporter) {
  const auto path = VZ_TRY(find_backup(host, which));
  const auto chain = VZ_TRY(backup_chain(path));
  const auto header = VZ_TRY(open_backup(path)).header;
  const Ctid id = options.id.value_or(header.id);
  auto lock = VZ_TRY(CtLock::take(host, id, "restoring a backup"));
  VZ_TRY(check_not_migrating(host, id));
  reporter.info(fmt::format("Restoring container {} from {}", id.value(), path));
  VZ_TRY(Restoring(host, id, options, reporter).run(chain, header, is_our_own(host, path)));
  reporter.info(fmt::format("Container {} was restored", id.value()));
  return id;
}

Result<std::vector<BackupInfo>> verify_backup(const Host& host, const std::string& which, Reporter& reporter) {
  const auto path = VZ_TRY(find_backup(host, which));
  const auto chain = VZ_TRY(backup_chain(path));
  std::vector<BackupInfo> out;
  for (const auto& link : chain) out.push_back(look_at_backup(link));
  if (out.back().layout == layout_name(Layout::image))
    VZ_TRY(replay_image(chain, {}, reporter));
  else
    VZ_TRY(replay_tree(chain, {}, reporter));
  reporter.info(fmt::format("Backup {} is whole", out.back().name));
  return out;
}

}  // namespace vz
