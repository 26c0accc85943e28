// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/backup_file.h"

#include <algorithm>

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libvz/base/byte_order.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/zstd.h"

namespace vz {

namespace {

constexpr std::string_view kMark = "vzbackup";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kStart = 16, kFrame = 16, kTrailer = kFrame + 16;
constexpr std::uint8_t kCompressed = 1;
constexpr int kLevel = 3;
constexpr std::size_t kPiece = 1u << 20;

std::uint64_t number_at(std::string_view text, std::size_t at, unsigned bytes) {
  return from_little_endian(text.substr(at), bytes);
}

// A frame in another place is another frame.
std::uint64_t frame_hash(std::string_view stored, std::uint8_t type, std::uint8_t flags, std::uint64_t at) {
  return XXH3_64bits_withSeed(stored.data(), stored.size(), at << 16 | std::uint64_t{flags} << 8 | type);
}

// Empty when it does not become smaller.
}  // namespace

Result<BackupWriter> BackupWriter::start(UniqueFd fd, std::optional<std::uint64_t> limit) {
  BackupWriter writer(std::move(fd), limit);
  VZ_TRY(writer.write(std::string(kMark) + little_endian(kVersion, 4) + little_endian(0, 4)));
  return writer;
}

Result<> BackupWriter::write(std::string_view text) {
  if (limit_ && at_ + text.size() > *limit_)
    return fail(Error(Code::no_disk_space, fmt::format("the backup would become larger than the {} KiB that are left "
                                                       "for this container's backups",
                                                       *limit_ >> 10))
                    .with_hint("delete older ones (vzctl backup-list, backup-delete), or raise --backup-space"));
  VZ_TRY(write_all(fd_.get(), text));
  at_ += text.size();
  return {};
}

Result<> BackupWriter::put(std::uint8_t type, std::string_view head, std::string_view data) {
  std::string payload;
  payload.reserve(head.size() + data.size());
  payload.append(head).append(data);
  if (payload.size() > kMaxPayload)
    return fail(Code::bad_value, fmt::format("a part of {} bytes is too long for a backup", payload.size()));
  std::uint8_t flags = 0;
  if (std::string smaller = type == kBackupTrailer ? "" : zstd_compress(payload, kLevel); !smaller.empty()) {
    payload = std::move(smaller);
    flags = kCompressed;
  }
  if (type == kBackupState && state_at_ == 0) state_at_ = at_;
  std::string frame = little_endian(type, 1) + little_endian(flags, 1) + little_endian(0, 2) +
                      little_endian(payload.size(), 4) + little_endian(frame_hash(payload, type, flags, at_), 8);
  VZ_TRY(write(frame.append(payload)));
  ++frames_;
  return {};
}

Result<> BackupWriter::put_long(std::uint8_t type, std::string_view data) {
  do {
    VZ_TRY(put(type, data.substr(0, kPiece)));
    data.remove_prefix(std::min(kPiece, data.size()));
  } while (!data.empty());
  return {};
}

Result<> BackupWriter::finish() {
  VZ_TRY(put(kBackupTrailer, little_endian(frames_, 8), little_endian(state_at_, 8)));
  return sync_file(fd_.get());
}

tl::unexpected<Error> BackupReader::damaged(const std::string& why) const {
  return fail(Error(Code::bad_backup, fmt::format("{} is damaged, or no backup: {}", path_, why))
                  .with_hint("copy it again, or use another backup; `vzctl backup-verify` reads all of one"));
}

Result<BackupReader> BackupReader::open(UniqueFd fd, std::string path) {
  const auto size = VZ_TRY(file_size(fd.get()));
  BackupReader reader(std::move(fd), std::move(path), size);
  auto start = VZ_TRY(read_at(reader.fd_.get(), 0, kStart));
  if (start.size() != kStart || std::string_view(start).substr(0, kMark.size()) != kMark)
    return reader.damaged("it does not begin like one");
  if (auto version = number_at(start, 8, 4); version != kVersion)
    return fail(Error(Code::bad_backup, fmt::format("{} is a backup of version {}", reader.path_, version))
                    .with_hint(fmt::format("this vz knows version {}; use the one that made it", kVersion)));
  if (number_at(start, 12, 4) != 0) return reader.damaged("it does not begin like one");
  if (size < kStart + kTrailer) return reader.damaged("it ends early");
  VZ_TRY(reader.read_trailer());
  reader.at_ = kStart;
  return reader;
}

Result<> BackupReader::read_trailer() {
  at_ = size_ - kTrailer;
  auto frame = read_frame();
  if (!frame || frame->type != kBackupTrailer || frame->payload.size() != 16)
    return damaged("its end is missing: it was cut short, or never finished");
  expected_frames_ = number_at(frame->payload, 0, 8);
  state_at_ = number_at(frame->payload, 8, 8);
  frames_ = 0;
  return {};
}

Result<BackupPart> BackupReader::read_frame() {
  auto head = VZ_TRY(read_at(fd_.get(), at_, kFrame));
  if (head.size() != kFrame) return damaged(fmt::format("it ends at {}", at_));
  const auto type = static_cast<std::uint8_t>(head[0]), flags = static_cast<std::uint8_t>(head[1]);
  const auto length = static_cast<std::size_t>(number_at(head, 4, 4));
  if (flags > kCompressed || number_at(head, 2, 2) != 0 || length > BackupWriter::kMaxPayload)
    return damaged(fmt::format("there is no part at {}", at_));
  auto stored = VZ_TRY(read_at(fd_.get(), at_ + kFrame, length));
  if (stored.size() != length) return damaged(fmt::format("it ends in the part at {}", at_));
  if (frame_hash(stored, type, flags, at_) != number_at(head, 8, 8))
    return damaged(fmt::format("the part at {} has another checksum", at_));
  if (flags == kCompressed) {
    auto plain = zstd_decompress(stored, BackupWriter::kMaxPayload);
    if (!plain) return damaged(fmt::format("the part at {} cannot be decompressed", at_));
    stored = *std::move(plain);
  }
  at_ += kFrame + length;
  ++frames_;
  return BackupPart{type, std::move(stored)};
}

Result<std::optional<BackupPart>> BackupReader::next() {
  if (at_ >= size_) return damaged("its end is missing");
  auto part = VZ_TRY(read_frame());
  if (part.type < kBackupHeader || part.type > kBackupTrailer)
    return damaged(fmt::format("a part of type {}, which this vz does not know", part.type));
  if (part.type != kBackupTrailer) return std::optional(std::move(part));
  if (at_ != size_) return damaged("it goes on after its end");
  if (counted_ && frames_ - 1 != expected_frames_) return damaged("parts are missing");
  return std::optional<BackupPart>();
}

Result<> BackupReader::seek_state() {
  if (state_at_ < kStart || state_at_ >= size_) return damaged("nothing can build on it");
  at_ = state_at_;
  counted_ = false;
  return {};
}

}  // namespace vz
