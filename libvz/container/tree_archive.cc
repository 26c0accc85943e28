// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/tree_archive.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/unpack.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/memfd.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/tree.h"

namespace vz {

namespace {

constexpr int kWaitMs = 200;
constexpr std::size_t kMaxMessages = 64 * 1024;
constexpr std::size_t kMaxState = 512u << 20;
constexpr std::size_t kPiece = 512 * 1024;  // that is compressed at once
constexpr std::size_t kMaxShown = 3;
constexpr int kFilesChanged = 1;  // tar(1), "Some files differ"
constexpr const char* kState = "state";

// --sparse finds holes by the file system's own report; sockets are not archived, their programs make them anew.
std::vector<std::string> pack_command() {
  return {"/usr/bin/tar",       "--create", "--file=-", "--format=posix",    "--numeric-owner",           "--xattrs",
          "--xattrs-include=*", "--acls",   "--sparse", "--one-file-system", "--warning=no-file-ignored", "."};
}

// The device's number may be another after a reboot; times and inodes are what counts.
std::vector<std::string> pack_changes_command() {
  auto command = pack_command();
  command.insert(command.end() - 1, {"--no-check-device", "--warning=no-new-directory",
                                     fmt::format("--listed-incremental=/state/{}", kState)});
  return command;
}

std::vector<std::string> unpack_command(bool over) {
  std::vector<std::string> command = {
      "/usr/bin/tar",          "--extract", "--file=-",           "--numeric-owner", "--same-permissions",
      "--same-owner",          "--xattrs",  "--xattrs-include=*", "--acls",          "--delay-directory-restore",
      "--warning=no-timestamp"};
  if (over) command.push_back("--incremental");
  return command;
}

Result<UniqueFd> detached(const std::string& dir) {
  UniqueFd mount = VZ_TRY(clone_mount(AT_FDCWD, dir, false));
  VZ_TRY(set_attrs(mount.get(), MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, false));
  return mount;
}

// The first lines; names in them are the container's.
std::string shown(const std::string& messages) {
  std::vector<std::string> lines = split(trim(messages), '\n');
  lines.resize(std::min(lines.size(), kMaxShown));
  for (auto& line : lines) line = printable(line);
  return join(lines, "; ");
}

struct Packing {
  std::vector<std::string> command;
  std::string dir;
  int state_fd = -1;
  int tolerated = 0;  // exit status that is no failure, either
};

Result<std::uint64_t> run_tar(Packing packing, IdMap idmap, const ArchiveSink& sink) {
  UniqueFd tree = VZ_TRY(detached(packing.dir));
  Pipe data = VZ_TRY(make_pipe());
  UniqueFd messages = VZ_TRY(text_fd(""));
  UniqueFd null = VZ_TRY(open_file("/dev/null", O_RDONLY));
  BoxedProcess tar = VZ_TRY(start_boxed({.argv = std::move(packing.command),
                                         .tree_fd = tree.get(),
                                         .state_fd = packing.state_fd,
                                         .idmap = idmap,
                                         .stdin_fd = null.get(),
                                         .stdout_fd = data.write_end.get(),
                                         .stderr_fd = messages.get()}));
  data.write_end.reset();
  std::uint64_t packed = 0;
  std::string piece;
  for (bool more = true; more;) {
    more = VZ_TRY(read_within(data.read_end.get(), kWaitMs, &piece));
    if (piece.size() < kPiece && more && !piece.empty()) continue;
    packed += piece.size();
    VZ_TRY(sink(piece));
    piece.clear();
  }
  const int status = VZ_TRY(tar.wait());
  if (status == 0 || status == packing.tolerated) return packed;
  return fail(Code::io, fmt::format("tar, packing, ended with status {}: {}", status,
                                    shown(VZ_TRY(read_at(messages.get(), 0, kMaxMessages)))));
}

}  // namespace

// "GNU tar-1.34-2", newline; seconds and nanoseconds of the pass; for each directory: nfs, seconds, nanoseconds,
// device, inode, name, then what is in it up to an empty text, and one more. All of them end with NUL.
Result<std::string> next_tar_list(std::string_view list,
                                  const std::function<bool(const std::string&, std::uint64_t)>& keep) {
  auto no_list = [] { return fail(Code::bad_backup, "tar's list of files is not what this vz knows"); };
  auto next = [&]() -> std::optional<std::string_view> {
    const auto end = list.find('\0');
    if (end == list.npos) return std::nullopt;
    auto text = list.substr(0, end);
    list.remove_prefix(end + 1);
    return text;
  };
  const auto line = list.find('\n');
  if (!list.starts_with("GNU tar-") || line == list.npos || list.substr(0, line).substr(line - 2) != "-2")
    return no_list();
  std::string out(list.substr(0, line + 1));
  list.remove_prefix(line + 1);
  const auto seconds = next(), nanoseconds = next();
  auto began = seconds && nanoseconds ? parse_u64(*seconds) : fail(Code::bad_backup, "");
  if (!began) return no_list();
  out.append(std::to_string(*began == 0 ? 0 : *began - 1)).append(1, '\0').append(*nanoseconds).append(1, '\0');
  while (!list.empty()) {
    const std::string_view begin = list;
    std::optional<std::string_view> inode, name;
    for (int i = 0; i < 5; ++i) inode = next();
    name = next();
    for (auto entry = next(); entry && !entry->empty();) entry = next();
    auto number = inode ? parse_u64(*inode) : fail(Code::bad_backup, "");
    if (!name || !number || !next()) return no_list();
    if (keep(std::string(*name), *number)) out.append(begin.substr(0, begin.size() - list.size()));
  }
  return out;
}

Result<TreeArchiver> TreeArchiver::open(const std::string& dir, IdMap idmap, const std::string& work,
                                        const std::string& state) {
  VZ_TRY(remove_tree(work));
  VZ_TRY(make_dirs(work, 0700));
  TreeArchiver archiver(dir, idmap, work);
  if (!state.empty()) {
    const auto file = work + "/" + kState;
    VZ_TRY(replace_file(file, state, 0600));
    VZ_TRY(set_owner(file, idmap.base, idmap.base));
  }
  // tar is root only of the container's ids.
  VZ_TRY(set_owner(work, idmap.base, idmap.base));
  return archiver;
}

TreeArchiver::~TreeArchiver() {
  if (!work_.empty()) (void)remove_tree(work_);
}

Result<> TreeArchiver::prepare_list() {
  const auto file = work_ + "/" + kState;
  if (!exists(file)) return {};
  const auto list = VZ_TRY(state());
  Tree tree = VZ_TRY(Tree::open(dir_));
  auto is_there = [&](const std::string& name, std::uint64_t inode) {
    auto fd = tree.open(name, O_PATH | O_NOFOLLOW);
    auto now = fd ? inode_of(fd->get()) : Result<std::uint64_t>(fail(std::move(fd).error()));
    return now && *now == inode;
  };
  const auto known = VZ_TRY(next_tar_list(list, is_there));
  VZ_TRY(replace_file(file, known, 0600));
  return set_owner(file, idmap_.base, idmap_.base);
}

Result<std::uint64_t> TreeArchiver::pass(bool changing, const ArchiveSink& sink) {
  VZ_TRY(prepare_list());
  UniqueFd work = VZ_TRY(detached(work_));
  return run_tar({pack_changes_command(), dir_, work.get(), changing ? kFilesChanged : 0}, idmap_, sink);
}

Result<std::uint64_t> pack_tree(const std::string& dir, IdMap idmap, const ArchiveSink& sink) {
  return run_tar({pack_command(), dir, -1, 0}, idmap, sink);
}

Result<std::string> TreeArchiver::state() const {
  UniqueFd dir = VZ_TRY(open_file(work_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  UniqueFd file = VZ_TRY(open_at(dir.get(), kState, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  return read_fd(file.get(), kMaxState);
}

Result<TreeUnpacker> TreeUnpacker::start(const std::string& dir, IdMap idmap, bool over) {
  UniqueFd tree = VZ_TRY(detached(dir));
  Pipe data = VZ_TRY(make_pipe());
  UniqueFd messages = VZ_TRY(text_fd(""));
  UniqueFd null = VZ_TRY(open_file("/dev/null", O_RDWR));
  BoxedProcess tar = VZ_TRY(start_boxed({.argv = unpack_command(over),
                                         .tree_fd = tree.get(),
                                         .idmap = idmap,
                                         .stdin_fd = data.read_end.get(),
                                         .stdout_fd = null.get(),
                                         .stderr_fd = messages.get()}));
  return TreeUnpacker(std::move(tar), std::move(data.write_end), std::move(messages));
}

Result<> TreeUnpacker::write(std::string_view data) {
  if (broken_) return {};
  auto written = write_all(input_.get(), data);
  if (!written && written.error().sys_errno() != EPIPE) return written;
  broken_ = !written;
  return {};
}

Result<> TreeUnpacker::finish() {
  input_.reset();
  const int status = VZ_TRY(tar_.wait());
  const auto text = VZ_TRY(read_at(messages_.get(), 0, kMaxMessages));
  if (status == 0 && !broken_) return {};
  if (sort_tar_messages(text).no_space)
    return fail(Error(Code::no_disk_space, "the files do not fit")
                    .with_hint("free some space, or raise --diskspace and --diskinodes"));
  return fail(Code::io, fmt::format("tar, unpacking, ended with status {}: {}", status, shown(text)));
}

}  // namespace vz
