// SPDX-License-Identifier: LGPL-2.1-or-later
// The file of a backup: a mark, a header, frames, and a trailer that says that all of it is there. Written once from
// its beginning to its end. Reading it, nothing is believed: it may come from anywhere.
//
//   "vzbackup" u32 version u32 0
//   frame: u8 type, u8 flags (1: zstd), u16 0, u32 stored length, u64 hash, payload
//   the hash is XXH3 of the stored payload, seeded with type, flags and the frame's place in the file
//   trailer, the last frame: u64 frames before it, u64 place of the first frame of the state
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

enum BackupFrame : std::uint8_t {
  kBackupHeader = 1,      // JSON
  kBackupBlock = 2,       // u64 offset, a chunk of the image
  kBackupHole = 3,        // u64 offset, u64 length: zeroes
  kBackupArchive = 4,     // the next bytes of a tar archive
  kBackupArchiveEnd = 5,  // of this archive; another may follow, of what changed meanwhile
  kBackupState = 6,       // what the next incremental one compares with: chunk hashes, or tar's list of files
  kBackupTrailer = 7,
};

class BackupWriter {
 public:
  static constexpr std::size_t kMaxPayload = (1u << 20) + 64;

  // `limit`: Code::no_disk_space beyond so many bytes.
  static Result<BackupWriter> start(UniqueFd fd, std::optional<std::uint64_t> limit);
  // `head` and `data` are one payload.
  Result<> put(std::uint8_t type, std::string_view head, std::string_view data = {});
  // Of any length, in as many frames as it takes.
  Result<> put_long(std::uint8_t type, std::string_view data);
  // The trailer; on disk when it returns.
  Result<> finish();
  std::uint64_t bytes() const { return at_; }

 private:
  BackupWriter(UniqueFd fd, std::optional<std::uint64_t> limit) : fd_(std::move(fd)), limit_(limit) {}
  Result<> write(std::string_view text);

  UniqueFd fd_;
  std::optional<std::uint64_t> limit_;
  std::uint64_t at_ = 0, frames_ = 0, state_at_ = 0;
};

struct BackupPart {
  std::uint8_t type = 0;
  std::string payload;
};

class BackupReader {
 public:
  // `path`: for errors, which are Code::bad_backup.
  static Result<BackupReader> open(UniqueFd fd, std::string path);
  // The next frame; nullopt: the end, with a good trailer.
  Result<std::optional<BackupPart>> next();
  // Goes to the state; only next() after it.
  Result<> seek_state();
  std::uint64_t at() const { return at_; }
  std::uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  tl::unexpected<Error> damaged(const std::string& why) const;

 private:
  BackupReader(UniqueFd fd, std::string path, std::uint64_t size)
      : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}
  Result<BackupPart> read_frame();
  Result<> read_trailer();

  UniqueFd fd_;
  std::string path_;
  std::uint64_t at_ = 0, size_ = 0, frames_ = 0;
  std::uint64_t expected_frames_ = 0, state_at_ = 0;  // as the trailer says
  bool counted_ = true;                               // every frame was read
};

}  // namespace vz
