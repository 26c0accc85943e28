// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/criu_ids.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fcntl.h>

#include <gtest/gtest.h>

#include "libvz/kernel/file.h"

namespace vz {
namespace {

using namespace std::string_literals;

// As CRIU 4.2.1 wrote it: 0 70000000 10000, for users and groups.
const auto kImage =
    "\x19\x43\x56\x54\x06\x49\x47\x55\x1c\0\0\0"
    "\x0a\x0c\x08\0\x10\x80\x80\x80\x80\x07\x18\x80\x80\x04"
    "\x12\x0c\x08\0\x10\x80\x80\x80\x80\x07\x18\x80\x80\x04"s;
constexpr IdMap kThere{0x70000000, 0x10000}, kHere{0x70010000, 0x10000};

class Ids : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vz-ids-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void write(const std::string& bytes) { std::ofstream(path(), std::ios::binary) << bytes; }
  Result<> move(IdMap from, IdMap to) {
    UniqueFd dir = VZ_TRY(open_file(dir_, O_RDONLY | O_DIRECTORY));
    return move_ids(dir.get(), from, to);
  }
  std::string path() const { return dir_ + "/userns-14.img"; }
  std::string dir_;
};

TEST_F(Ids, MoveThereAndBack) {
  write(kImage);
  ASSERT_TRUE(move(kThere, kHere));
  EXPECT_NE(read_file(path()).value(), kImage);
  ASSERT_TRUE(move(kHere, kThere));
  EXPECT_EQ(read_file(path()).value(), kImage);
}

TEST_F(Ids, RefuseOtherImages) {
  EXPECT_FALSE(move(kThere, kHere)) << "none";
  write(kImage);
  EXPECT_FALSE(move(kHere, kThere)) << "not these ids";
  EXPECT_FALSE(move(kThere, {kHere.base, 1000}));
  EXPECT_EQ(read_file(path()).value(), kImage);
  for (const auto& bytes : {""s, kImage.substr(0, 20), kImage + "x", "\x20"s + kImage.substr(1)}) {
    write(bytes);
    auto moved = move(kThere, kHere);
    ASSERT_FALSE(moved);
    EXPECT_EQ(moved.error().code(), Code::restore);
  }
}

}  // namespace
}  // namespace vz
