// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/unpack.h"

#include <cerrno>

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

struct Outcome {
  int decompressor = 0;
  int tar = 0;
  bool cancelled = false;
  std::string decompressor_says;
  TarMessages tar_says;
};

// Runs decompressor | tar until both end; progress is how far the archive has been read.
Result<Outcome> run_pipeline(int archive_fd, std::vector<std::string> decompressor, int tree, IdMap idmap,
                             Reporter& reporter) {
  Pipe messages = VZ_TRY(make_pipe()), complaints = VZ_TRY(make_pipe()), data = VZ_TRY(make_pipe());
  UniqueFd null = VZ_TRY(open_file("/dev/null", O_RDWR));
  std::optional<BoxedProcess> first;
  if (!decompressor.empty())
    first.emplace(VZ_TRY(start_boxed({.argv = std::move(decompressor),
                                      .tree_fd = -1,
                                      .idmap = idmap,
                                      .stdin_fd = archive_fd,
                                      .stdout_fd = data.write_end.get(),
                                      .stderr_fd = complaints.write_end.get()})));
  BoxedProcess tar = VZ_TRY(start_boxed({.argv = tar_command(),
                                         .tree_fd = tree,
                                         .idmap = idmap,
                                         .stdin_fd = first ? data.read_end.get() : archive_fd,
                                         .stdout_fd = null.get(),
                                         .stderr_fd = messages.write_end.get()}));
  data = {};
  messages.write_end.reset();
  complaints.write_end.reset();

  Outcome out;
  std::string text;
  auto total = VZ_TRY(file_size(archive_fd));
  for (bool more = true; more;) {
    more = VZ_TRY(read_within(messages.read_end.get(), kProgressMs, &text));
    reporter.progress("unpack", VZ_TRY(file_offset(archive_fd)), total);
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
    for (bool more = true; more && out.decompressor_says.size() < kMaxMessages;)
      more = VZ_TRY(read_within(complaints.read_end.get(), kProgressMs, &out.decompressor_says));
    out.decompressor = VZ_TRY(first->wait());
  }
  reporter.progress("unpack", total, total);
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
    auto why = trim(out.decompressor_says);
    if (!why.empty()) return fail(bad_template(archive, why.substr(0, why.find('\n'))));
    return fail(bad_template(archive, out.tar_says.errors.empty() ? fmt::format("tar ended with status {}", out.tar)
                                                                  : out.tar_says.errors.front()));
  }
  bool cut = out.decompressor != 0 && out.decompressor != kSigPipe && out.decompressor != kSigKill;
  if (cut) return fail(bad_template(archive, trim(out.decompressor_says)));
  if (out.tar_says.devices > 0)
    reporter.warn(fmt::format("Warning: {} device nodes of the OS template were left out", out.tar_says.devices));
  if (out.tar_says.attributes > 0)
    reporter.debug(fmt::format("{} extended attributes of the OS template were left out", out.tar_says.attributes));
  return {};
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
  Outcome out = VZ_TRY(run_pipeline(fd->get(), std::move(decompressor), tree.get(), idmap, reporter));
  VZ_TRY(judge(out, tree, own_disk, archive, reporter));
  VZ_TRY(check_has_shell(tree, archive));
  if (auto synced = sync_file_system(root.get()); !synced) {
    int err = synced.error().sys_errno();
    // A loop device whose backing file system is full answers EIO.
    if (err == EIO || err == ENOSPC || err == EDQUOT) return fail(no_space(tree, own_disk, archive));
    return synced;
  }
  return {};
}

}  // namespace vz
