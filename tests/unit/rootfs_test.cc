// SPDX-License-Identifier: GPL-2.0-or-later
// Pure parts of storage: layout names, mount options, superblock, messages of tar and resize2fs.
#include "libvz/container/rootfs.h"

#include <gtest/gtest.h>
#include <linux/mount.h>

#include "libvz/container/image.h"
#include "libvz/container/mount_options.h"
#include "libvz/container/unpack.h"
#include "libvz/kernel/ext4.h"

namespace vz {
namespace {

TEST(Rootfs, LayoutNames) {
  for (const char* name : {"image", "ploop", "ploop:expanded", "ploop:plain", "ploop:raw"})
    EXPECT_EQ(*parse_layout(name), Layout::image) << name;
  for (const char* name : {"dir", "simfs"}) EXPECT_EQ(*parse_layout(name), Layout::dir) << name;
  for (const char* name : {"", "Image", "ploop:", "zfs", "dir "})
    EXPECT_EQ(parse_layout(name).error().code(), Code::bad_value) << name;
}

TEST(MountOpts, Accepted) {
  auto options = parse_mount_opts("noatime, nodiratime,ro,discard,data=ordered,commit=30,barrier=0,", Layout::image);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->attrs, MOUNT_ATTR_NOATIME | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_RDONLY);
  EXPECT_EQ(options->ext4, (MountOptions{{"discard", ""}, {"data", "ordered"}, {"commit", "30"}, {"barrier", "0"}}));
  EXPECT_TRUE(parse_mount_opts("", Layout::dir));
}

TEST(MountOpts, LastOneWins) {
  EXPECT_EQ(parse_mount_opts("ro,rw", Layout::dir)->attrs, 0u);
  EXPECT_EQ(parse_mount_opts("noatime,strictatime", Layout::dir)->attrs, std::uint64_t{MOUNT_ATTR_STRICTATIME});
}

TEST(MountOpts, Refused) {
  for (const char* text : {"errors=panic", "journal_dev=0x801", "journal_path=/dev/sda", "commit=", "commit=x",
                           "commit", "data=foo", "data", "discard=1", "dev", "loop", "source=/dev/sda", "noatime ro",
                           "init=/x", "sb=8193", "usrjquota=/etc/passwd", "="})
    EXPECT_EQ(parse_mount_opts(text, Layout::image).error().code(), Code::bad_value) << text;
  EXPECT_EQ(parse_mount_opts("discard", Layout::dir).error().code(), Code::bad_value);
}

std::string superblock(unsigned state, unsigned incompat, std::uint32_t blocks, unsigned log_size = 2) {
  std::string raw(kExt4SuperblockSize, '\0');
  auto put = [&](std::size_t at, std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) raw[at + i] = static_cast<char>(value >> (8 * i));
  };
  put(0x4, blocks, 4);
  put(0x18, log_size, 4);
  put(0x38, 0xEF53, 2);
  put(0x3A, state, 2);
  put(0x60, incompat, 4);
  return raw;
}

TEST(Ext4, State) {
  struct {
    unsigned state, incompat;
    bool check, replay;
  } cases[] = {{1, 0, false, false}, {1, 4, false, true}, {0, 0, true, false}, {3, 0, true, false}, {2, 4, true, true}};
  for (const auto& c : cases) {
    auto state = parse_ext4_superblock(superblock(c.state, c.incompat, 524288));
    ASSERT_TRUE(state);
    EXPECT_EQ(state->bytes, 2ull << 30);
    EXPECT_EQ(state->needs_check(), c.check) << c.state;
    EXPECT_EQ(state->needs_replay, c.replay) << c.incompat;
  }
}

TEST(Ext4, NotOne) {
  auto raw = superblock(1, 0, 1);
  EXPECT_FALSE(parse_ext4_superblock(raw.substr(0, 1023)));
  EXPECT_FALSE(parse_ext4_superblock(""));
  EXPECT_FALSE(parse_ext4_superblock(superblock(1, 0, 1, 40)));
  raw[0x38] = 0;
  EXPECT_EQ(parse_ext4_superblock(raw).error().code(), Code::mount_image);
}

TEST(Resize, MinimumBlocks) {
  EXPECT_EQ(*parse_minimum_blocks("resize2fs 1.47.0 (5-Feb-2023)\nEstimated minimum size of the filesystem: 2512\n"),
            2512u);
  EXPECT_FALSE(parse_minimum_blocks("resize2fs 1.47.0\nPlease run 'e2fsck -f x' first.\n"));
  EXPECT_FALSE(parse_minimum_blocks("Estimated minimum size of the filesystem: many\n"));
}

TEST(Unpack, Decompressor) {
  std::string tar(512, '\0');
  tar.replace(257, 5, "ustar");
  EXPECT_TRUE(choose_decompressor(tar)->empty());
  EXPECT_EQ(choose_decompressor("\x28\xB5\x2F\xFD...")->front(), "/usr/bin/zstd");
  EXPECT_EQ(choose_decompressor("\x1F\x8B\x08")->front(), "/usr/bin/gzip");
  EXPECT_EQ(choose_decompressor(std::string("\xFD\x37zXZ\0..", 8))->front(), "/usr/bin/xz");
  for (const auto& head : {std::string(), std::string("#!/bin/sh\n"), std::string(512, '\0')})
    EXPECT_FALSE(choose_decompressor(head));
}

TEST(Unpack, TarMessages) {
  auto m = sort_tar_messages(
      "/usr/bin/tar: ./root/mem: Cannot mknod: Operation not permitted\n"
      "/usr/bin/tar: Removing leading `/' from member names\n"
      "/usr/bin/tar: ./x: Member name contains '..'\n"
      "/usr/bin/tar: Exiting with failure status due to previous errors\n");
  EXPECT_EQ(m.devices, 1u);
  EXPECT_FALSE(m.no_space);
  EXPECT_EQ(m.errors, std::vector<std::string>{"/usr/bin/tar: ./x: Member name contains '..'"});
  EXPECT_TRUE(sort_tar_messages("tar: ./a: Cannot write: No space left on device\n").no_space);
  EXPECT_TRUE(sort_tar_messages("tar: ./a: Wrote only 512 of 10240 bytes\n").no_space);
}

}  // namespace
}  // namespace vz
