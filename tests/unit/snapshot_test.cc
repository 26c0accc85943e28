// SPDX-License-Identifier: GPL-2.0-or-later
// The tree of a container's snapshots, its file, and copies of images.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include <fcntl.h>

#include "libvz/container/image_copy.h"
#include "libvz/container/snapshot_tree.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {
namespace {

const std::string kA = "aaaaaaaa-0000-4000-8000-000000000001", kB = "bbbbbbbb-0000-4000-8000-000000000002",
                  kC = "cccccccc-0000-4000-8000-000000000003";

Snapshot named(const std::string& uuid) {
  Snapshot s;
  s.uuid = uuid;
  s.name = "name of " + uuid;
  s.created_at = 1700000000;
  s.memory = true;
  return s;
}

SnapshotTree three() {
  SnapshotTree tree;
  for (const auto& uuid : {kA, kB, kC}) tree.add(named(uuid));
  return tree;
}

TEST(SnapshotTree, EachComesFromTheOneBefore) {
  const auto tree = three();
  EXPECT_EQ(tree.current, kC);
  EXPECT_EQ(tree.find(kA)->parent, "");
  EXPECT_EQ(tree.find(kC)->parent, kB);
}

TEST(SnapshotTree, AfterAReturnTheNextOneComesFromThere) {
  auto tree = three();
  tree.remove(kC);
  EXPECT_EQ(tree.current, kB);
  tree.current = kA;
  tree.add(named(kC));
  EXPECT_EQ(tree.find(kC)->parent, kA);
}

TEST(SnapshotTree, WhatCameFromADeletedOneComesFromItsParent) {
  auto tree = three();
  tree.remove(kB);
  EXPECT_EQ(tree.find(kC)->parent, kA);
  EXPECT_EQ(tree.current, kC);
  tree.remove(kA);
  EXPECT_EQ(tree.find(kC)->parent, "");
  tree.remove(kA);  // gone already
  EXPECT_EQ(tree.snapshots.size(), 1u);
}

TEST(SnapshotTree, TheFileIsReadAsItWasWritten) {
  auto tree = three();
  tree.pending = {kA, true};
  tree.snapshots[1].description = "quotes \" and \xff bytes that are no UTF-8";
  auto again = parse_tree(tree_text(tree), "tree");
  ASSERT_TRUE(again) << again.error().message();
  again->snapshots[1].description = tree.snapshots[1].description;
  EXPECT_EQ(*again, tree);
}

TEST(SnapshotTree, BadFilesAreRefusedByName) {
  const std::string good = tree_text(three());
  auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    auto at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const auto& text :
       {std::string(), std::string("[]"), std::string("{"), with("\"version\": 1", "\"version\": 2"),
        with("\"current\": \"" + kC, "\"current\": \"" + std::string("dddddddd-0000-4000-8000-000000000004")),
        with("\"uuid\": \"" + kB, "\"uuid\": \"" + kA), with("\"uuid\": \"" + kB, "\"uuid\": \"../../../etc"),
        with("\"parent\": \"" + kA, "\"parent\": \"dddddddd-0000-4000-8000-000000000004"),
        with("1700000000", "\"yesterday\"")}) {
    auto tree = parse_tree(text, "PATH");
    ASSERT_FALSE(tree) << text;
    EXPECT_EQ(tree.error().code(), Code::list_snapshots);
    EXPECT_NE(tree.error().message().find("PATH"), std::string::npos);
  }
}

TEST(SnapshotTree, UuidsAreTakenWithAndWithoutBraces) {
  EXPECT_EQ(*parse_uuid(kA), kA);
  EXPECT_EQ(*parse_uuid("{" + kA + "}"), kA);
  EXPECT_EQ(*parse_uuid("{AAAAAAAA-0000-4000-8000-000000000001}"), kA);
  for (const std::string bad :
       {"", "{}", "x", "{aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa00000400080000000000001",
        "../aaaaa-0000-4000-8000-000000000001", "gaaaaaaa-0000-4000-8000-000000000001"})
    EXPECT_FALSE(parse_uuid(bad)) << bad;
}

class ImageCopyTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kSize = 40 * kImageChunk;

  ImageCopyTest() {
    char name[] = "/var/tmp/vz-image-copy-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    image_ = *open_file(dir_ + "/image", O_RDWR | O_CREAT, 0600);
    EXPECT_TRUE(set_file_size(image_.get(), kSize));
    put(3, 'a');
    put(7, 'b');
  }
  ~ImageCopyTest() override { std::filesystem::remove_all(dir_); }

  void put(std::uint64_t chunk, char what) {
    EXPECT_TRUE(write_at(image_.get(), chunk * kImageChunk, std::string(kImageChunk, what)));
  }
  std::string all(const std::string& name) { return *read_file(dir_ + "/" + name, kSize); }

  std::string dir_;
  UniqueFd image_;
  Reporter quiet_;
};

TEST_F(ImageCopyTest, IsTheImageAsItIsInTheEnd) {
  auto copy = ImageCopy::begin(dir_ + "/image", dir_ + "/copy");
  ASSERT_TRUE(copy) << copy.error().message();
  ASSERT_TRUE(copy->prepare(quiet_));
  put(9, 'c');
  put(3, 'd');
  ASSERT_TRUE(punch_hole(image_.get(), 7 * kImageChunk, kImageChunk));
  ASSERT_TRUE(copy->finish(quiet_));
  ASSERT_TRUE(copy->sync());
  EXPECT_TRUE(all("copy") == all("image"));
  put(9, 'e');
  EXPECT_FALSE(all("copy") == all("image"));
  auto fd = open_file(dir_ + "/copy", O_RDONLY);
  EXPECT_LE(*allocated_bytes(fd->get()), 3 * kImageChunk);
}

TEST_F(ImageCopyTest, NothingThatIsThereIsOverwritten) {
  auto copy = ImageCopy::begin(dir_ + "/image", dir_ + "/image");
  ASSERT_FALSE(copy);
  EXPECT_EQ(copy.error().sys_errno(), EEXIST);
}

}  // namespace
}  // namespace vz
