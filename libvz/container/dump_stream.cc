// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/dump_stream.h"

#include <algorithm>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/container/dump.h"
#include "libvz/container/migration_message.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::size_t kPiece = 1u << 20;
constexpr std::size_t kNameMax = 200;

// "pages-1.img", "core-7.img", "manifest.json".
bool is_file_name(const std::string& name) {
  auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !name.empty() && name.size() <= kNameMax && name[0] != '.' && std::all_of(name.begin(), name.end(), plain);
}

// As it is called on the way: "images/core-7.img".
std::string image_name(const std::string& file) { return fmt::format("{}/{}", kDumpImages, file); }

Result<std::uint64_t> send_file(FrameChannel& channel, int dir, const std::string& name, const std::string& as) {
  UniqueFd fd = VZ_TRY(open_at(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  VZ_TRY(channel.send(kFile, as));
  const auto size = VZ_TRY(file_size(fd.get()));
  std::uint64_t at = 0;
  while (at < size) {
    auto piece = VZ_TRY(read_at(fd.get(), at, static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, size - at))));
    if (piece.empty()) break;  // shorter now: the other end sees that
    VZ_TRY(channel.send(kBytes, piece));
    at += piece.size();
  }
  return at;
}

// The dump's own layout: the manifest, and below `images` what CRIU wrote, which it opens as the container's root.
Result<UniqueFd> make_file(const UniqueFd& dir, const UniqueFd& images, const std::string& name) {
  const std::string prefix = image_name("");
  const bool image = name.starts_with(prefix);
  const std::string file = image ? name.substr(prefix.size()) : name;
  if (!is_file_name(file) || (!image && file != kDumpManifest))
    return fail(Code::bad_value, fmt::format("a dump has no file '{}'", printable(name)));
  return open_at(image ? images.get() : dir.get(), file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, image ? 0644 : 0600);
}

}  // namespace

std::string incoming_dump_path(const std::string& dump_path) { return dump_path + ".incoming"; }

Result<std::uint64_t> send_dump(FrameChannel& channel, const std::string& path) {
  Dump dump = VZ_TRY(open_dump(path));
  std::uint64_t sent = 0;
  for (const auto& file : dump.manifest.files)
    sent += VZ_TRY(send_file(channel, dump.images.get(), file.name, image_name(file.name)));
  UniqueFd dir = VZ_TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  sent += VZ_TRY(send_file(channel, dir.get(), kDumpManifest, kDumpManifest));
  VZ_TRY(channel.send(kEnd, ""));
  return sent;
}

Result<std::uint64_t> receive_dump(FrameChannel& channel, const std::string& path, bool durable) {
  VZ_TRY(make_dirs(path.substr(0, path.rfind('/')), 0700));
  VZ_TRY(make_dirs(path, 0700));
  VZ_TRY(make_dirs(path + "/" + kDumpImages, 0755));
  UniqueFd dir = VZ_TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  UniqueFd images = VZ_TRY(open_at(dir.get(), kDumpImages, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  UniqueFd file;
  std::uint64_t received = 0;
  auto finish = [&]() -> Result<> { return file && durable ? sync_file(file.get()) : Result<>(); };
  for (;;) {
    Frame frame = VZ_TRY(channel.receive());
    if (frame.type == kBytes && file) {
      VZ_TRY_CTX(write_all(file.get(), frame.payload), path);
      received += frame.payload.size();
    } else if (frame.type == kFile) {
      VZ_TRY(finish());
      file = VZ_TRY(make_file(dir, images, frame.payload));
    } else if (frame.type == kEnd) {
      break;
    } else {
      return fail(Code::bad_value, fmt::format("{} sends a frame of type {} in a dump", channel.peer(), frame.type));
    }
  }
  VZ_TRY(finish());
  if (!durable) return received;
  VZ_TRY(sync_file(images.get()));
  VZ_TRY(sync_file(dir.get()));
  return received;
}

}  // namespace vz
