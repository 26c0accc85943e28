// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/file.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace vz {
namespace {

class File : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vz-file-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    std::error_code ec;
    std::filesystem::remove_all(dir_, ec);
  }
  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  std::string dir_;
};

TEST_F(File, ReplaceMakesAndReplaces) {
  ASSERT_TRUE(replace_file(path("a"), "one\n", 0640));
  ASSERT_TRUE(replace_file(path("a"), "two\n", 0600));
  EXPECT_EQ(*read_file(path("a")), "two\n");
  struct stat st;
  ASSERT_EQ(::stat(path("a").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777u, 0600u);
  EXPECT_EQ(*list_dir(dir_), std::vector<std::string>{"a"});  // no temporary file is left
}

TEST_F(File, ReplaceFollowsLinksAlsoDangling) {
  ASSERT_TRUE(make_dirs(path("real"), 0755));
  ASSERT_TRUE(make_symlink("real/conf", path("link")));
  ASSERT_TRUE(make_symlink(path("link"), path("outer")));
  ASSERT_TRUE(replace_file(path("outer"), "x", 0644));
  EXPECT_EQ(*read_file(path("real/conf")), "x");
  EXPECT_TRUE(std::filesystem::is_symlink(path("outer")));
}

TEST_F(File, ReplaceFailsOnLoopAndMissingDirectory) {
  ASSERT_TRUE(make_symlink("b", path("a")));
  ASSERT_TRUE(make_symlink("a", path("b")));
  EXPECT_EQ(replace_file(path("a"), "x", 0644).error().sys_errno(), ELOOP);
  EXPECT_EQ(replace_file(path("no/such"), "x", 0644).error().sys_errno(), ENOENT);
}

TEST_F(File, ReadIsBounded) {
  ASSERT_TRUE(replace_file(path("big"), std::string(100, 'x'), 0644));
  EXPECT_EQ(read_file(path("big"), 100)->size(), 100u);
  EXPECT_EQ(read_file(path("big"), 99).error().sys_errno(), EFBIG);
  EXPECT_FALSE(read_file("/proc/self/status")->empty());  // its size is 0
  ASSERT_EQ(mkfifo(path("fifo").c_str(), 0600), 0);       // must not wait for a writer
  EXPECT_EQ(read_file(path("fifo")).error().sys_errno(), EINVAL);
  EXPECT_EQ(read_file("/dev/zero").error().sys_errno(), EINVAL);
}

TEST_F(File, MakeDirs) {
  EXPECT_TRUE(make_dirs(path("a/b//c/"), 0755));
  EXPECT_TRUE(make_dirs(path("a/b/c"), 0755));
  ASSERT_TRUE(replace_file(path("a/file"), "", 0644));
  EXPECT_FALSE(make_dirs(path("a/file"), 0755));
  EXPECT_FALSE(make_dirs(path("a/file/x"), 0755));
}

TEST_F(File, RemoveTreeStopsAtLinks) {
  ASSERT_TRUE(make_dirs(path("keep"), 0755));
  ASSERT_TRUE(replace_file(path("keep/file"), "x", 0644));
  ASSERT_TRUE(make_dirs(path("gone/sub"), 0755));
  ASSERT_TRUE(make_symlink(path("keep"), path("gone/sub/link")));
  ASSERT_TRUE(make_symlink(path("keep"), path("direct")));
  EXPECT_TRUE(remove_tree(path("gone")));
  EXPECT_TRUE(remove_tree(path("direct/")));  // the link, not what is behind it
  EXPECT_TRUE(remove_tree(path("missing")));
  EXPECT_EQ(*list_dir(dir_), std::vector<std::string>{"keep"});
  EXPECT_TRUE(exists(path("keep/file")));
}

TEST_F(File, RemoveTreeDeeperThanDescriptorsAndPathMax) {
  UniqueFd at(::open(dir_.c_str(), O_RDONLY | O_DIRECTORY));
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "deep", 0755), 0);
    UniqueFd next(::openat(at.get(), "deep", O_RDONLY | O_DIRECTORY));
    ASSERT_TRUE(next);
    at = std::move(next);
  }
  at.reset();
  EXPECT_TRUE(remove_tree(path("deep")));
  EXPECT_TRUE(list_dir(dir_)->empty());
}

TEST_F(File, KernelFileMustExist) {
  EXPECT_EQ(write_kernel_file(path("none"), "1").error().sys_errno(), ENOENT);
  ASSERT_TRUE(replace_file(path("some"), "", 0644));
  EXPECT_TRUE(write_kernel_file(path("some"), "1\n"));
}

}  // namespace
}  // namespace vz
