// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/archive_stream.h"

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/container/migration_message.h"
#include "libvz/container/tree_archive.h"
#include "libvz/kernel/file.h"

namespace vz {

Result<std::uint64_t> send_archive(FrameChannel& channel, const std::string& dir, IdMap idmap,
                                   const std::function<bool(std::uint64_t)>& progress) {
  std::uint64_t sent = 0;
  VZ_TRY(pack_tree(dir, idmap, [&](std::string_view piece) -> Result<> {
    if (!piece.empty()) VZ_TRY(channel.send(kBytes, piece));
    sent += piece.size();
    return progress(sent) ? Result<>() : fail(Code::io, "interrupted");
  }));
  VZ_TRY(channel.send(kEnd, ""));
  return sent;
}

// What tar does not take is read all the same, so that its error can be told.
Result<std::uint64_t> receive_archive(FrameChannel& channel, const std::string& dir, IdMap idmap) {
  UniqueFd root = VZ_TRY(open_file(dir, O_RDONLY | O_DIRECTORY));
  auto unpacker = VZ_TRY(TreeUnpacker::start(dir, idmap, /*over=*/false));
  std::uint64_t received = 0;
  for (;;) {
    Frame frame = VZ_TRY(channel.receive());
    if (frame.type == kEnd) break;
    if (frame.type != kBytes)
      return fail(Code::bad_value, fmt::format("{} sends a frame of type {} among files", channel.peer(), frame.type));
    received += frame.payload.size();
    VZ_TRY(unpacker.write(frame.payload));
  }
  VZ_TRY(unpacker.finish());
  VZ_TRY(sync_file_system(root.get()));
  return received;
}

}  // namespace vz
