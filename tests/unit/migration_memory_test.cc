// SPDX-License-Identifier: GPL-2.0-or-later
// Memory that is sent ahead of a dump: what CRIU reads at the end must be the last contents of each page.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "libvz/base/byte_order.h"
#include "libvz/container/dump.h"
#include "libvz/container/memory_sender.h"
#include "libvz/container/page_store.h"
#include "libvz/kernel/announcement.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/page_tracker.h"
#include "libvz/kernel/remote_task.h"

namespace vz {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kPage = 4096;

std::string pages(std::size_t count, char fill) { return std::string(count * kPage, fill); }
std::vector<PageRun> runs(std::initializer_list<std::pair<std::uint64_t, std::uint64_t>> list) {
  std::vector<PageRun> out;
  for (const auto& [first, count] : list) out.push_back({first * kPage, count, 0});
  return out;
}

TEST(Pagemap, ThereAndBack) {
  const Pagemap pagemap{7, {{0x1000, 3, PageRun::kPresent}, {0x7f0000000000, 1u << 20, PageRun::kLazy}}};
  auto read = parse_pagemap(pagemap_image(pagemap));
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->pages_id, 7u);
  EXPECT_EQ(read->runs, pagemap.runs);
}

TEST(Pagemap, RefusesWhatIsNone) {
  const auto good = pagemap_image({1, {{0x1000, 2, PageRun::kPresent}, {0x9000, 1, PageRun::kPresent}}});
  for (std::size_t cut = 1; cut < good.size(); ++cut) {
    auto read = parse_pagemap(good.substr(0, cut));
    EXPECT_TRUE(!read || read->runs.size() < 2) << cut;
  }
  EXPECT_FALSE(parse_pagemap(""));
  EXPECT_FALSE(parse_pagemap(std::string(100, 'x')));
  // Not ascending, not whole pages, around the end of everything.
  EXPECT_FALSE(parse_pagemap(pagemap_image({1, {{0x9000, 2, 4}, {0xa000, 1, 4}}})));
  EXPECT_FALSE(parse_pagemap(pagemap_image({1, {{0x1001, 1, 4}}})));
  EXPECT_FALSE(parse_pagemap(pagemap_image({1, {{0x1000, ~std::uint64_t{0}, 4}}})));
  auto noise = good;
  for (unsigned seed = 1; seed < 4000; ++seed) {
    noise = good;
    for (unsigned i = 0; i < 3; ++i)
      noise[(seed * 2654435761u + i * 40503u) % noise.size()] ^= static_cast<char>(seed >> i);
    (void)parse_pagemap(noise);
  }
}

TEST(PageRuns, MissingFrom) {
  EXPECT_EQ(missing_from(runs({{10, 5}}), {}), runs({{10, 5}}));
  EXPECT_TRUE(missing_from(runs({{10, 5}}), runs({{8, 20}})).empty());
  EXPECT_EQ(missing_from(runs({{10, 10}}), runs({{12, 2}, {16, 1}})), runs({{10, 2}, {14, 2}, {17, 3}}));
  EXPECT_EQ(missing_from(runs({{10, 2}, {20, 2}}), runs({{11, 10}})), runs({{10, 1}, {21, 1}}));
  EXPECT_EQ(missing_from(runs({{10, 2}}), runs({{1, 2}, {30, 1}})), runs({{10, 2}}));
}

TEST(PageRuns, MissingFromAgreesWithASet) {
  unsigned state = 12345;
  auto random = [&] { return (state = state * 1103515245u + 12345u) >> 16; };
  auto some = [&] {
    std::vector<PageRun> out;
    for (std::uint64_t at = random() % 4; at < 60;) {
      const std::uint64_t count = 1 + random() % 6;
      out.push_back({at * kPage, count, 0});
      at += count + random() % 5;
    }
    return out;
  };
  for (int round = 0; round < 2000; ++round) {
    const auto need = some(), have = some();
    std::map<std::uint64_t, bool> expected, got;
    for (const auto& r : need)
      for (std::uint64_t i = 0; i < r.pages; ++i) expected[r.address / kPage + i] = true;
    for (const auto& r : have)
      for (std::uint64_t i = 0; i < r.pages; ++i) expected.erase(r.address / kPage + i);
    for (const auto& r : missing_from(need, have))
      for (std::uint64_t i = 0; i < r.pages; ++i) EXPECT_TRUE(got.emplace(r.address / kPage + i, true).second);
    EXPECT_EQ(got, expected) << round;
  }
}

TEST(PagesFrame, RefusesWhatCannotBe) {
  auto frame = [](std::uint32_t pid, std::uint64_t address, const std::string& data) {
    return little_endian32(pid) + little_endian(address) + data;
  };
  const auto good = frame(3, 0x5000, pages(2, 'a'));
  auto read = parse_pages(good);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->pid, 3u);
  EXPECT_EQ(read->address, 0x5000u);
  EXPECT_EQ(read->data.size(), 2 * kPage);
  EXPECT_FALSE(parse_pages(""));
  EXPECT_FALSE(parse_pages(frame(3, 0x5000, "")));
  EXPECT_FALSE(parse_pages(frame(3, 0x5000, "short")));
  EXPECT_FALSE(parse_pages(frame(0, 0x5000, pages(1, 'a'))));
  EXPECT_FALSE(parse_pages(frame(3, 0x5001, pages(1, 'a'))));
  EXPECT_FALSE(parse_pages(frame(3, ~std::uint64_t{0} << 12, pages(1, 'a'))));
}

class PageStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vz-pages-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dump_ = name;
    fs::create_directories(dump_ + "/images");
  }
  void TearDown() override { fs::remove_all(dump_); }
  Result<> add(PageStore& store, std::uint64_t first, std::size_t count, char fill) {
    const auto data = pages(count, fill);
    return store.add({5, first * kPage, data});
  }
  void write_table(const std::vector<PageRun>& list) {
    std::ofstream(dump_ + "/images/pagemap-5.img") << pagemap_image({1, list});
  }
  // As CRIU does: the first byte of a page, from the images on through their parents.
  char read_page(std::uint64_t page) const {
    std::string dir = dump_ + "/images";
    for (;;) {
      auto table = parse_pagemap(read_file(dir + "/pagemap-5.img").value_or(""));
      if (!table) return '?';
      std::uint64_t offset = 0;
      const PageRun* found = nullptr;
      for (const auto& run : table->runs) {
        if (page * kPage >= run.address && page * kPage < run.end()) found = &run;
        if (found) break;
        if (run.flags & PageRun::kPresent) offset += run.pages * kPage;
      }
      if (!found) return '-';
      if (found->flags & PageRun::kPresent) {
        auto data = read_file(dir + "/pages-" + std::to_string(table->pages_id) + ".img").value_or("");
        return data.at(offset + page * kPage - found->address);
      }
      if (!(found->flags & PageRun::kInParent)) return '!';
      dir = fs::canonical(dir + "/parent");
    }
  }
  std::string dump_;
};

TEST_F(PageStoreTest, TheLastContentsAreSeen) {
  PageStore store(dump_);
  ASSERT_TRUE(store.begin_layer());
  ASSERT_TRUE(add(store, 10, 10, 'a') && add(store, 30, 5, 'a'));
  ASSERT_TRUE(store.begin_layer());
  ASSERT_TRUE(add(store, 12, 3, 'b') && add(store, 40, 2, 'b'));
  ASSERT_TRUE(store.begin_layer());
  ASSERT_TRUE(add(store, 13, 1, 'c') && add(store, 31, 1, 'c'));
  write_table({{2 * kPage, 1, PageRun::kPresent},
               {10 * kPage, 10, PageRun::kLazy},
               {30 * kPage, 3, PageRun::kLazy},
               {40 * kPage, 2, PageRun::kLazy}});
  std::ofstream(dump_ + "/images/pages-1.img") << pages(1, 'd');
  auto done = store.finish();
  ASSERT_TRUE(done) << done.error().message();
  std::string seen;
  for (std::uint64_t page : {2, 10, 11, 12, 13, 14, 15, 19, 30, 31, 32, 40, 41}) seen += read_page(page);
  EXPECT_EQ(seen, "daabcbaaacabb");
  EXPECT_TRUE(is_layer_name(read_link(dump_ + "/images/parent").value()));
}

TEST_F(PageStoreTest, APageTwiceInAPass) {
  PageStore store(dump_);
  ASSERT_TRUE(store.begin_layer());
  ASSERT_TRUE(add(store, 10, 4, 'a') && add(store, 11, 1, 'b') && add(store, 20, 1, 'b'));
  write_table({{10 * kPage, 4, PageRun::kLazy}, {20 * kPage, 1, PageRun::kLazy}});
  ASSERT_TRUE(store.finish());
  std::string seen;
  for (std::uint64_t page : {10, 11, 12, 20}) seen += read_page(page);
  EXPECT_EQ(seen, "abab");
}

TEST_F(PageStoreTest, AMissingPageIsAnError) {
  PageStore store(dump_);
  ASSERT_TRUE(store.begin_layer());
  ASSERT_TRUE(add(store, 10, 4, 'a'));
  write_table({{10 * kPage, 5, PageRun::kLazy}});
  auto done = store.finish();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Code::restore);
  EXPECT_NE(done.error().message().find("0xe000"), std::string::npos) << done.error().message();
}

TEST_F(PageStoreTest, NotForEver) {
  PageStore store(dump_);
  Result<> last;
  for (int i = 0; i < 1000 && last; ++i) last = store.begin_layer();
  EXPECT_FALSE(last);
}

TEST(LayerName, OnlyItsOwn) {
  EXPECT_TRUE(is_layer_name("memory.12"));
  for (const char* other : {"", "/etc", "memory.", "memory.1/../..", "../memory.1", "memory.x"})
    EXPECT_FALSE(is_layer_name(other)) << other;
}

// A process that writes to its memory on command.
class TrackerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto able = check_page_tracking(); !able && able.error().message().find("pipe") == std::string::npos)
      GTEST_SKIP() << able.error().message();
    ASSERT_EQ(pipe(command_), 0);
    ASSERT_EQ(pipe(answer_), 0);
    memory_ =
        static_cast<char*>(mmap(nullptr, pages_ * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory_, MAP_FAILED);
    child_ = fork();
    if (child_ == 0) obey();
    for (std::uint32_t i = 0; i < pages_; i += every_) write_pages(i, 1);
  }
  void TearDown() override {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    if (memory_) munmap(memory_, pages_ * kPage);
  }
  [[noreturn]] void obey() {
    std::uint32_t order[2];
    while (read(command_[0], order, sizeof order) == sizeof order) {
      // None: in place of the page there is a new mapping.
      if (order[1] == 0)
        mmap(memory_ + order[0] * kPage, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      for (std::uint32_t i = 0; i < order[1]; ++i) ++memory_[(order[0] + i) * kPage];
      (void)!write(answer_[1], "", 1);
    }
    _exit(0);
  }
  void write_pages(std::uint32_t first, std::uint32_t count) {
    const std::uint32_t order[2] = {first, count};
    ASSERT_EQ(write(command_[1], order, sizeof order), static_cast<ssize_t>(sizeof order));
    char done;
    ASSERT_EQ(read(answer_[0], &done, 1), 1);
  }
  // Of the pages that are the test's, those that `scan` visits.
  std::vector<std::uint64_t> visited(const std::function<Result<>(const PageVisitor&)>& scan) {
    std::vector<std::uint64_t> out;
    const auto base = reinterpret_cast<std::uint64_t>(memory_);
    auto done = scan([&](const PageRange& range) -> Result<> {
      for (auto at = std::max(range.begin, base); at < std::min(range.end, base + pages_ * kPage); at += kPage)
        out.push_back((at - base) / kPage);
      return {};
    });
    EXPECT_TRUE(done) << done.error().message();
    return out;
  }
  std::uint32_t pages_ = 64, every_ = 1;
  int command_[2] = {-1, -1}, answer_[2] = {-1, -1};
  char* memory_ = nullptr;
  pid_t child_ = -1;
};

TEST_F(TrackerTest, FindsWhatWasWritten) {
  auto taken = take_userfaultfds({child_});
  ASSERT_TRUE(taken) << taken.error().message();
  ASSERT_TRUE(taken->front()) << "no userfaultfd from it";
  auto tracker = PageTracker::open(child_, std::move(taken->front()));
  ASSERT_TRUE(tracker) << tracker.error().message();
  auto scan = [&](const PageVisitor& visit) { return tracker->scan(visit); };
  EXPECT_EQ(visited(scan).size(), pages_);
  EXPECT_TRUE(visited(scan).empty());
  write_pages(5, 1);
  write_pages(20, 3);
  EXPECT_EQ(visited(scan), (std::vector<std::uint64_t>{5, 20, 21, 22}));
  EXPECT_TRUE(visited(scan).empty());
  write_pages(63, 1);
  EXPECT_EQ(visited([&](const PageVisitor& visit) { return tracker->finish(visit); }),
            (std::vector<std::uint64_t>{63}));
  // It goes on as before, and can be tracked again.
  write_pages(0, pages_);
  auto again = take_userfaultfds({child_});
  ASSERT_TRUE(again && again->front());
  auto second = PageTracker::open(child_, std::move(again->front()));
  ASSERT_TRUE(second);
  EXPECT_EQ(visited([&](const PageVisitor& visit) { return second->scan(visit); }).size(), pages_);
}

// More pieces than the kernel tells of in one call.
class TrackerInPiecesTest : public TrackerTest {
 protected:
  TrackerInPiecesTest() { pages_ = 2400, every_ = 2; }
  void renew(std::uint32_t page) {
    write_pages(page, 0);
    write_pages(page, 1);
  }
};

// The process changes its mappings while it is looked at: in the middle of its memory there is one that is not tracked.
TEST_F(TrackerInPiecesTest, NoPageIsForgottenWhenALookFails) {
  auto taken = take_userfaultfds({child_});
  ASSERT_TRUE(taken && taken->front());
  auto tracker = PageTracker::open(child_, std::move(taken->front()));
  ASSERT_TRUE(tracker) << tracker.error().message();
  auto scan = [&](const PageVisitor& visit) { return tracker->scan(visit); };
  EXPECT_EQ(visited(scan).size(), pages_ / 2);
  for (std::uint32_t i = 0; i < pages_; i += 2) write_pages(i, 1);
  // Behind what the first call tells of, at the first try and at the second.
  const auto base = reinterpret_cast<std::uint64_t>(memory_);
  std::uint32_t renewed = 1801;
  std::set<std::uint64_t> seen;
  auto changing = [&](const PageVisitor& visit) {
    return tracker->scan([&](const PageRange& range) {
      if (range.begin == base && renewed < 1805) renew(std::exchange(renewed, renewed + 2));
      return visit(range);
    });
  };
  for (auto page : visited(changing)) seen.insert(page);
  EXPECT_EQ(renewed, 1805u) << "the looks did not fail";
  EXPECT_LT(seen.size(), pages_ / 2) << "the looks did not fail";
  for (auto page : visited([&](const PageVisitor& visit) { return tracker->finish(visit); })) seen.insert(page);
  for (std::uint32_t i = 0; i < pages_; i += 2) EXPECT_TRUE(seen.contains(i)) << i;
}

TEST(PageRange, Cut) {
  const auto text = [](const PageRange& range, const std::vector<PageRange>& others) {
    std::string out;
    for (const auto& part : cut(range, others))
      out += fmt::format("{}-{}{} ", part.begin, part.end, part.inside ? "!" : "");
    return out;
  };
  EXPECT_EQ(text({10, 20}, {}), "10-20 ");
  EXPECT_EQ(text({10, 20}, {{0, 100}}), "10-20! ");
  EXPECT_EQ(text({10, 20}, {{20, 30}, {1, 10}}), "10-20 ");
  EXPECT_EQ(text({10, 20}, {{12, 14}, {13, 16}, {18, 40}}), "10-12 12-16! 16-18 18-20! ");
}

TEST_F(TrackerTest, NothingIsLeftInTheProcess) {
  auto links = [&] {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(child_) + "/fd"))
      out.push_back(entry.path().filename().string() + fs::read_symlink(entry.path()).string());
    std::sort(out.begin(), out.end());
    return out;
  };
  const auto before = links();
  for (int i = 0; i < 20; ++i) {
    auto taken = take_userfaultfds({child_});
    ASSERT_TRUE(taken && taken->front());
    write_pages(1, 2);
  }
  EXPECT_EQ(links(), before);
}

TEST_F(TrackerTest, ThoseThatCannotBeStopped) {
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  waitpid(gone, nullptr, 0);
  auto taken = take_userfaultfds({gone, child_});
  ASSERT_TRUE(taken);
  ASSERT_EQ(taken->size(), 2u);
  EXPECT_FALSE(taken->at(0));
  EXPECT_TRUE(taken->at(1));
}

// nanosleep(2) in it goes on for the time that was left, as after any stop.
TEST(RemoteTask, AnInterruptedSleepGoesOn) {
  int done[2];
  ASSERT_EQ(pipe(done), 0);
  const pid_t sleeper = fork();
  if (sleeper == 0) {
    timespec time{0, 300'000'000};
    const int result = nanosleep(&time, nullptr);
    const char answer = result == 0 ? 'y' : 'n';
    (void)!write(done[1], &answer, 1);
    _exit(0);
  }
  for (int i = 0; i < 5; ++i) {
    usleep(20'000);
    auto task = RemoteTask::stop(sleeper);
    if (!task && task.error().code() == Code::unsupported) GTEST_SKIP() << task.error().message();
    ASSERT_TRUE(task) << task.error().message();
    auto pid = task->call(SYS_getpid);
    ASSERT_TRUE(pid) << pid.error().message();
    EXPECT_EQ(*pid, sleeper);
  }
  char answer = 0;
  EXPECT_EQ(read(done[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y') << "the sleep was interrupted";
  waitpid(sleeper, nullptr, 0);
}

TEST(Announcement, Frames) {
  MacAddress mac{{2, 0, 0, 0, 0, 9}};
  auto four = announcement_frame(mac, *IpAddress::parse("198.18.0.5"));
  ASSERT_EQ(four.size(), 42u);
  EXPECT_EQ(four.substr(0, 6), std::string(6, '\xff'));
  EXPECT_EQ(four.substr(28, 4), four.substr(38, 4)) << "sender and target are one address";
  EXPECT_EQ(four.substr(28, 4), std::string("\xc6\x12\x00\x05", 4));
  auto six = announcement_frame(mac, *IpAddress::parse("fd00::5"));
  ASSERT_EQ(six.size(), 14u + 40 + 32);
  // The checksum over pseudo header and message is all ones.
  std::string sum = six.substr(14 + 8, 32) + std::string("\0\0\0\x20\0\0\0\x3a", 8) + six.substr(54);
  std::uint32_t total = 0;
  for (std::size_t i = 0; i < sum.size(); i += 2)
    total +=
        static_cast<std::uint32_t>(static_cast<unsigned char>(sum[i]) << 8 | static_cast<unsigned char>(sum[i + 1]));
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  EXPECT_EQ(total, 0xffffu);
}

}  // namespace
}  // namespace vz
