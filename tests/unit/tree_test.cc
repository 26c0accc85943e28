// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/tree.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <optional>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {
namespace {

// BASE/root is the container's tree; BASE/host must never be touched.
class TreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vz-tree-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    base_ = name;
    ASSERT_TRUE(make_dirs(base_ + "/root/etc", 0755));
    ASSERT_TRUE(make_dirs(base_ + "/host", 0755));
    ASSERT_TRUE(replace_file(base_ + "/host/secret", "secret", 0644));
    tree_.emplace(std::move(*Tree::open(base_ + "/root")));
  }
  void TearDown() override {
    EXPECT_EQ(*read_file(base_ + "/host/secret"), "secret");
    EXPECT_EQ(list_dir(base_ + "/host")->size(), 1u);
    std::error_code ec;
    std::filesystem::remove_all(base_, ec);
  }
  void link(const std::string& target, const std::string& name) {
    ASSERT_TRUE(make_symlink(target, base_ + "/root/" + name));
  }
  Result<> write(const std::string& path) { return tree_->write(path, "new", 0640, ::getuid(), ::getgid()); }

  std::string base_;
  std::optional<Tree> tree_;
};

TEST_F(TreeTest, WritesAndReads) {
  ASSERT_TRUE(write("/etc/hostname"));
  EXPECT_EQ(*tree_->read("etc/hostname"), "new");
  ASSERT_TRUE(write("etc/hostname"));
  EXPECT_EQ(list_dir(base_ + "/root/etc")->size(), 1u);
  struct stat st;
  ASSERT_EQ(::stat((base_ + "/root/etc/hostname").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777u, 0640u);
}

TEST_F(TreeTest, LinksNeverLeadOut) {
  link(base_ + "/host/secret", "etc/absolute");
  link("../../../../../../../.." + base_ + "/host/secret", "etc/dotdot");
  link(base_ + "/host", "dir");
  link("../host", "etc/up");
  for (const char* path : {"etc/absolute", "etc/dotdot", "dir/secret", "etc/up/secret", "../host/secret"}) {
    EXPECT_FALSE(tree_->read(path)) << path;
    EXPECT_FALSE(write(path)) << path;
    EXPECT_FALSE(tree_->exists(path)) << path;
  }
}

TEST_F(TreeTest, AbsoluteLinkLeadsIntoTheTree) {
  link("/etc/real", "etc/link");
  ASSERT_TRUE(write("etc/link"));
  EXPECT_EQ(*read_file(base_ + "/root/etc/real"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(base_ + "/root/etc/link"));
  link("../../../etc/real", "etc/climb");  // as root of the container sees it: /etc/real
  EXPECT_EQ(*tree_->read("etc/climb"), "new");
  ASSERT_TRUE(write("etc/climb"));
}

TEST_F(TreeTest, LoopsAndOddNamesFail) {
  link("b", "a");
  link("a", "b");
  link(".", "dot");
  link("..", "dots");
  EXPECT_EQ(write("a").error().sys_errno(), ELOOP);
  for (const char* path : {"dot", "dots", "", "/", ".", "..", "etc/.."}) EXPECT_FALSE(write(path)) << path;
}

TEST_F(TreeTest, OnlyRegularFiles) {
  ASSERT_EQ(::mkfifo((base_ + "/root/etc/fifo").c_str(), 0600), 0);
  for (const char* path : {"etc/fifo", "etc"}) {  // must not hang either
    EXPECT_EQ(tree_->read(path).error().sys_errno(), EINVAL) << path;
    EXPECT_EQ(write(path).error().sys_errno(), EINVAL) << path;
  }
}

TEST_F(TreeTest, ReadIsBounded) {
  ASSERT_TRUE(replace_file(base_ + "/root/etc/huge", "", 0644));
  ASSERT_EQ(::truncate((base_ + "/root/etc/huge").c_str(), 1ll << 40), 0);
  EXPECT_EQ(tree_->read("etc/huge").error().sys_errno(), EFBIG);
}

TEST_F(TreeTest, MagicLinksAreRefused) {
  auto proc = Tree::open("/proc");
  ASSERT_TRUE(proc);
  EXPECT_EQ(proc->open("self/root/etc", O_PATH).error().sys_errno(), ELOOP);
  EXPECT_EQ(proc->open("self/cwd", O_PATH | O_DIRECTORY).error().sys_errno(), ELOOP);
}

TEST_F(TreeTest, MakeDirsStaysInside) {
  link(base_ + "/host", "out");
  EXPECT_FALSE(tree_->make_dirs("out/x/y", 0755, ::getuid(), ::getgid()));
  ASSERT_TRUE(tree_->make_dirs("/a/b/../c", 0700, ::getuid(), ::getgid()));
  EXPECT_TRUE(exists(base_ + "/root/a/b"));
  EXPECT_TRUE(exists(base_ + "/root/a/c"));
  EXPECT_TRUE(tree_->make_dirs("a/c", 0700, ::getuid(), ::getgid()));
}

}  // namespace
}  // namespace vz
