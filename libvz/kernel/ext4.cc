// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/ext4.h"

#include <cerrno>
#include <string>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {

namespace {

// fs/ext4/ext4.h; it has no uapi header for these on Debian 12.
constexpr unsigned long kResizeFs = _IOW('f', 16, std::uint64_t);  // EXT4_IOC_RESIZE_FS, argument in blocks
constexpr std::uint16_t kMagic = 0xEF53;
constexpr std::uint16_t kStateValid = 0x1;
constexpr std::uint16_t kStateError = 0x2;
constexpr std::uint32_t kIncompatRecover = 0x4;
constexpr std::uint32_t kIncompat64Bit = 0x80;
constexpr std::uint32_t kRoCompatQuota = 0x100;
constexpr std::uint32_t kRoCompatProject = 0x2000;

// Offsets in struct ext4_super_block; all fields are little-endian.
enum Offset : std::size_t {
  kBlocksLow = 0x4,
  kLogBlockSize = 0x18,
  kMagicAt = 0x38,
  kState = 0x3A,
  kIncompat = 0x60,
  kRoCompat = 0x64,
  kBlocksHigh = 0x150,
};

std::uint64_t little_endian(std::string_view raw, std::size_t at, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(raw[at + i]);
  return value;
}

}  // namespace

Result<Ext4State> parse_ext4_superblock(std::string_view raw) {
  if (raw.size() < kExt4SuperblockSize || little_endian(raw, kMagicAt, 2) != kMagic)
    return fail(Code::mount_image, "no ext4 file system in the image");
  auto log_size = little_endian(raw, kLogBlockSize, 4);
  if (log_size > 6) return fail(Code::mount_image, "impossible block size in the image's superblock");
  auto incompat = little_endian(raw, kIncompat, 4);
  std::uint64_t blocks = little_endian(raw, kBlocksLow, 4);
  if (incompat & kIncompat64Bit) blocks |= little_endian(raw, kBlocksHigh, 4) << 32;
  auto state = little_endian(raw, kState, 2);
  Ext4State out;
  out.bytes = blocks << (10 + log_size);
  out.errors = !(state & kStateValid) || (state & kStateError);
  out.quota = little_endian(raw, kRoCompat, 4) & (kRoCompatQuota | kRoCompatProject);
  out.needs_replay = incompat & kIncompatRecover;
  return out;
}

Result<Ext4State> read_ext4_state(int image_fd) {
  std::string raw(kExt4SuperblockSize, '\0');
  ssize_t n = ::pread(image_fd, raw.data(), raw.size(), kExt4SuperblockOffset);
  if (n < 0) return fail_errno("read the image's superblock", Code::mount_image);
  raw.resize(static_cast<std::size_t>(n));
  return parse_ext4_superblock(raw);
}

Result<> grow_mounted_ext4(int mount_fd, std::uint64_t bytes) {
  UniqueFd root = VZ_TRY(open_at(mount_fd, ".", O_RDONLY | O_DIRECTORY));
  struct statfs st;
  if (::fstatfs(root.get(), &st) != 0) return fail_errno("statfs", Code::resize_image);
  std::uint64_t blocks = bytes / static_cast<std::uint64_t>(st.f_bsize);
  if (::ioctl(root.get(), kResizeFs, &blocks) == 0) return {};
  if (errno == EPERM)
    return fail(Error::from_errno(EPERM, "grow the mounted file system", Code::resize_image)
                    .with_hint("this needs CAP_SYS_RESOURCE; without it stop the container and resize it then"));
  return fail_errno("grow the mounted file system", Code::resize_image);
}

Result<std::uint64_t> trim_mounted(int mount_fd) {
  UniqueFd root = VZ_TRY(open_at(mount_fd, ".", O_RDONLY | O_DIRECTORY));
  fstrim_range range = {};
  range.len = UINT64_MAX;
  if (::ioctl(root.get(), FITRIM, &range) != 0) return fail_errno("discard free blocks", Code::compact_image);
  return range.len;
}

}  // namespace vz
