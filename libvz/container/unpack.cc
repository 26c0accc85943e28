// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/unpack.h"

#include <algorithm>
#include <cerrno>
#include <functional>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/box.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/tree.h"

namespace vz {

namespace {

constexpr std::size_t kMaxMessages = 256 * 1024;  // a hostile archive can make tar talk without end
constexpr int kProgressMs = 100;
constexpr std::size_t kTarMagicAt = 257;

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// Device nodes of a template are never wanted (/dev is the container's own tmpfs), and file systems differ in the
// attributes they take. --anchored: only /dev itself, not usr/share/dev.
std::vector<std::string> tar_command() {
  return {
      "/usr/bin/tar",      "--extract",       "--file=-",           "--numeric-owner",           "--same-permissions",
      "--same-owner",      "--xattrs",        "--xattrs-include=*", "--delay-directory-restore", "--anchored",
      "--exclude=./dev/*", "--exclude=dev/*", "--exclude=/dev/*",   "--warning=no-timestamp"};
}

Error bad_template(const std::string& archive, std::string_view why) {
  return Error(Code::bad_template, fmt::format("OS template {} cannot be unpacked: {}", archive, why))
      .with_hint("build or download it again: vztmpl build NAME");
}

Result<std::vector<std::string>> find_decompressor(int fd, const std::string& archive) {
  auto head = read_head(fd, 512);
  if (!head) return fail(bad_template(archive, head.error().message()));
  auto command = choose_decompressor(*head);
  if (!command) return fail(bad_template(archive, "neither tar nor tar.zst, tar.gz, tar.xz, tar.bz2"));
  if (!command->empty() && !exists(command->front()))
    return fail(Error(Code::bad_template, fmt::format("OS template {} needs {}", archive, command->front()))
                    .with_hint("install the package with that program"));
  return *command;
}

// What is unpacked: a file as it is, what a program makes of it, or what a program makes of a tree.
struct Feed {
  std::vector<std::string> command;  // empty: the input itself
  int input_fd = -1;
  int tree_fd = -1;
};

struct Outcome {
  int feeder = 0;
  int tar = 0;
  bool cancelled = false;
  std::string feeder_says;
  TarMessages tar_says;
};

// Runs feeder | tar until both end; `show` is called again and again meanwhile.
Result<Outcome> run_pipeline(const Feed& feed, std::vector<std::string> tar_argv, int tree, IdMap idmap,
                             const Reporter& reporter, const std::function<void()>& show) {
  Pipe messages = VZ_TRY(make_pipe()), complaints = VZ_TRY(make_pipe()), data = VZ_TRY(make_pipe());
  UniqueFd null = VZ_TRY(open_file("/dev/null", O_RDWR));
  std::optional<BoxedProcess> first;
  if (!feed.command.empty())
    first.emplace(VZ_TRY(start_boxed({.argv = feed.command,
                                      .tree_fd = feed.tree_fd,
                                      .idmap = idmap,
                                      .stdin_fd = feed.input_fd < 0 ? null.get() : feed.input_fd,
                                      .stdout_fd = data.write_end.get(),
                                      .stderr_fd = complaints.write_end.get()})));
  BoxedProcess tar = VZ_TRY(start_boxed({.argv = std::move(tar_argv),
                                         .tree_fd = tree,
                                         .idmap = idmap,
                                         .stdin_fd = first ? data.read_end.get() : feed.input_fd,
                                         .stdout_fd = null.get(),
                                         .stderr_fd = messages.write_end.get()}));
  data = {};
  messages.write_end.reset();
  complaints.write_end.reset();

  Outcome out;
  std::string text;
  for (bool more = true; more;) {
    more = VZ_TRY(read_within(messages.read_end.get(), kProgressMs, &text));
    show();
    out.cancelled = reporter.cancelled();
    if (out.cancelled || text.size() > kMaxMessages || sort_tar_messages(text).no_space) {
      tar.kill();
      break;
    }
  }
  out.tar = VZ_TRY(tar.wait());
  out.tar_says = sort_tar_messages(text);
  if (first) {
    // tar may stop at the end mark before the archive's own end; what follows only feeds the checksum.
    if (out.tar != 0) first->kill();
    for (bool more = true; more && out.feeder_says.size() < kMaxMessages;)
      more = VZ_TRY(read_within(complaints.read_end.get(), kProgressMs, &out.feeder_says));
    out.feeder = VZ_TRY(first->wait());
  }
  return out;
}

constexpr int kSigPipe = 128 + 13;
constexpr int kSigKill = 128 + 9;

// Tells a full image from a full host.
Error no_space(const UniqueFd& tree, bool own_disk, const std::string& archive) {
  auto inside = free_space(tree.get());
  // Reserved clusters keep a full ext4 slightly above 0.
  bool image_full = own_disk && inside && (inside->bytes < (1u << 20) || inside->inodes == 0);
  if (image_full && inside->inodes == 0)
    return Error(Code::no_disk_space, fmt::format("OS template {} has more files than the container's inodes", archive))
        .with_hint("give a larger --diskinodes");
  if (image_full)
    return Error(Code::no_disk_space, fmt::format("OS template {} does not fit into the container's disk", archive))
        .with_hint("give a larger --diskspace");
  return Error(Code::no_disk_space, "no space left on the host's file system with the private areas")
      .with_hint("free some space there, or let VE_PRIVATE in vz.conf name another file system");
}

Result<> judge(const Outcome& out, const UniqueFd& tree, bool own_disk, const std::string& archive,
               Reporter& reporter) {
  if (out.cancelled) return fail(Code::create_private, "interrupted");
  if (out.tar_says.no_space) return fail(no_space(tree, own_disk, archive));
  if (!out.tar_says.errors.empty() || (out.tar != 0 && out.tar != 2)) {
    // A broken stream makes both complain; the decompressor knows better why.
    auto why = trim(out.feeder_says);
    if (!why.empty()) return fail(bad_template(archive, why.substr(0, why.find('\n'))));
    return fail(bad_template(archive, out.tar_says.errors.empty() ? fmt::format("tar ended with status {}", out.tar)
                                                                  : out.tar_says.errors.front()));
  }
  bool cut = out.feeder != 0 && out.feeder != kSigPipe && out.feeder != kSigKill;
  if (cut) return fail(bad_template(archive, trim(out.feeder_says)));
  if (out.tar_says.devices > 0)
    reporter.warn(fmt::format("Warning: {} device nodes of the OS template were left out", out.tar_says.devices));
  if (out.tar_says.attributes > 0)
    reporter.debug(fmt::format("{} extended attributes of the OS template were left out", out.tar_says.attributes));
  return {};
}

// What writing back to a full disk ends with; a loop device whose backing file system is full answers EIO.
bool is_full(const Error& error) {
  return error.sys_errno() == EIO || error.sys_errno() == ENOSPC || error.sys_errno() == EDQUOT;
}

Result<> check_has_shell(const UniqueFd& tree, const std::string& archive) {
  Tree root(VZ_TRY(open_at(tree.get(), ".", O_PATH | O_DIRECTORY)));
  for (const char* path : {"/bin/sh", "/usr/bin/sh", "/bin/busybox"})
    if (root.exists(path)) return {};
  return fail(bad_template(archive, "no /bin/sh in it"));
}

}  // namespace

std::optional<std::vector<std::string>> choose_decompressor(std::string_view head) {
  using Command = std::vector<std::string>;
  if (head.starts_with("\x28\xB5\x2F\xFD")) return Command{"/usr/bin/zstd", "-dcq", "--no-progress"};
  if (head.starts_with("\x1F\x8B")) return Command{"/usr/bin/gzip", "-dc"};
  if (head.starts_with(std::string_view("\xFD"
                                        "7zXZ\0",
                                        6)))
    return Command{"/usr/bin/xz", "-dcq"};
  if (head.starts_with("BZh")) return Command{"/usr/bin/bzip2", "-dcq"};
  if (head.size() >= kTarMagicAt + 5 && head.substr(kTarMagicAt, 5) == "ustar") return Command{};
  return std::nullopt;
}

TarMessages sort_tar_messages(std::string_view text) {
  TarMessages out;
  for (const auto& line : split(text, '\n')) {
    if (line.empty()) continue;
    // "Wrote only N of M bytes" is how tar takes the last, short write before ENOSPC.
    if (contains(line, "No space left on device") || contains(line, "Disk quota exceeded") ||
        contains(line, ": Wrote only "))
      out.no_space = true;
    else if (contains(line, ": Cannot mknod: Operation not permitted"))
      ++out.devices;
    else if (contains(line, "extended attribute") || contains(line, "Cannot set SELinux") ||
             contains(line, "Ignoring unknown extended header keyword"))
      ++out.attributes;
    else if (contains(line, "Removing leading `") ||
             contains(line, "Exiting with failure status due to previous errors"))
      continue;
    else
      out.errors.push_back(line);
  }
  return out;
}

Result<> unpack_archive(const std::string& archive, const UniqueFd& tree, bool own_disk, IdMap idmap,
                        Reporter& reporter) {
  auto fd = open_file(archive, O_RDONLY | O_NONBLOCK);  // a FIFO is empty, not waited for
  if (!fd) return fail(std::move(fd).error().with_code(Code::no_template));
  auto decompressor = VZ_TRY(find_decompressor(fd->get(), archive));
  // Opened first: syncfs(2) reports only the write-back errors after that.
  UniqueFd root = VZ_TRY(open_at(tree.get(), ".", O_RDONLY | O_DIRECTORY));
  const int archive_fd = fd->get();
  const auto total = VZ_TRY(file_size(archive_fd));
  auto show = [&] { reporter.progress("unpack", file_offset(archive_fd).value_or(0), total); };
  Outcome out =
      VZ_TRY(run_pipeline({std::move(decompressor), archive_fd, -1}, tar_command(), tree.get(), idmap, reporter, show));
  reporter.progress("unpack", total, total);
  VZ_TRY(judge(out, tree, own_disk, archive, reporter));
  VZ_TRY(check_has_shell(tree, archive));
  if (auto synced = sync_file_system(root.get()); !synced)
    return is_full(synced.error()) ? fail(no_space(tree, own_disk, archive)) : std::move(synced);
  return {};
}

namespace {

constexpr std::size_t kMaxShown = 5;  // of what tar complained about

// All that a tree has, holes and links included. It comes from ourselves, into the same kind of box.
std::vector<std::string> pack_command() {
  return {
      "/usr/bin/tar", "--create",           "--file=-", "--format=posix",    "--numeric-owner",           "--sparse",
      "--xattrs",     "--xattrs-include=*", "--acls",   "--one-file-system", "--warning=no-file-ignored", "."};
}

std::vector<std::string> unpack_command() {
  return {"/usr/bin/tar",          "--extract", "--file=-",           "--numeric-owner", "--same-permissions",
          "--same-owner",          "--xattrs",  "--xattrs-include=*", "--acls",          "--delay-directory-restore",
          "--warning=no-timestamp"};
}

Error does_not_fit(const UniqueFd& tree, bool own_disk) {
  auto inside = free_space(tree.get());
  const bool own_full = own_disk && inside && (inside->bytes < (1u << 20) || inside->inodes == 0);
  if (!own_full) return no_space(tree, false, "");
  return Error(Code::no_disk_space, inside->inodes == 0 ? "the container has more files than --diskinodes"
                                                        : "the container's files do not fit into --diskspace")
      .with_hint("set a larger one first");
}

Result<> judge_copy(const Outcome& out, const UniqueFd& tree, bool own_disk, Reporter& reporter) {
  if (out.cancelled) return fail(Code::convert_image, "interrupted");
  if (out.tar_says.no_space) return fail(does_not_fit(tree, own_disk));
  auto errors = out.tar_says.errors;
  for (auto& line : split(std::string(trim(out.feeder_says)), '\n')) errors.push_back(std::move(line));
  if (out.feeder != 0 || (out.tar != 0 && out.tar != 2) || !out.tar_says.errors.empty()) {
    errors.resize(std::min(errors.size(), kMaxShown));
    return fail(Code::convert_image, fmt::format("copying the files failed (status {} and {}): {}", out.feeder, out.tar,
                                                 join(errors, "; ")));
  }
  if (out.tar_says.devices > 0)
    reporter.warn(fmt::format("Warning: {} device nodes were left out", out.tar_says.devices));
  if (out.tar_says.attributes > 0)
    reporter.warn(fmt::format("Warning: {} extended attributes were left out", out.tar_says.attributes));
  return {};
}

}  // namespace

Result<> copy_tree(const UniqueFd& source, const UniqueFd& tree, bool own_disk, IdMap idmap, std::uint64_t bytes,
                   Reporter& reporter) {
  UniqueFd root = VZ_TRY(open_at(tree.get(), ".", O_RDONLY | O_DIRECTORY));
  const auto empty = VZ_TRY(free_space(root.get())).bytes;
  auto show = [&] {
    auto left = free_space(root.get());
    if (left) reporter.progress("copy", std::min(empty - std::min(empty, left->bytes), bytes), bytes);
  };
  Outcome out =
      VZ_TRY(run_pipeline({pack_command(), -1, source.get()}, unpack_command(), tree.get(), idmap, reporter, show));
  VZ_TRY(judge_copy(out, tree, own_disk, reporter));
  reporter.progress("copy", bytes, bytes);
  if (auto synced = sync_file_system(root.get()); !synced)
    return is_full(synced.error()) ? fail(does_not_fit(tree, own_disk)) : std::move(synced);
  return {};
}

}  // namespace vz
