// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/backup_content.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "libvz/base/byte_order.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/tree_archive.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

constexpr std::size_t kMaxState = std::size_t{1} << 32;

Result<> check_progress(Reporter& reporter, const BackupReader& reader) {
  reporter.progress("restore", reader.at(), reader.size());
  return reporter.cancelled() ? Result<>(fail(Code::io, "interrupted")) : Result<>();
}

// One file of an image's chain.
class ImageReader {
 public:
  ImageReader(OpenBackup& backup, ImageReplay& replay, int fd) : backup_(backup), replay_(replay), fd_(fd) {}
  Result<> run(Reporter& reporter);

 private:
  Result<> take(const BackupPart& part);
  Result<> take_block(const BackupPart& part);
  Result<> take_hole(const BackupPart& part);

  OpenBackup& backup_;
  ImageReplay& replay_;
  int fd_;
  std::string state_;
};

Result<> ImageReader::take_block(const BackupPart& part) {
  if (part.payload.size() <= 8) return backup_.reader.damaged("a block without data");
  const std::uint64_t offset = from_little_endian(part.payload);
  const auto data = std::string_view(part.payload).substr(8);
  VZ_TRY_CTX(replay_.block(offset, data), backup_.reader.path());
  return fd_ < 0 ? Result<>() : write_at(fd_, offset, data);
}

Result<> ImageReader::take_hole(const BackupPart& part) {
  if (part.payload.size() != 16) return backup_.reader.damaged("a hole without a place");
  const std::uint64_t offset = from_little_endian(part.payload),
                      length = from_little_endian(std::string_view(part.payload).substr(8));
  VZ_TRY_CTX(replay_.hole(offset, length), backup_.reader.path());
  return fd_ < 0 ? Result<>() : punch_hole(fd_, offset, length);
}

Result<> ImageReader::take(const BackupPart& part) {
  if (!state_.empty() && part.type != kBackupState) return backup_.reader.damaged("a part after its state");
  switch (part.type) {
    case kBackupBlock:
      return take_block(part);
    case kBackupHole:
      return take_hole(part);
    case kBackupState:
      if (state_.size() + part.payload.size() > kMaxState) return backup_.reader.damaged("its state is too long");
      state_ += part.payload;
      return {};
    default:
      return backup_.reader.damaged(fmt::format("a part of type {} in an image", part.type));
  }
}

Result<> ImageReader::run(Reporter& reporter) {
  replay_.begin(backup_.header.size);
  if (fd_ >= 0) VZ_TRY(set_file_size(fd_, backup_.header.size));
  while (auto part = VZ_TRY(backup_.reader.next())) {
    VZ_TRY(take(*part));
    VZ_TRY(check_progress(reporter, backup_.reader));
  }
  VZ_TRY_CTX(replay_.check(state_), backup_.reader.path());
  return {};
}

Result<> replay_archives(OpenBackup& backup, const TreeTarget& target, Reporter& reporter) {
  std::optional<TreeUnpacker> unpacker;
  bool open = false, any = false;
  while (auto part = VZ_TRY(backup.reader.next())) {
    VZ_TRY(check_progress(reporter, backup.reader));
    if (part->type == kBackupState && !open) continue;
    if (part->type != kBackupArchive && (part->type != kBackupArchiveEnd || !open))
      return backup.reader.damaged(fmt::format("a part of type {} among files", part->type));
    if (part->type == kBackupArchive) {
      if (!std::exchange(open, true) && !target.dir.empty())
        unpacker.emplace(VZ_TRY(TreeUnpacker::start(target.dir, target.idmap, /*over=*/true)));
      if (unpacker) VZ_TRY(unpacker->write(part->payload));
      continue;
    }
    if (auto done = unpacker ? unpacker->finish() : Result<>(); !done) {
      Error error = std::move(done).error().context(backup.reader.path());
      return fail(error.code() == Code::io ? std::move(error).with_code(Code::bad_backup) : std::move(error));
    }
    unpacker.reset();
    open = false;
    any = true;
  }
  return !open && any ? Result<>() : backup.reader.damaged("its archive has no end");
}

}  // namespace

void ImageReplay::begin(std::uint64_t size) {
  size_ = size;
  chunks_.resize((size + kImageChunk - 1) / kImageChunk);
}

Result<> ImageReplay::block(std::uint64_t offset, std::string_view data) {
  if (offset >= size_ || offset % kImageChunk != 0 || data.size() != std::min(kImageChunk, size_ - offset))
    return fail(Code::bad_backup,
                fmt::format("a block of {} bytes at {}, in an image of {}", data.size(), offset, size_));
  chunks_[offset / kImageChunk] = hash_chunk(data);
  return {};
}

Result<> ImageReplay::hole(std::uint64_t offset, std::uint64_t length) {
  if (offset >= size_ || offset % kImageChunk != 0 || length != std::min(kImageChunk, size_ - offset))
    return fail(Code::bad_backup, fmt::format("a hole of {} bytes at {}, in an image of {}", length, offset, size_));
  chunks_[offset / kImageChunk] = {};
  return {};
}

Result<> ImageReplay::check(const std::string& state) const {
  auto said = VZ_TRY(decode_hashes(state));
  if (said == chunks_) return {};
  return fail(Error(Code::bad_backup, "its blocks do not make the image that was backed up")
                  .with_hint("what it builds on may have been replaced by another file"));
}

Result<> replay_image(const std::vector<std::string>& chain, const ImageTarget& target, Reporter& reporter) {
  ImageReplay replay;
  for (const auto& path : chain) {
    auto backup = VZ_TRY(open_backup(path));
    if (backup.header.layout != layout_name(Layout::image)) return backup.reader.damaged("it is of another layout");
    VZ_TRY(ImageReader(backup, replay, target.fd).run(reporter));
  }
  return {};
}

Result<> replay_tree(const std::vector<std::string>& chain, const TreeTarget& target, Reporter& reporter) {
  for (const auto& path : chain) {
    auto backup = VZ_TRY(open_backup(path));
    if (backup.header.layout != layout_name(Layout::dir)) return backup.reader.damaged("it is of another layout");
    VZ_TRY(replay_archives(backup, target, reporter));
  }
  return {};
}

}  // namespace vz
