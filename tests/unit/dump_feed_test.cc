// SPDX-License-Identifier: GPL-2.0-or-later
// A dump that is sent while it is written: what arrives is what is there in the end, whatever happened meanwhile.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libvz/container/dump_feed.h"
#include "libvz/container/dump_stream.h"
#include "libvz/container/image_pass.h"
#include "libvz/container/migration_message.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/written_files.h"

namespace vz {
namespace {

namespace fs = std::filesystem;

UniqueFd copy(int fd) { return UniqueFd(::dup(fd)); }

class DumpOnItsWay : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vz-feed-XXXXXX";
    top_ = ::mkdtemp(name);
    dump_ = top_ / "Dump.1";
    arrived_ = top_ / "Dump.1.incoming";
    images_ = begin_dump(dump_).value();
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    here_.emplace(copy(fds[0]), UniqueFd(fds[0]), "there");
    there_.emplace(copy(fds[1]), UniqueFd(fds[1]), "here");
    stop_ = EventCounter::create().value();
  }
  void TearDown() override {
    if (sender_.joinable()) sender_.join();
    if (agent_.joinable()) agent_.join();
    fs::remove_all(top_);
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(dump_ + ".tmp/images/" + name, std::ios::binary | std::ios::trunc) << text;
  }
  void begin() {
    feed_.emplace(DumpFeed::begin(*here_, images_, false).value());
    agent_ = std::thread([this] { serve(); });
    sender_ = std::thread([this] { ran_ = feed_->run(stop_).has_value(); });
  }
  void serve() {
    auto request = there_->receive();
    ASSERT_TRUE(request);
    ASSERT_TRUE(answer(*there_, {"ready", {}}));
    auto received = receive_dump(*there_, arrived_, false);
    ASSERT_TRUE(received) << received.error().message();
    received_ = *received;
    ASSERT_TRUE(answer(*there_, {"ok", {}}));
  }
  void wait_for_file(const std::string& name, const std::string& text) {
    const std::string path = arrived_ + "/images/" + name;
    for (int i = 0; i < 5000 && read_file(path).value_or("nothing") != text; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(read_file(path).value_or("nothing"), text) << name << " before the end";
  }
  KnownFiles stop() {
    stop_.add();
    sender_.join();
    EXPECT_TRUE(ran_);
    return feed_->known().value();
  }
  // And what has arrived is checked as the other host does.
  void commit(const KnownFiles& known) {
    DumpManifest manifest;
    manifest.token = "0123456789abcdef0123456789abcdef";
    ASSERT_TRUE(commit_dump(images_, dump_, manifest, /*durable=*/false, known));
    ASSERT_TRUE(verify_dump(open_dump(dump_).value())) << "what was known is what is there";
    ASSERT_TRUE(feed_->finish(dump_));
    agent_.join();
    ASSERT_TRUE(received_.whole);
    auto dump = open_dump(arrived_);
    ASSERT_TRUE(dump) << dump.error().message();
    ASSERT_TRUE(drop_images(dump->images, received_.images, &dump->manifest));
    EXPECT_EQ(dump->manifest.files, manifest.files);
    EXPECT_TRUE(verify_dump(*dump, received_.images));
    auto whole = verify_dump(*dump);
    EXPECT_TRUE(whole) << whole.error().message();
  }

  fs::path top_;
  std::string dump_, arrived_;
  UniqueFd images_;
  std::optional<FrameChannel> here_, there_;
  std::optional<DumpFeed> feed_;
  EventCounter stop_;
  std::thread sender_, agent_;
  bool ran_ = false;
  ReceivedDump received_;
};

TEST_F(DumpOnItsWay, WhatIsClosedGoesAtOnce) {
  write("core-1.img", "first");
  begin();
  write("core-2.img", std::string(3u << 20, 'x'));
  write("empty.img", "");
  write("core-3.img", "third");
  wait_for_file("core-2.img", std::string(3u << 20, 'x'));
  wait_for_file("core-3.img", "third");
  wait_for_file("empty.img", "");
  const auto known = stop();
  EXPECT_EQ(known.size(), 3u) << "core-1.img was there before";
  commit(known);
  EXPECT_EQ(read_file(arrived_ + "/images/core-1.img").value_or(""), "first");
}

TEST_F(DumpOnItsWay, WhatChangesIsSentAgain) {
  begin();
  write("mm-1.img", "one thing");
  write("mm-2.img", "stays");
  wait_for_file("mm-1.img", "one thing");
  wait_for_file("mm-2.img", "stays");
  write("mm-1.img", "other one");
  wait_for_file("mm-1.img", "other one");
  auto known = stop();
  EXPECT_TRUE(known.contains("mm-1.img"));
  write("mm-1.img", "the third");  // of the same size, and with the same time maybe
  known = feed_->known().value();
  EXPECT_FALSE(known.contains("mm-1.img"));
  EXPECT_TRUE(known.contains("mm-2.img"));
  commit(known);
  EXPECT_EQ(read_file(arrived_ + "/images/mm-1.img").value_or(""), "the third");
}

TEST_F(DumpOnItsWay, OneThatIsOpenStillIsNotSent) {
  begin();
  std::ofstream open(dump_ + ".tmp/images/files.img", std::ios::binary);
  open << "half" << std::flush;
  write("last.img", "x");
  wait_for_file("last.img", "x");
  EXPECT_FALSE(exists(arrived_ + "/images/files.img"));
  open << " and half" << std::flush;
  open.close();
  commit(stop());
  EXPECT_EQ(read_file(arrived_ + "/images/files.img").value_or(""), "half and half");
}

TEST_F(DumpOnItsWay, WhatIsGoneInTheEndIsNotInTheDump) {
  begin();
  write("stays.img", "1");
  write("goes.img", "2");
  wait_for_file("goes.img", "2");
  wait_for_file("stays.img", "1");
  fs::remove(dump_ + ".tmp/images/goes.img");
  commit(stop());
  EXPECT_FALSE(exists(arrived_ + "/images/goes.img"));
  EXPECT_TRUE(exists(arrived_ + "/images/stays.img"));
}

TEST_F(DumpOnItsWay, OneThatIsGivenUpLeavesNothing) {
  begin();
  write("core-1.img", "1");
  wait_for_file("core-1.img", "1");
  stop();
  EXPECT_TRUE(feed_->drop());
  EXPECT_TRUE(feed_->drop()) << "again";
  agent_.join();
  EXPECT_FALSE(received_.whole);
  UniqueFd images = open_file(arrived_ + "/images", O_RDONLY | O_DIRECTORY).value();
  EXPECT_TRUE(drop_images(images, received_.images, nullptr));
  EXPECT_EQ(list_dir(arrived_ + "/images").value(), std::vector<std::string>());
}

TEST_F(DumpOnItsWay, WhyTheOtherEndHungUpIsSaid) {
  feed_.emplace(DumpFeed::begin(*here_, images_, false).value());
  agent_ = std::thread([this] {
    ASSERT_TRUE(there_->receive());
    ASSERT_TRUE(answer(*there_, {"ready", {}}));
    ASSERT_TRUE(answer_error(*there_, Error(Code::io, "no room")));
    there_.reset();
  });
  Result<> ran;
  sender_ = std::thread([&] { ran = feed_->run(stop_); });
  agent_.join();
  write("core-1.img", std::string(1u << 20, 'x'));
  sender_.join();
  ASSERT_FALSE(ran);
  EXPECT_NE(ran.error().message().find("no room"), std::string::npos) << ran.error().message();
}

TEST(WrittenFiles, TellsInTheirOrder) {
  char name[] = "/tmp/vz-written-XXXXXX";
  const std::string dir = ::mkdtemp(name);
  UniqueFd fd = open_file(dir, O_RDONLY | O_DIRECTORY).value();
  auto written = WrittenFiles::watch(fd.get());
  ASSERT_TRUE(written);
  EXPECT_TRUE(written->take().value().empty());
  std::ofstream(dir + "/a") << "x";
  fs::remove(dir + "/a");
  std::string seen;
  const auto events = written->take().value();
  for (const auto& event : events) seen += event.name + (event.closed ? "! " : "? ");
  EXPECT_EQ(seen, "a? a! a? ");
  fs::remove_all(dir);
}

class Outbox : public testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    here_.emplace(copy(fds[0]), UniqueFd(fds[0]), "there");
    there_.emplace(copy(fds[1]), UniqueFd(fds[1]), "here");
  }
  std::optional<FrameChannel> here_, there_;
};

TEST_F(Outbox, KeepsFramesUntilTheChannelIsFree) {
  std::promise<bool> free;
  PassOutbox outbox(*here_, free.get_future());
  ASSERT_TRUE(outbox.send(kBlock, "head", "data"));
  ASSERT_TRUE(outbox.send(kHole, "hole", ""));
  EXPECT_FALSE(there_->has_more(std::chrono::milliseconds(0)));
  free.set_value(true);
  std::string seen;
  std::thread other([&] {
    for (int type = 0; type != kEnd;) {
      auto frame = there_->receive();
      ASSERT_TRUE(frame);
      type = frame->type;
      if (type != kRequest) seen += std::to_string(type) + frame->payload + " ";
      if (type == kRequest || type == kEnd) {
        ASSERT_TRUE(answer(*there_, {"ok", {}}));
      }
    }
  });
  EXPECT_TRUE(outbox.send(kBlock, "last", ""));
  EXPECT_TRUE(outbox.finish());
  other.join();
  EXPECT_EQ(seen, "4headdata 5hole 4last 7 ");
}

TEST_F(Outbox, SendsNothingOfAPassThatIsGivenUp) {
  std::promise<bool> free;
  PassOutbox outbox(*here_, free.get_future());
  ASSERT_TRUE(outbox.send(kBlock, "head", "data"));
  free.set_value(false);
  EXPECT_FALSE(outbox.finish());
  EXPECT_FALSE(there_->has_more(std::chrono::milliseconds(0)));
}

}  // namespace
}  // namespace vz
