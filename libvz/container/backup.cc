// SPDX-License-Identifier: LGPL-2.1-or-later
// Making a backup. Everything is read once while the container runs; then, for the last part, its file system is frozen
// (image) or its processes are (dir), and what has changed meanwhile follows.
#include <chrono>
#include <ctime>

#include <fcntl.h>
#include <sys/types.h>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <vz/backup.h>
#include <vz/version.h>

#include "libvz/base/byte_order.h"
#include "libvz/base/text.h"
#include "libvz/container/backup_store.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/context.h"
#include "libvz/container/dir_layout.h"
#include "libvz/container/image.h"
#include "libvz/container/image_scan.h"
#include "libvz/container/lock.h"
#include "libvz/container/migration_journal.h"
#include "libvz/container/owner_backups.h"
#include "libvz/container/owner_dir.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/state.h"
#include "libvz/container/tree_archive.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hostinfo.h"
#include "libvz/kernel/rename.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

class Backup {
 public:
  Backup(Context& ct, BackupWriter& writer, bool running) : ct_(ct), writer_(writer), running_(running) {}
  // `base`: the state that the last one left; "": full.
  Result<> image(const std::string& path, const std::string& base);
  Result<> directory(const std::string& base, const std::string& work);

 private:
  Result<> image_pass(ImageScan& scan, const char* stage);
  Result<> archive_pass(TreeArchiver& archiver, bool changing, const char* stage);
  Result<> sync_tree();

  Context& ct_;
  BackupWriter& writer_;
  bool running_;
};

Result<> Backup::image_pass(ImageScan& scan, const char* stage) {
  const ImageSink sink{[&](std::uint64_t offset, std::string_view data) {
                         return writer_.put(kBackupBlock, little_endian(offset), data);
                       },
                       [&](std::uint64_t offset, std::uint64_t length) {
                         return writer_.put(kBackupHole, little_endian(offset), little_endian(length));
                       }};
  VZ_TRY(scan.pass(sink, [&](std::uint64_t done, std::uint64_t all) {
    ct_.reporter.progress(stage, done, all);
    return !ct_.reporter.cancelled();
  }));
  return {};
}

// A file whose blocks are those of the image at this moment; nullopt: this file system cannot.
Result<std::optional<UniqueFd>> moment_of(const std::string& path) {
  auto slash = path.rfind('/');
  UniqueFd from = VZ_TRY(open_file(path, O_RDONLY | O_NOFOLLOW));
  auto to = open_file(path.substr(0, slash), O_TMPFILE | O_RDWR, 0600);
  if (!to || !VZ_TRY(clone_file(from.get(), to->get()))) return std::optional<UniqueFd>();
  return std::optional(std::move(*to));
}

Result<> Backup::image(const std::string& path, const std::string& base) {
  auto known = VZ_TRY(decode_hashes(base));
  UniqueFd live = VZ_TRY(open_file(path, O_RDONLY | O_NOFOLLOW));
  auto finish = [&](ImageScan& scan) { return writer_.put_long(kBackupState, encode_hashes(scan.hashes())); };
  ct_.reporter.step("backup.freeze");
  if (VZ_TRY(moment_of(path))) {
    auto frozen = VZ_TRY(freeze_image(path));
    auto copy = VZ_TRY(moment_of(path));
    if (frozen) VZ_TRY(frozen->thaw());
    if (!copy) return fail(Code::io, path + ": its blocks cannot be shared any more");
    auto scan = VZ_TRY(ImageScan::open(copy->get(), std::move(known)));
    ct_.reporter.step("backup.copy");
    VZ_TRY(image_pass(scan, "backup"));
    return finish(scan);
  }
  auto scan = VZ_TRY(ImageScan::open(live.get(), std::move(known)));
  ct_.reporter.step("backup.copy");
  VZ_TRY(image_pass(scan, "backup"));
  ct_.reporter.step("backup.frozen");
  if (auto frozen = VZ_TRY(freeze_image(path))) {
    VZ_TRY(image_pass(scan, "changes"));
    ct_.reporter.step("backup.thaw");
    VZ_TRY(frozen->thaw());
  }
  return finish(scan);
}

Result<> Backup::archive_pass(TreeArchiver& archiver, bool changing, const char* stage) {
  std::uint64_t done = 0;
  VZ_TRY(archiver.pass(changing, [&](std::string_view piece) -> Result<> {
    if (ct_.reporter.cancelled()) return fail(Code::io, "interrupted");
    done += piece.size();
    ct_.reporter.progress(stage, done, 0);
    return piece.empty() ? Result<>() : writer_.put(kBackupArchive, piece);
  }));
  return writer_.put(kBackupArchiveEnd, "");
}

// Written pages are clean afterwards: who writes to one through a mapping changes the file's time again.
Result<> Backup::sync_tree() {
  UniqueFd dir = VZ_TRY(open_file(dir_path(ct_.private_path), O_RDONLY | O_DIRECTORY));
  return sync_file_system(dir.get());
}

Result<> Backup::directory(const std::string& base, const std::string& work) {
  auto idmap = VZ_TRY(allocate_idmap(ct_.host, ct_.id));
  auto archiver = VZ_TRY(TreeArchiver::open(dir_path(ct_.private_path), idmap, work, base));
  VZ_TRY(sync_tree());
  ct_.reporter.step("backup.copy");
  VZ_TRY(archive_pass(archiver, running_, "backup"));
  if (running_) {
    ct_.reporter.step("backup.frozen");
    VZ_TRY(while_suspended(ct_, "", [&]() -> Result<> {
      VZ_TRY(sync_tree());
      return archive_pass(archiver, false, "changes");
    }));
  }
  ct_.reporter.step("backup.state");
  return writer_.put_long(kBackupState, VZ_TRY(archiver.state()));
}

struct Place {
  std::string dir, path;
  bool ours = false;  // in BACKUPDIR: counted, and cleaned up after us
};

std::string time_name(Ctid id, std::int64_t at) {
  std::tm tm{};
  std::time_t time = at;
  gmtime_r(&time, &tm);
  return fmt::format("{}-{:%Y%m%d-%H%M%S}", id.value(), tm);
}

Result<Place> choose_place(const Context& ct, const std::string& output, std::int64_t at) {
  Place out;
  out.ours = output.empty();
  out.dir = out.ours ? backup_dir_of(ct.host, ct.id) : output;
  if (out.ours) VZ_TRY(make_dirs(out.dir, 0700));
  auto dir = open_file(out.dir, O_RDONLY | O_DIRECTORY);
  if (!dir && (output.ends_with('/') || out.ours)) return fail(std::move(dir).error());
  if (!dir) {
    out.path = output;
    auto slash = output.rfind('/');
    out.dir = slash == output.npos ? "." : output.substr(0, std::max<std::size_t>(slash, 1));
    if (exists(out.path)) return fail(Code::bad_value, fmt::format("{} exists already", out.path));
    return out;
  }
  std::string name = time_name(ct.id, at);
  for (unsigned n = 2; exists(out.dir + "/" + name + kBackupEnding); ++n)
    name = fmt::format("{}-{}", time_name(ct.id, at), n);
  out.path = out.dir + "/" + name + kBackupEnding;
  return out;
}

// Of a vzctl that died: we hold the container's lock.
Result<> remove_unfinished(const Place& place) {
  if (!place.ours) return {};
  for (const auto& name : VZ_TRY(list_dir(place.dir)))
    if (!name.ends_with(kBackupEnding)) VZ_TRY(remove_tree(place.dir + "/" + name));
  return {};
}

Result<std::optional<std::uint64_t>> room_for(const Context& ct, const Place& place) {
  auto space = ct.config.limit("BACKUP_SPACE");
  if (!place.ours || !space || space->limit == Limit::kUnlimited) return std::optional<std::uint64_t>();
  std::uint64_t taken = 0;
  for (const auto& backup : VZ_TRY(backups_in(place.dir))) taken += backup.bytes;
  const std::uint64_t all = space->limit * 1024;
  return std::optional(all - std::min(all, taken));
}

// The newest of this container that is good; Code::bad_backup when there is none.
Result<BackupInfo> choose_base(const Context& ct, const Place& place, Layout layout) {
  auto backups = VZ_TRY(backups_in(place.dir));
  for (auto at = backups.rbegin(); at != backups.rend(); ++at)
    if (at->problem.empty() && at->id == ct.id && at->layout == layout_name(layout) && is_of_same(*at, ct.config))
      return *at;
  return fail(Error(Code::bad_backup,
                    fmt::format("there is no backup of container {} in {} to build on", ct.id.value(), place.dir))
                  .with_hint("without --incremental, a full one is made"));
}

Result<BackupHeader> make_header(const Context& ct, Layout layout, const BackupOptions& options, std::int64_t at) {
  BackupHeader h;
  h.uuid = VZ_TRY(new_uuid());
  h.id = ct.id;
  h.layout = layout_name(layout);
  h.name = ct.config.get("NAME").value_or("");
  if (auto host = host_identity()) h.host = host->name;
  h.vz = VZ_VERSION_STRING;
  h.description = options.description;
  h.by_owner = options.by_owner;
  h.created_at = at;
  h.config = VZ_TRY(read_file(ct.host.config_path(ct.id)));
  if (layout == Layout::image) {
    UniqueFd fd = VZ_TRY(open_file(image_path(ct.private_path), O_RDONLY | O_NOFOLLOW));
    h.size = VZ_TRY(file_size(fd.get()));
  }
  return h;
}

Result<std::uint64_t> write_backup(Context& ct, const BackupHeader& header, const Place& place, const std::string& file,
                                   const std::string& base) {
  UniqueFd fd = VZ_TRY(open_file(file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  auto writer = VZ_TRY(BackupWriter::start(std::move(fd), VZ_TRY(room_for(ct, place))));
  VZ_TRY(writer.put(kBackupHeader, header_text(header)));
  const bool running = VZ_TRY(running_state(ct.host, ct.id)).has_value();
  Backup backup(ct, writer, running);
  if (header.layout == layout_name(Layout::image))
    VZ_TRY(backup.image(image_path(ct.private_path), base));
  else
    VZ_TRY(backup.directory(base, file + ".work"));
  ct.reporter.step("backup.finish");
  VZ_TRY(writer.finish());
  return writer.bytes();
}

Error as_full(Error error, const Place& place) {
  if (error.sys_errno() != ENOSPC && error.sys_errno() != EDQUOT) return error;
  return std::move(error).context(place.path).with_code(Code::no_disk_space);
}

}  // namespace

Result<BackupInfo> take_backup(const Host& host, Ctid id, const BackupOptions& options, Reporter& reporter) {
  if (options.description.size() > 1024 || options.description.find_first_of("\n\r\"") != std::string::npos)
    return fail(Code::bad_value, "Bad value for --description: one line of at most 1024 characters, no quotes");
  auto lock = VZ_TRY(CtLock::take(host, id, "backing up"));
  VZ_TRY(check_not_migrating(host, id));
  Context ct = VZ_TRY(load_context(host, id, reporter));
  if (options.by_owner) VZ_TRY(check_owner_may(host, id, ct.config));
  const Layout layout = VZ_TRY(private_layout(ct.private_path));
  const auto moment = std::chrono::system_clock::now().time_since_epoch();
  const std::int64_t now = std::chrono::floor<std::chrono::seconds>(moment).count();
  const Place place = VZ_TRY(choose_place(ct, options.output, now));
  VZ_TRY(remove_unfinished(place));
  auto header = VZ_TRY(make_header(ct, layout, options, now));
  header.nanoseconds = static_cast<std::uint32_t>((moment - std::chrono::floor<std::chrono::seconds>(moment)).count());
  std::string base;
  if (options.incremental) {
    auto on = VZ_TRY(choose_base(ct, place, layout));
    header.base = on.uuid;
    base = VZ_TRY(read_backup_state(on.path));
    reporter.info(fmt::format("Incremental backup on {}", on.name));
  }
  reporter.info(fmt::format("Creating backup {}", place.path));
  const std::string temporary = place.path + ".tmp";
  reporter.step("backup.begin");
  auto written = write_backup(ct, header, place, temporary, base);
  if (written && reporter.cancelled()) written = fail(Code::io, "interrupted");
  if (!written) {
    (void)remove_tree(temporary);
    (void)remove_tree(temporary + ".work");
    return fail(as_full(std::move(written).error(), place));
  }
  reporter.step("backup.rename");
  VZ_TRY(rename_durably(temporary, place.path));
  auto info = describe_backup(place.path, header, *written);
  reporter.info(fmt::format("Backup {} has been successfully created: {} KiB", info.name, *written >> 10));
  return info;
}

Result<> discard_unfinished_backup(const Host& host, Ctid id) {
  const std::string dir = backup_dir_of(host, id);
  return exists(dir) ? remove_unfinished({dir, "", /*ours=*/true}) : Result<>();
}

Result<std::vector<BackupInfo>> list_backups(const Host& host, std::optional<Ctid> id) {
  if (id) return backups_in(backup_dir_of(host, *id));
  std::vector<BackupInfo> out;
  if (!exists(host.backup_dir())) return out;
  for (const auto& name : VZ_TRY(list_dir(host.backup_dir()))) {
    if (!Ctid::parse(name)) continue;
    for (auto& backup : VZ_TRY(backups_in(host.backup_dir() + "/" + name))) out.push_back(std::move(backup));
  }
  return out;
}

Result<> delete_backup(const Host& host, const std::string& which, Reporter& reporter) {
  const auto path = VZ_TRY(find_backup(host, which));
  const auto target = look_at_backup(path);
  // Whatever has another name somewhere else is not ours to delete.
  if (!target.problem.empty() && !is_our_own(host, path)) return fail(Code::bad_backup, target.problem);
  std::optional<CtLock> lock;
  if (target.problem.empty()) lock.emplace(VZ_TRY(CtLock::take(host, target.id, "backing up")));
  auto slash = path.rfind('/');
  for (const auto& other : VZ_TRY(backups_in(slash == path.npos ? "." : path.substr(0, slash))))
    if (target.problem.empty() && other.base == target.uuid)
      return fail(Error(Code::bad_backup, fmt::format("backup {} builds on {}", other.name, target.name))
                      .with_hint(fmt::format("`vzctl backup-delete {}` first", other.name)));
  reporter.step("backup.delete");
  VZ_TRY(remove_tree(path));
  reporter.info(fmt::format("Backup {} has been deleted", target.name));
  return {};
}

}  // namespace vz
