// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/dump_stream.h"

#include <algorithm>
#include <set>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/stream_hash.h"
#include "libvz/container/dump.h"
#include "libvz/container/migration_message.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::size_t kNameMax = 200;

// "pages-1.img", "core-7.img", "manifest.json".
bool is_file_name(const std::string& name) {
  auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !name.empty() && name.size() <= kNameMax && name[0] != '.' && std::all_of(name.begin(), name.end(), plain);
}

// The dump's own layout: the manifest, and below `images` what CRIU wrote, which it opens as the container's root.
class Receiver {
 public:
  Receiver(UniqueFd dir, UniqueFd images, bool durable)
      : dir_(std::move(dir)), images_(std::move(images)), durable_(durable) {}

  Result<> begin(const std::string& name) {
    VZ_TRY(end());
    const std::string prefix = image_name("");
    const bool image = name.starts_with(prefix);
    const std::string file = image ? name.substr(prefix.size()) : name;
    if (!is_file_name(file) || (!image && file != kDumpManifest))
      return fail(Code::bad_value, fmt::format("a dump has no file '{}'", printable(name)));
    if (image && out_.images.erase(file)) VZ_TRY(remove_tree_at(images_.get(), file));
    file_ = VZ_TRY(open_at(image ? images_.get() : dir_.get(), file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                           image ? 0644 : 0600));
    hash_ = {};
    now_ = {file, 0, 0};
    if (!image) out_.whole = true;
    return {};
  }
  bool can_add() const { return file_.get() >= 0; }
  Result<> add(std::string_view bytes) {
    VZ_TRY(write_all(file_.get(), bytes));
    hash_.add(bytes);
    now_.size += bytes.size();
    return {};
  }
  Result<ReceivedDump> finish() {
    VZ_TRY(end());
    if (!durable_) return std::move(out_);
    VZ_TRY(sync_file(images_.get()));
    VZ_TRY(sync_file(dir_.get()));
    return std::move(out_);
  }

 private:
  Result<> end() {
    if (!file_) return {};
    if (durable_) VZ_TRY(sync_file(file_.get()));
    file_.reset();
    now_.hash = hash_.value();
    out_.bytes += now_.size;
    if (now_.name != kDumpManifest) out_.images[now_.name] = now_;
    return {};
  }

  UniqueFd dir_, images_, file_;
  bool durable_;
  StreamHash hash_;
  DumpFile now_;
  ReceivedDump out_;
};

}  // namespace

std::string incoming_dump_path(const std::string& dump_path) { return dump_path + ".incoming"; }

std::string image_name(const std::string& file) { return fmt::format("{}/{}", kDumpImages, file); }

Result<DumpFile> send_dump_file(FrameChannel& channel, const UniqueFd& fd, const std::string& name,
                                const std::string& as) {
  VZ_TRY(channel.send(kFile, as));
  return read_dump_file(fd, name, [&](std::string_view piece) { return channel.send(kBytes, piece); });
}

Result<std::uint64_t> send_manifest(FrameChannel& channel, const std::string& path) {
  UniqueFd fd = VZ_TRY(open_file(fmt::format("{}/{}", path, kDumpManifest), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  return VZ_TRY(send_dump_file(channel, fd, kDumpManifest, kDumpManifest)).size;
}

Result<std::uint64_t> send_dump(FrameChannel& channel, const std::string& path) {
  Dump dump = VZ_TRY(open_dump(path));
  std::uint64_t sent = 0;
  for (const auto& file : dump.manifest.files) {
    UniqueFd fd = VZ_TRY(open_at(dump.images.get(), file.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    sent += VZ_TRY(send_dump_file(channel, fd, file.name, image_name(file.name))).size;
  }
  sent += VZ_TRY(send_manifest(channel, path));
  VZ_TRY(channel.send(kEnd, ""));
  return sent;
}

Result<ReceivedDump> receive_dump(FrameChannel& channel, const std::string& path, bool durable) {
  VZ_TRY(make_dirs(path.substr(0, path.rfind('/')), 0700));
  VZ_TRY(make_dirs(path, 0700));
  VZ_TRY(make_dirs(path + "/" + kDumpImages, 0755));
  UniqueFd dir = VZ_TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  UniqueFd images = VZ_TRY(open_at(dir.get(), kDumpImages, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  Receiver receiver(std::move(dir), std::move(images), durable);
  for (;;) {
    Frame frame = VZ_TRY(channel.receive());
    if (frame.type == kBytes && receiver.can_add())
      VZ_TRY_CTX(receiver.add(frame.payload), path);
    else if (frame.type == kFile)
      VZ_TRY(receiver.begin(frame.payload));
    else if (frame.type == kEnd)
      return receiver.finish();
    else
      return fail(Code::bad_value, fmt::format("{} sends a frame of type {} in a dump", channel.peer(), frame.type));
  }
}

Result<> drop_images(const UniqueFd& images, const KnownFiles& received, const DumpManifest* manifest) {
  std::set<std::string> wanted;
  if (manifest)
    for (const auto& file : manifest->files) wanted.insert(file.name);
  for (const auto& [name, file] : received)
    if (!wanted.contains(name)) VZ_TRY(remove_tree_at(images.get(), name));
  return {};
}

}  // namespace vz
