// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/criu_executables.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fcntl.h>

#include <gtest/gtest.h>

#include "criu_image.pb.h"
#include "libvz/kernel/criu_image.h"
#include "libvz/kernel/file.h"

namespace vz {
namespace {

constexpr std::uint32_t kFilesMagic = 0x56303138, kMemoryMagic = 0x57492820;

class Executables : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vz-executables-XXXXXX";
    dir_ = ::mkdtemp(name);
    add_file(1, 7, O_PATH);
    add_file(1, 8, O_RDWR);
    add_file(5, 9, O_PATH);  // another type, without what regular files have
    write("files.img", image_head(kFilesMagic) + files_);
    write_memory(1, 8);
    write_memory(12, 7);
    write_memory(13, 7);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void add_file(std::uint32_t type, std::uint32_t id, std::uint32_t flags) {
    criu_image::FileEntry entry;
    entry.set_type(type);
    entry.set_id(id);
    if (type == 1) {
      entry.mutable_reg()->set_id(id);
      entry.mutable_reg()->set_flags(flags);
      entry.mutable_reg()->mutable_unknown_fields()->append("\x32\x03/ex");  // field 6, the name
    }
    put_message(files_, entry);
  }
  void write_memory(int pid, std::uint32_t file) {
    criu_image::MemoryEntry entry;
    entry.set_exe_file_id(file);
    entry.mutable_unknown_fields()->append("\x08\x05");  // field 1
    auto bytes = image_head(kMemoryMagic);
    put_message(bytes, entry);
    write("mm-" + std::to_string(pid) + ".img", bytes);
  }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << bytes;
  }
  Result<> run() {
    UniqueFd dir = VZ_TRY(open_file(dir_, O_RDONLY | O_DIRECTORY));
    return part_executables(dir.get());
  }
  std::vector<criu_image::FileEntry> files() {
    const auto bytes = read_file(dir_ + "/files.img").value();
    std::string_view image = bytes;
    EXPECT_TRUE(take_image_head(image, kFilesMagic));
    std::vector<criu_image::FileEntry> out;
    while (!image.empty() && take_message(image, bytes.size(), &out.emplace_back())) continue;
    return out;
  }
  criu_image::MemoryEntry memory(int pid) {
    const auto bytes = read_file(dir_ + "/mm-" + std::to_string(pid) + ".img").value();
    std::string_view image = bytes;
    criu_image::MemoryEntry out;
    EXPECT_TRUE(take_image_head(image, kMemoryMagic) && take_message(image, bytes.size(), &out) && image.empty());
    return out;
  }
  std::string dir_, files_;
};

TEST_F(Executables, GetAnEntryThatIsNotAPath) {
  ASSERT_TRUE(run());
  const auto after = files();
  ASSERT_EQ(after.size(), 4u);
  EXPECT_EQ(after[0].reg().flags(), static_cast<std::uint32_t>(O_PATH)) << "the descriptor stays what it is";
  EXPECT_EQ(after[3].id(), 10u);
  EXPECT_EQ(after[3].reg().id(), 10u);
  EXPECT_EQ(after[3].reg().flags(), 0u);
  EXPECT_EQ(after[3].reg().unknown_fields(), "\x32\x03/ex");
  EXPECT_EQ(memory(1).exe_file_id(), 8u);
  EXPECT_EQ(memory(12).exe_file_id(), 10u);
  EXPECT_EQ(memory(13).exe_file_id(), 10u);
  EXPECT_EQ(memory(13).unknown_fields(), "\x08\x05");
}

TEST_F(Executables, AreLeftAloneOtherwise) {
  write_memory(12, 8);
  write_memory(13, 8);
  const auto before = read_file(dir_ + "/files.img").value();
  ASSERT_TRUE(run());
  EXPECT_EQ(read_file(dir_ + "/files.img").value(), before);
}

TEST_F(Executables, DamageIsTold) {
  for (const auto& bytes : {std::string(), std::string("x"), image_head(kMemoryMagic), image_head(kFilesMagic) + "\x09",
                            image_head(kFilesMagic) + std::string("\xff\xff\xff\xff\x08", 5)}) {
    write("files.img", bytes);
    auto done = run();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), Code::checkpoint);
  }
  write("files.img", image_head(kFilesMagic) + files_);
  write("mm-13.img", image_head(kMemoryMagic) + std::string("\x05\0\0\0\x60", 5));
  EXPECT_FALSE(run());
}

}  // namespace
}  // namespace vz
