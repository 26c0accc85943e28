// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/backup_store.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::size_t kLongestChain = 10000;
constexpr std::size_t kMaxState = std::size_t{1} << 32;  // of the largest image

std::string file_name(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

std::string directory(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == path.npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}

bool is_backup_name(const std::string& name) { return name.ends_with(kBackupEnding); }

tl::unexpected<Error> no_backup(const std::string& which) {
  return fail(Error(Code::bad_backup, fmt::format("there is no backup '{}'", printable(which)))
                  .with_hint("`vzctl backup-list` shows those in BACKUPDIR; any other file is given with its path"));
}

}  // namespace

std::string backup_dir_of(const Host& host, Ctid id) { return host.backup_dir() + "/" + id.str(); }

Result<std::string> find_backup(const Host& host, const std::string& which) {
  if (which.find('/') != which.npos || is_backup_name(which)) {
    if (exists(which)) return which;
    return no_backup(which);
  }
  auto id = Ctid::parse(which.substr(0, which.find('-')));
  if (!id || which.empty()) return no_backup(which);
  auto path = backup_dir_of(host, *id) + "/" + which + kBackupEnding;
  if (!exists(path)) return no_backup(which);
  return path;
}

bool is_our_own(const Host& host, const std::string& path) {
  const auto root = host.backup_dir() + "/";
  return path.starts_with(root) && path.find("/../") == path.npos;
}

Result<OpenBackup> open_backup(const std::string& path) {
  auto fd = open_file(path, O_RDONLY | O_NONBLOCK);  // a FIFO is refused, not waited for
  if (!fd) return fail(std::move(fd).error().with_code(Code::bad_backup));
  auto reader = BackupReader::open(std::move(*fd), path);
  if (!reader) return fail(std::move(reader).error().with_code(Code::bad_backup));  // a directory, too
  auto first = VZ_TRY(reader->next());
  if (!first || first->type != kBackupHeader) return reader->damaged("it has no header");
  auto header = VZ_TRY(parse_header(first->payload, path));
  return OpenBackup{std::move(*reader), std::move(header)};
}

BackupInfo describe_backup(const std::string& path, const BackupHeader& h, std::uint64_t bytes) {
  BackupInfo out;
  out.path = path;
  out.name = file_name(path);
  if (is_backup_name(out.name)) out.name.resize(out.name.size() - std::string_view(kBackupEnding).size());
  out.uuid = h.uuid;
  out.base = h.base;
  out.id = h.id;
  out.container = h.name;
  out.layout = h.layout;
  out.host = h.host;
  out.description = h.description;
  out.by_owner = h.by_owner;
  out.created_at = h.created_at;
  out.nanoseconds = h.nanoseconds;
  out.bytes = bytes;
  out.size = h.size;
  out.container_uuid = Config::parse(h.config, "the backup's configuration").get("UUID").value_or("");
  return out;
}

BackupInfo look_at_backup(const std::string& path) {
  auto opened = open_backup(path);
  if (opened) return describe_backup(path, opened->header, opened->reader.size());
  BackupInfo out = describe_backup(path, {}, 0);
  out.problem = opened.error().message();
  return out;
}

bool is_of_same(const BackupInfo& backup, const Config& config) {
  const bool readable = !backup.uuid.empty();
  return readable && backup.container_uuid == config.get("UUID").value_or("");
}

Result<std::vector<BackupInfo>> backups_in(const std::string& dir) {
  std::vector<BackupInfo> out;
  if (!exists(dir)) return out;
  std::set<std::string> there;
  for (const auto& name : VZ_TRY(list_dir(dir)))
    if (is_backup_name(name)) there.insert(out.emplace_back(look_at_backup(dir + "/" + name)).uuid);
  for (auto& backup : out)
    if (backup.problem.empty() && !backup.base.empty() && !there.contains(backup.base))
      backup.problem = "what it builds on is missing";
  std::stable_sort(out.begin(), out.end(), [](const BackupInfo& a, const BackupInfo& b) {
    return std::pair(a.created_at, a.nanoseconds) < std::pair(b.created_at, b.nanoseconds);
  });
  return out;
}

Result<std::vector<std::string>> backup_chain(const std::string& path) {
  std::vector<std::string> chain = {path};
  auto header = VZ_TRY(open_backup(path)).header;
  if (header.base.empty()) return chain;
  const auto beside = VZ_TRY(backups_in(directory(path)));
  while (!header.base.empty()) {
    auto base = std::find_if(beside.begin(), beside.end(), [&](const BackupInfo& b) { return b.uuid == header.base; });
    if (base == beside.end() || chain.size() > kLongestChain)
      return fail(Error(Code::bad_backup, fmt::format("{} builds on backup {}, which is not in {}", chain.back(),
                                                      header.base, directory(path)))
                      .with_hint("an incremental backup needs all before it, back to the full one, in one directory"));
    if (std::find(chain.begin(), chain.end(), base->path) != chain.end())
      return fail(Code::bad_backup, fmt::format("{} builds on itself", path));
    chain.push_back(base->path);
    auto below = VZ_TRY(open_backup(base->path)).header;
    if (below.id != header.id || below.layout != header.layout)
      return fail(Code::bad_backup, fmt::format("{} builds on a backup of another container", path));
    header = std::move(below);
  }
  std::reverse(chain.begin(), chain.end());
  return chain;
}

Result<std::string> read_backup_state(const std::string& path) {
  auto backup = VZ_TRY(open_backup(path));
  VZ_TRY(backup.reader.seek_state());
  std::string out;
  while (auto part = VZ_TRY(backup.reader.next())) {
    if (part->type != kBackupState || out.size() + part->payload.size() > kMaxState)
      return backup.reader.damaged("nothing can build on it");
    out += part->payload;
  }
  return out;
}

}  // namespace vz
