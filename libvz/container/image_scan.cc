// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/image_scan.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libvz/base/byte_order.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

bool all_zero(std::string_view data) {
  return data.empty() || (data[0] == '\0' && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

}  // namespace

ChunkHash hash_chunk(std::string_view data) {
  if (all_zero(data)) return {};
  const XXH128_hash_t hash = XXH3_128bits(data.data(), data.size());
  return {hash.low64, hash.high64};
}

std::string encode_hashes(const std::vector<ChunkHash>& hashes) {
  std::string out;
  out.reserve(hashes.size() * 16);
  for (const auto& hash : hashes) out.append(little_endian(hash.low)).append(little_endian(hash.high));
  return out;
}

Result<std::vector<ChunkHash>> decode_hashes(std::string_view text) {
  if (text.size() % 16 != 0) return fail(Code::bad_backup, fmt::format("{} bytes are no list of hashes", text.size()));
  std::vector<ChunkHash> out;
  out.reserve(text.size() / 16);
  for (; !text.empty(); text.remove_prefix(16))
    out.push_back({from_little_endian(text), from_little_endian(text.substr(8))});
  return out;
}

Result<ImageScan> ImageScan::open(int fd, std::vector<ChunkHash> known) {
  const auto size = VZ_TRY(file_size(fd));
  known.resize((size + kImageChunk - 1) / kImageChunk);
  return ImageScan(fd, size, std::move(known));
}

Result<> ImageScan::tell_hole(const ImageSink& sink, std::uint64_t index) {
  if (told_[index] == ChunkHash{}) return {};
  const std::uint64_t offset = index * kImageChunk;
  VZ_TRY(sink.hole(offset, std::min(kImageChunk, size_ - offset)));
  told_[index] = {};
  return {};
}

Result<> ImageScan::tell_chunk(const ImageSink& sink, std::uint64_t index, DeltaPass& pass) {
  const std::uint64_t offset = index * kImageChunk;
  const auto want = static_cast<std::size_t>(std::min(kImageChunk, size_ - offset));
  auto data = VZ_TRY(read_at(fd_, offset, want));
  if (data.size() != want) return fail(Code::io, fmt::format("the image ends at {} while it is read", offset));
  pass.read += want;
  const ChunkHash now = hash_chunk(data);
  if (now == ChunkHash{}) return tell_hole(sink, index);
  if (told_[index] == now) return {};
  VZ_TRY(sink.block(offset, data));
  told_[index] = now;
  pass.sent += want;
  return {};
}

Result<> ImageScan::tell_chunks(const ImageSink& sink, const ImageProgress& progress, Extent chunks, DeltaPass& pass) {
  std::uint64_t index = chunks.begin;
  while (index < chunks.end) {
    auto extent = VZ_TRY(next_data(fd_, index * kImageChunk));
    const std::uint64_t begin = extent ? std::min(extent->begin / kImageChunk, chunks.end) : chunks.end;
    for (; index < begin; ++index) VZ_TRY(tell_hole(sink, index));
    const std::uint64_t end = extent ? std::min((extent->end + kImageChunk - 1) / kImageChunk, chunks.end) : index;
    for (; index < end; ++index) {
      VZ_TRY(tell_chunk(sink, index, pass));
      if (!progress(index * kImageChunk, size_)) return fail(Code::io, "interrupted");
    }
  }
  return {};
}

Result<DeltaPass> ImageScan::pass(const ImageSink& sink, const ImageProgress& progress, const ImageParts& parts) {
  DeltaPass pass;
  std::uint64_t next = 0;  // a chunk may be in two parts
  for (const auto& part : parts ? *parts : std::vector<Extent>{{0, size_}}) {
    const Extent chunks{std::max(next, part.begin / kImageChunk),
                        std::min<std::uint64_t>((part.end + kImageChunk - 1) / kImageChunk, told_.size())};
    VZ_TRY(tell_chunks(sink, progress, chunks, pass));
    next = std::max(next, chunks.end);
  }
  return pass;
}

}  // namespace vz
