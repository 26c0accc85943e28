// SPDX-License-Identifier: GPL-2.0-or-later
// Files of backups: what is written is read, and whatever else comes is refused.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include <fcntl.h>

#include "libvz/base/byte_order.h"
#include "libvz/container/backup_content.h"
#include "libvz/container/backup_file.h"
#include "libvz/container/backup_header.h"
#include "libvz/container/backup_store.h"
#include "libvz/container/tree_archive.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {
namespace {

const std::string kUuid = "aaaaaaaa-0000-4000-8000-000000000001", kSecond = "bbbbbbbb-0000-4000-8000-000000000002";
constexpr std::uint64_t kSize = 5 * kImageChunk + 4096;

std::string chunk(char what) { return std::string(kImageChunk, what); }

class BackupFiles : public testing::Test {
 protected:
  BackupFiles() {
    char name[] = "/tmp/vz-backup-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  ~BackupFiles() override { std::filesystem::remove_all(dir_); }

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  BackupWriter writer(const std::string& name, std::optional<std::uint64_t> limit = {}) {
    return *BackupWriter::start(*open_file(path(name), O_RDWR | O_CREAT | O_TRUNC, 0600), limit);
  }
  static BackupHeader header(const std::string& uuid, const std::string& base = "") {
    BackupHeader h;
    h.uuid = uuid;
    h.base = base;
    h.id = Ctid(101);
    h.layout = "image";
    h.size = kSize;
    h.created_at = base.empty() ? 1 : 2;
    h.config = "NAME=\"x\"\n";
    return h;
  }
  // Chunks 1 and 5 (the short last one), then 1 again, as of a container that ran.
  void write_full(const std::string& name = "full.vzb") {
    auto w = writer(name);
    ASSERT_TRUE(w.put(kBackupHeader, header_text(header(kUuid))));
    ASSERT_TRUE(w.put(kBackupBlock, little_endian(kImageChunk), chunk('a')));
    ASSERT_TRUE(w.put(kBackupBlock, little_endian(5 * kImageChunk), std::string(4096, 'b')));
    ASSERT_TRUE(w.put(kBackupBlock, little_endian(kImageChunk), chunk('c')));
    ASSERT_TRUE(w.put_long(
        kBackupState, encode_hashes({{}, hash_chunk(chunk('c')), {}, {}, {}, hash_chunk(std::string(4096, 'b'))})));
    ASSERT_TRUE(w.finish());
  }
  void write_incremental(const ChunkHash& first) {
    auto w = writer("inc.vzb");
    ASSERT_TRUE(w.put(kBackupHeader, header_text(header(kSecond, kUuid))));
    ASSERT_TRUE(w.put(kBackupHole, little_endian(5 * kImageChunk), little_endian(4096)));
    ASSERT_TRUE(w.put(kBackupBlock, little_endian(0), chunk('d')));
    ASSERT_TRUE(w.put_long(kBackupState, encode_hashes({hash_chunk(chunk('d')), first, {}, {}, {}, {}})));
    ASSERT_TRUE(w.finish());
  }
  std::string bytes(const std::string& name) { return *read_file(path(name)); }
  void put_bytes(const std::string& name, std::string_view text) { ASSERT_TRUE(replace_file(path(name), text, 0600)); }

  // The code of reading all of it; ok when it is good.
  Code verdict(const std::string& name) {
    auto chain = backup_chain(path(name));
    if (!chain) return chain.error().code();
    auto read = replay_image(*chain, {}, quiet_);
    return read ? Code::ok : read.error().code();
  }

  std::string dir_;
  Reporter quiet_;
};

TEST_F(BackupFiles, FullAndIncrementalMakeTheImage) {
  write_full();
  write_incremental(hash_chunk(chunk('c')));
  UniqueFd image = *open_file(path("image"), O_RDWR | O_CREAT, 0600);
  auto chain = backup_chain(path("inc.vzb"));
  ASSERT_TRUE(chain) << chain.error().message();
  ASSERT_EQ(chain->size(), 2u);
  auto done = replay_image(*chain, {image.get()}, quiet_);
  ASSERT_TRUE(done) << done.error().message();
  const auto got = bytes("image");
  ASSERT_EQ(got.size(), kSize);
  EXPECT_TRUE(got == chunk('d') + chunk('c') + std::string(3 * kImageChunk + 4096, '\0'));
  EXPECT_LE(*allocated_bytes(image.get()), 2 * kImageChunk);
}

TEST_F(BackupFiles, TheStateIsFoundWithoutReadingTheRest) {
  write_full();
  auto state = read_backup_state(path("full.vzb"));
  ASSERT_TRUE(state);
  auto hashes = decode_hashes(*state);
  ASSERT_TRUE(hashes);
  ASSERT_EQ(hashes->size(), 6u);
  EXPECT_EQ((*hashes)[1], hash_chunk(chunk('c')));
  EXPECT_EQ((*hashes)[2], ChunkHash{});
}

TEST_F(BackupFiles, AnotherBaseIsNoticed) {
  write_full();
  write_incremental(hash_chunk(chunk('z')));
  EXPECT_EQ(verdict("inc.vzb"), Code::bad_backup);
}

TEST_F(BackupFiles, AMissingBaseIsNamed) {
  write_full();
  write_incremental(hash_chunk(chunk('c')));
  std::filesystem::remove(path("full.vzb"));
  auto chain = backup_chain(path("inc.vzb"));
  ASSERT_FALSE(chain);
  EXPECT_EQ(chain.error().code(), Code::bad_backup);
  EXPECT_NE(chain.error().message().find(kUuid), std::string::npos);
  auto list = backups_in(dir_);
  ASSERT_EQ(list->size(), 1u);
  EXPECT_NE(list->front().problem, "");
}

TEST_F(BackupFiles, OneThatBuildsOnItselfIsRefused) {
  auto w = writer("loop.vzb");
  ASSERT_TRUE(w.put(kBackupHeader, header_text(header(kUuid, kUuid))));
  ASSERT_TRUE(w.put_long(kBackupState, ""));
  ASSERT_TRUE(w.finish());
  EXPECT_EQ(verdict("loop.vzb"), Code::bad_backup);
}

TEST_F(BackupFiles, EveryShorterFileIsRefused) {
  write_full();
  const auto all = bytes("full.vzb");
  ASSERT_LT(all.size(), 4000u);
  for (std::size_t n = 0; n < all.size(); ++n) {
    put_bytes("cut.vzb", std::string_view(all).substr(0, n));
    ASSERT_EQ(verdict("cut.vzb"), Code::bad_backup) << n << " of " << all.size();
  }
  put_bytes("long.vzb", all + std::string(1, '\0'));
  EXPECT_EQ(verdict("long.vzb"), Code::bad_backup);
}

TEST_F(BackupFiles, EveryFlippedBitIsNoticed) {
  write_full();
  const auto all = bytes("full.vzb");
  for (std::size_t at = 0; at < all.size(); ++at) {
    auto bad = all;
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    put_bytes("bad.vzb", bad);
    ASSERT_EQ(verdict("bad.vzb"), Code::bad_backup) << "byte " << at;
  }
}

// Parts of good files in an order and number that no writer makes: checksums of their places tell.
TEST_F(BackupFiles, ShuffledPartsAreRefused) {
  write_full();
  const auto all = bytes("full.vzb");
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    auto bad = all;
    const std::size_t from = random() % bad.size(), to = random() % bad.size(), n = 1 + random() % 200;
    const std::string piece = bad.substr(from, n);
    if (round % 2)
      bad.insert(to, piece);
    else
      bad.replace(to, n, piece);
    if (bad == all) continue;
    put_bytes("bad.vzb", bad);
    ASSERT_EQ(verdict("bad.vzb"), Code::bad_backup) << "round " << round;
  }
}

// Well-formed files with good checksums, made by somebody who means harm.
TEST_F(BackupFiles, PlacesOutsideOfTheImageAreRefused) {
  const std::vector<std::pair<std::uint64_t, std::size_t>> blocks = {
      {kSize, 4096},
      {1, kImageChunk},
      {4 * kImageChunk, kImageChunk + 1},
      {5 * kImageChunk, kImageChunk},
      {UINT64_MAX, 1},
      {0, 0},
      {0, 1},
      {UINT64_MAX - kImageChunk + 1, kImageChunk},
      {6 * kImageChunk, 4096},
  };
  for (const auto& [offset, length] : blocks) {
    auto w = writer("evil.vzb");
    ASSERT_TRUE(w.put(kBackupHeader, header_text(header(kUuid))));
    ASSERT_TRUE(w.put(kBackupBlock, little_endian(offset), std::string(length, 'x')));
    ASSERT_TRUE(w.put_long(kBackupState, encode_hashes(std::vector<ChunkHash>(6))));
    ASSERT_TRUE(w.finish());
    EXPECT_EQ(verdict("evil.vzb"), Code::bad_backup) << offset << " " << length;
  }
  for (const auto& [offset, length] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {kSize, 1}, {0, kSize}, {0, UINT64_MAX}, {1, kImageChunk}, {UINT64_MAX, UINT64_MAX}}) {
    auto w = writer("evil.vzb");
    ASSERT_TRUE(w.put(kBackupHeader, header_text(header(kUuid))));
    ASSERT_TRUE(w.put(kBackupHole, little_endian(offset), little_endian(length)));
    ASSERT_TRUE(w.put_long(kBackupState, encode_hashes(std::vector<ChunkHash>(6))));
    ASSERT_TRUE(w.finish());
    EXPECT_EQ(verdict("evil.vzb"), Code::bad_backup) << offset << " " << length;
  }
}

TEST_F(BackupFiles, PartsOfOtherKindsAreRefused) {
  for (std::uint8_t type : {std::uint8_t{0}, std::uint8_t{kBackupHeader}, std::uint8_t{kBackupArchive},
                            std::uint8_t{kBackupArchiveEnd}, std::uint8_t{99}, std::uint8_t{255}}) {
    auto w = writer("evil.vzb");
    ASSERT_TRUE(w.put(kBackupHeader, header_text(header(kUuid))));
    ASSERT_TRUE(w.put(type, "something"));
    ASSERT_TRUE(w.put_long(kBackupState, encode_hashes(std::vector<ChunkHash>(6))));
    ASSERT_TRUE(w.finish());
    EXPECT_EQ(verdict("evil.vzb"), Code::bad_backup) << int{type};
  }
}

TEST_F(BackupFiles, NoMoreThanTheLimitIsWritten) {
  auto w = writer("small.vzb", 4096);
  ASSERT_TRUE(w.put(kBackupHeader, "x"));
  std::string noise(100'000, '\0');
  std::mt19937 random(2);
  for (char& c : noise) c = static_cast<char>(random());
  auto full = w.put(kBackupArchive, noise);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), Code::no_disk_space);
  EXPECT_LE(std::filesystem::file_size(path("small.vzb")), 4096u);
}

TEST(TarList, IsOfASecondEarlierAndLosesTheDirectoriesThatAreNotKept) {
  auto texts = [](std::initializer_list<const char*> list) {
    std::string out;
    for (const char* text : list) out.append(text).push_back('\0');
    return out;
  };
  const std::string head = "GNU tar-1.34-2\n" + texts({"1700000000", "2"});
  const std::string earlier = "GNU tar-1.34-2\n" + texts({"1699999999", "2"});
  const std::string top = texts({"0", "1", "2", "3", "77", ".", "Yfile", "Ddir", "", ""});
  const std::string dir = texts({"0", "1", "2", "3", "78", "./dir", "", ""});
  auto keep = [](const std::string& name, std::uint64_t inode) { return name == "." && inode == 77; };
  auto kept = next_tar_list(head + top + dir, keep);
  ASSERT_TRUE(kept) << kept.error().message();
  EXPECT_TRUE(*kept == earlier + top);
  EXPECT_TRUE(*next_tar_list(head + top + dir, [](auto&, auto) { return true; }) == earlier + top + dir);
  const std::string whole = head + top + dir;
  for (std::size_t n = 0; n < whole.size(); ++n) {
    auto cut = next_tar_list(std::string_view(whole).substr(0, n), keep);
    EXPECT_EQ(cut.has_value(), n == head.size() || n == head.size() + top.size()) << n;
  }
  for (const std::string bad : {"GNU tar-1.34-1\n1", "1234\n", "GNU tar-\n"}) EXPECT_FALSE(next_tar_list(bad, keep));
  EXPECT_FALSE(next_tar_list("GNU tar-1.34-2\n" + texts({"-1", "2"}), keep));
}

TEST(BackupHeader, IsReadAsItWasWritten) {
  BackupHeader h;
  h.uuid = kUuid;
  h.base = kSecond;
  h.id = Ctid(101);
  h.name = "web";
  h.layout = "dir";
  h.host = "h";
  h.vz = "0.1";
  h.description = "before the upgrade";
  h.by_owner = true;
  h.created_at = 1700000000;
  h.config = "A=\"1\"\n# comment\n";
  auto again = parse_header(header_text(h), "p");
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(*again, h);
}

TEST(BackupHeader, HostileOnesAreRefused) {
  auto header = [](const std::string& more) {
    return R"({"uuid":")" + kUuid + R"(","ctid":101,"layout":"image","size":4096,"created_at":1,"config":"")" + more +
           "}";
  };
  ASSERT_TRUE(parse_header(header(""), "p"));
  for (const auto& text :
       {std::string(), std::string("null"), std::string("{}"), header(R"(,"uuid":"../x")"), header(R"(,"ctid":0)"),
        header(R"(,"ctid":4294967296)"), header(R"(,"ctid":-1)"), header(R"(,"layout":"../../dir")"),
        header(R"(,"size":-1)"), header(R"(,"size":18446744073709551615)"), header(R"(,"size":0)"),
        header(R"(,"layout":"dir")"), header(R"(,"name":"a\nb")"), header(R"(,"name":"a\"b")"),
        header(R"(,"host":"\u0000")"), header(R"(,"description":7)"), header(R"(,"config":{})"),
        header(R"(,"base":"x")")}) {
    auto parsed = parse_header(text, "PATH");
    EXPECT_FALSE(parsed) << text;
    if (!parsed) {
      EXPECT_EQ(parsed.error().code(), Code::bad_backup);
    }
  }
}

}  // namespace
}  // namespace vz
