// SPDX-License-Identifier: GPL-2.0-or-later
// What comes over a wire or from a file that somebody could have changed, changed at random: it is refused, or what was
// read keeps what its readers rely on. The mutations are the same in every run, or those of VZ_SEED; with the
// sanitizers (scripts/check --full) reading beyond an end is found, too.
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "libvz/base/byte_order.h"
#include "libvz/container/backup_header.h"
#include "libvz/container/dump.h"
#include "libvz/container/dump_stream.h"
#include "libvz/container/image_delta.h"
#include "libvz/container/memory_sender.h"
#include "libvz/container/migration_message.h"
#include "libvz/container/owner_request.h"
#include "libvz/kernel/criu_pagemap.h"
#include "libvz/kernel/file.h"

namespace vz {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

class Mutator {
 public:
  Mutator() {
    const char* seed = std::getenv("VZ_SEED");
    random_.seed(seed ? std::strtoul(seed, nullptr, 10) : 1);
  }
  std::size_t below(std::size_t end) { return end == 0 ? 0 : random_() % end; }

  // One to four changes: a bit, a byte that means something to many parsers, a piece cut out, doubled or moved.
  std::string change(std::string text) {
    static const std::string kSpecial = "\0\xff\x7f\x80/.\"\\{}[],:-09 \n"s;
    for (std::size_t left = 1 + below(4); left > 0; --left) {
      const std::size_t at = below(text.size() + 1), length = below(std::min<std::size_t>(text.size() - at + 1, 40));
      switch (below(5)) {
        case 0:
          if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
          break;
        case 1:
          text.insert(at, 1, kSpecial[below(kSpecial.size())]);
          break;
        case 2:
          text.erase(at, length);
          break;
        case 3:
          text.insert(at, text.substr(at, length));
          break;
        default:
          text.insert(below(text.size() + 1), text.substr(at, length));
      }
    }
    return text;
  }

 private:
  std::mt19937 random_;
};

constexpr int kTurns = 20000;

std::string manifest() {
  DumpManifest m;
  m.id = Ctid(101);
  m.token = "0123456789abcdef";
  m.criu = "4.2.1";
  m.idmap = {1879048192, 65536};
  m.addresses = {"198.18.0.1"};
  m.external = {"mnt[/dev/null]:node/null"};
  m.groups = {{"a.slice", 0, {{"pids.max", "7"}}, {{"user.delegate", "1"}}}};
  m.scheduling = {{12, {0, 5, 200}, 0}};
  m.network = NetState{{{"lo", 1, 0x49, 65536}}, {"\x02\x08"s}, {"\x02\x20"s}, {{"ipv4/conf/all/forwarding", "1"}}};
  m.files = {{"pages-1.img", 4096, 1}, {"core-1.img", 7, 2}};
  return manifest_text(m);
}

TEST(HostileBytes, ManifestOfADump) {
  Mutator mutator;
  const auto good = manifest();
  int accepted = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    auto m = parse_manifest(mutator.change(good), "/d");
    if (!m) {
      EXPECT_EQ(m.error().code(), Code::restore);
      continue;
    }
    ++accepted;
    for (const auto& file : m->files) EXPECT_TRUE(!file.name.empty() && file.name.find('/') == file.name.npos) << turn;
    if (!m->network) continue;
    for (const auto& [name, value] : m->network->sysctls)
      EXPECT_EQ(fs::path("/n/" + name).lexically_normal().string().rfind("/n/", 0), 0u) << name;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, kTurns);
}

TEST(HostileBytes, RequestOfAnOwner) {
  Mutator mutator;
  const std::string good[] = {
      "POST /backups/101-20261122-173328/restore HTTP/1.1\r\nHost: vz\r\nAccept: */*\r\n\r\n",
      "DELETE /backups/101-20261122-173328-2?format=text HTTP/1.1\r\nHost: vz\r\n\r\n",
      "POST /backups?incremental=1 HTTP/1.1\r\nHost: vz\r\nContent-Length: 0\r\n\r\n",
  };
  int accepted = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    OwnerRequest request;
    const auto text = mutator.change(good[mutator.below(std::size(good))]);
    if (!http_complete(text)) continue;
    const int status = parse_owner_request(text, Ctid(101), &request);
    if (status != 200) {
      EXPECT_TRUE(status >= 400 && status <= 505) << status;
      EXPECT_EQ(owner_error(status, request).rfind("HTTP/1.1 ", 0), 0u);
      continue;
    }
    ++accepted;
    using What = OwnerRequest::What;
    if (request.what == What::restore || request.what == What::remove) {
      EXPECT_TRUE(is_backup_of(Ctid(101), request.name)) << request.name;
      EXPECT_EQ(request.name.find_first_not_of("0123456789-"), std::string::npos);
    } else {
      EXPECT_EQ(request.name, "");
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, kTurns);
}

TEST(HostileBytes, HeaderOfABackup) {
  Mutator mutator;
  BackupHeader header;
  header.uuid = "01234567-89ab-cdef-0123-456789abcdef";
  header.id = Ctid(101);
  header.layout = "image";
  header.size = 1 << 20;
  header.config = "RAM=\"1:1\"\n";
  const auto good = header_text(header);
  ASSERT_TRUE(parse_header(good, "/b"));
  for (int turn = 0; turn < kTurns; ++turn) {
    auto read = parse_header(mutator.change(good), "/b");
    if (!read) {
      EXPECT_EQ(read.error().code(), Code::bad_backup);
    } else {
      EXPECT_LE(read->size, BackupHeader::kLargestImage);
      EXPECT_TRUE(read->layout == "image" || read->layout == "dir") << read->layout;
    }
  }
}

TEST(HostileBytes, MessagesOfAMigration) {
  Mutator mutator;
  const auto good = encode({"begin", {{"ctid", "101"}, {"config", "NAME=\"x\"\n"}, {"size", "4096"}}});
  const auto error = encode_error(Error(Code::locked, "Container already locked").with_hint("wait"));
  for (int turn = 0; turn < kTurns; ++turn) {
    if (auto m = decode_message(mutator.change(good)); m) (void)m->number("size");
    EXPECT_NE(decode_error(mutator.change(error), "b").code(), Code::ok);
  }
}

TEST(HostileBytes, Pages) {
  Mutator mutator;
  const auto good = "\x07\0\0\0"s + "\0\x10\0\0\0\0\0\0"s + std::string(2 * 4096, 'x');
  ASSERT_TRUE(parse_pages(good));
  for (int turn = 0; turn < kTurns; ++turn) {
    const auto text = mutator.change(good);
    auto frame = parse_pages(text);
    if (!frame) continue;
    EXPECT_EQ(frame->data.size() % 4096, 0u);
    EXPECT_EQ(frame->address % 4096, 0u);
    EXPECT_GE(frame->data.data(), text.data());
    EXPECT_LE(frame->data.data() + frame->data.size(), text.data() + text.size());
  }
}

TEST(HostileBytes, TablesOfPages) {
  Mutator mutator;
  const auto good = pagemap_image({1, {{0x1000, 2, PageRun::kPresent}, {0x9000, 1, PageRun::kPresent}}});
  for (int turn = 0; turn < kTurns; ++turn) {
    auto read = parse_pagemap(mutator.change(good));
    if (!read) continue;
    std::uint64_t last = 0;
    for (const auto& run : read->runs) {
      EXPECT_GE(run.address, last);
      last = run.end();
    }
  }
}

// The bytes of a stream that `send` fills.
template <class Send>
std::string recorded(Send send) {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  UniqueFd reader(fds[0]);
  {
    FrameChannel channel(UniqueFd(::dup(fds[1])), UniqueFd(fds[1]), "there");
    send(channel);
  }
  std::string out, piece(65536, 0);
  for (ssize_t n; (n = ::read(reader.get(), piece.data(), piece.size())) > 0;)
    out.append(piece.data(), static_cast<std::size_t>(n));
  return out;
}

// Has `receive` read `bytes` and then the end of the stream.
template <class Receive>
void replayed(const std::string& bytes, Receive receive) {
  UniqueFd file(::memfd_create("stream", MFD_CLOEXEC));
  ASSERT_TRUE(write_all(file.get(), bytes));
  ASSERT_EQ(::lseek(file.get(), 0, SEEK_SET), 0);
  FrameChannel channel(std::move(file), UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)), "there");
  receive(channel);
}

TEST(HostileBytes, ImageThatIsReceived) {
  Mutator mutator;
  constexpr off_t kSize = 64 << 10;
  const auto good = recorded([&](FrameChannel& channel) {
    EXPECT_TRUE(channel.send(kBlock, little_endian(4096), std::string(4096, 'x')));
    EXPECT_TRUE(channel.send(kHole, little_endian(8192), little_endian(4096)));
    channel.set_compression(true);
    EXPECT_TRUE(channel.send(kBlock, little_endian(12288), std::string(4096, 'y')));
    EXPECT_TRUE(channel.send(kEnd, ""));
  });
  UniqueFd image(::memfd_create("image", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(image.get(), kSize), 0);
  replayed(good, [&](FrameChannel& channel) { EXPECT_TRUE(receive_image(channel, image.get(), kSize)); });
  int refused = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    replayed(mutator.change(good),
             [&](FrameChannel& channel) { refused += !receive_image(channel, image.get(), kSize); });
    ASSERT_EQ(file_size(image.get()).value(), static_cast<std::uint64_t>(kSize)) << turn;
  }
  EXPECT_GT(refused, 0);
}

// In a directory of its own, and nothing beside it.
TEST(HostileBytes, DumpThatIsReceived) {
  Mutator mutator;
  const auto good = recorded([](FrameChannel& channel) {
    for (const char* name : {"images/core-1.img", "images/pages-1.img", "manifest.json"}) {
      EXPECT_TRUE(channel.send(kFile, name));
      EXPECT_TRUE(channel.send(kBytes, "bytes"));
    }
    EXPECT_TRUE(channel.send(kEnd, ""));
  });
  char name[] = "/tmp/vz-hostile-XXXXXX";
  const fs::path top = ::mkdtemp(name);
  int refused = 0;
  for (int turn = 0; turn < kTurns / 20; ++turn) {
    replayed(mutator.change(good),
             [&](FrameChannel& channel) { refused += !receive_dump(channel, top / "a" / "dump", /*durable=*/false); });
    for (const auto& entry : fs::recursive_directory_iterator(top)) {
      const auto where = fs::relative(entry.path(), top).string();
      EXPECT_TRUE(where == "a" || where == "a/dump" || where == "a/dump/images" || where == "a/dump/manifest.json" ||
                  where.starts_with("a/dump/images/"))
          << where;
      EXPECT_FALSE(entry.is_symlink());
    }
    fs::remove_all(top / "a");
  }
  EXPECT_GT(refused, 0);
  fs::remove_all(top);
}

}  // namespace
}  // namespace vz
