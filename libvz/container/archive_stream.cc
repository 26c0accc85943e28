// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/archive_stream.h"

#include <cerrno>
#include <optional>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/migration_message.h"
#include "libvz/container/value.h"
#include "libvz/kernel/box.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/memfd.h"
#include "libvz/kernel/mount.h"

namespace vz {

namespace {

constexpr int kWaitMs = 200;
constexpr std::size_t kMaxMessages = 64 * 1024;

// --sparse finds holes by the file system's own report; sockets are not archived, their programs make them anew.
std::vector<std::string> pack_command() {
  return {"/usr/bin/tar",       "--create", "--file=-", "--format=pax",      "--numeric-owner",           "--xattrs",
          "--xattrs-include=*", "--acls",   "--sparse", "--one-file-system", "--warning=no-file-ignored", "."};
}

std::vector<std::string> unpack_command() {
  return {"/usr/bin/tar",          "--extract", "--file=-",           "--numeric-owner", "--same-permissions",
          "--same-owner",          "--xattrs",  "--xattrs-include=*", "--acls",          "--delay-directory-restore",
          "--warning=no-timestamp"};
}

Result<UniqueFd> detached(const std::string& dir) {
  UniqueFd mount = VZ_TRY(clone_mount(AT_FDCWD, dir, false));
  VZ_TRY(set_attrs(mount.get(), MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, false));
  return mount;
}

Result<> check_ended(int status, const std::string& messages, const char* doing) {
  if (status == 0) return {};
  return fail(Code::io, fmt::format("tar, {}, ended with status {}: {}", doing, status, printable(trim(messages))));
}

// What tar says goes to a file, so that it never waits for a reader while we wait for it.
Result<std::string> said(const UniqueFd& file) { return read_at(file.get(), 0, kMaxMessages); }

}  // namespace

Result<std::uint64_t> send_archive(FrameChannel& channel, const std::string& dir, IdMap idmap,
                                   const std::function<bool(std::uint64_t)>& progress) {
  UniqueFd tree = VZ_TRY(detached(dir));
  Pipe data = VZ_TRY(make_pipe());
  UniqueFd messages = VZ_TRY(text_fd(""));
  UniqueFd null = VZ_TRY(open_file("/dev/null", O_RDONLY));
  BoxedProcess tar = VZ_TRY(start_boxed({.argv = pack_command(),
                                         .tree_fd = tree.get(),
                                         .idmap = idmap,
                                         .stdin_fd = null.get(),
                                         .stdout_fd = data.write_end.get(),
                                         .stderr_fd = messages.get()}));
  data.write_end.reset();
  std::uint64_t sent = 0;
  for (bool more = true; more;) {
    std::string chunk;
    more = VZ_TRY(read_within(data.read_end.get(), kWaitMs, &chunk));
    if (!chunk.empty()) VZ_TRY(channel.send(kBytes, chunk));
    sent += chunk.size();
    if (!progress(sent)) return fail(Code::io, "interrupted");
  }
  const int status = VZ_TRY(tar.wait());
  VZ_TRY(check_ended(status, VZ_TRY(said(messages)), "packing"));
  VZ_TRY(channel.send(kEnd, ""));
  return sent;
}

Result<std::uint64_t> receive_archive(FrameChannel& channel, const std::string& dir, IdMap idmap) {
  UniqueFd tree = VZ_TRY(detached(dir));
  UniqueFd root = VZ_TRY(open_file(dir, O_RDONLY | O_DIRECTORY));
  Pipe data = VZ_TRY(make_pipe());
  UniqueFd messages = VZ_TRY(text_fd(""));
  UniqueFd null = VZ_TRY(open_file("/dev/null", O_RDWR));
  BoxedProcess tar = VZ_TRY(start_boxed({.argv = unpack_command(),
                                         .tree_fd = tree.get(),
                                         .idmap = idmap,
                                         .stdin_fd = data.read_end.get(),
                                         .stdout_fd = null.get(),
                                         .stderr_fd = messages.get()}));
  data.read_end.reset();
  std::uint64_t received = 0;
  std::optional<Error> refused;  // the rest of the stream is read all the same, so that the error can be told
  for (;;) {
    Frame frame = VZ_TRY(channel.receive());
    if (frame.type == kEnd) break;
    if (frame.type != kBytes)
      return fail(Code::bad_value, fmt::format("{} sends a frame of type {} among files", channel.peer(), frame.type));
    received += frame.payload.size();
    if (refused) continue;
    if (auto written = write_all(data.write_end.get(), frame.payload); !written) refused = std::move(written).error();
  }
  data.write_end.reset();
  const int status = VZ_TRY(tar.wait());
  VZ_TRY(check_ended(status, VZ_TRY(said(messages)), "unpacking"));
  if (refused) return fail(std::move(*refused).context("unpack"));
  VZ_TRY(sync_file_system(root.get()));
  return received;
}

}  // namespace vz
