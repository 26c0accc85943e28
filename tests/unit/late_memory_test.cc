// SPDX-License-Identifier: GPL-2.0-or-later
// Memory that comes when the processes run already: which may, where it is, and what is still to come when they move
// it.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include <sys/mman.h>

#include <gtest/gtest.h>

#include "criu_image.pb.h"
#include "libvz/container/dump.h"
#include "libvz/container/page_store.h"
#include "libvz/kernel/criu_image.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/pending_pages.h"

namespace vz {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kPage = 4096;

TEST(PendingPages, AsASetOfPagesWouldDo) {
  // Page -> page of the file.
  std::map<std::uint64_t, std::uint64_t> model;
  PendingPages pending;
  for (std::uint64_t first : {100u, 160u, 300u}) {
    pending.add({first * kPage, 50, 0, first * 10 * kPage});
    for (std::uint64_t i = 0; i < 50; ++i) model[first + i] = first * 10 + i;
  }
  unsigned seed = 1;
  const auto any = [&](std::uint64_t below) { return (seed = seed * 1103515245 + 12345) / 65536 % below; };
  for (int round = 0; round < 3000 && !model.empty(); ++round) {
    const std::uint64_t from = 90 + any(280), count = 1 + any(8);
    if (any(3) == 0) {
      // Not over itself, as mremap(2).
      const std::uint64_t to = from + count + any(60);
      std::map<std::uint64_t, std::uint64_t> moved;
      for (std::uint64_t i = 0; i < count; ++i)
        if (auto node = model.extract(from + i)) moved[to + i] = node.mapped();
      for (std::uint64_t i = 0; i < count; ++i) model.erase(to + i);
      model.merge(moved);
      pending.move(from * kPage, to * kPage, count * kPage);
    } else if (any(4) == 0) {
      for (std::uint64_t i = 0; i < count; ++i) model.erase(from + i);
      pending.drop(from * kPage, (from + count) * kPage);
    }
    for (std::uint64_t page = 80; page < 480; ++page) {
      const auto run = pending.at(page * kPage, 4);
      const auto wanted = model.find(page);
      ASSERT_EQ(run.has_value(), wanted != model.end()) << page << " in round " << round;
      if (!run) continue;
      ASSERT_EQ(run->address, page * kPage);
      ASSERT_EQ(run->offset, wanted->second * kPage) << page << " in round " << round;
      ASSERT_LE(run->pages, 4u);
      for (std::uint64_t i = 0; i < run->pages; ++i) ASSERT_EQ(model.at(page + i), wanted->second + i);
    }
    ASSERT_EQ(pending.empty(), model.empty());
    const auto first = pending.first(1);
    ASSERT_EQ(first ? first->address : 0, model.empty() ? 0 : model.begin()->first * kPage);
  }
}

TEST(PageRuns, CommonTo) {
  const std::vector<PageRun> a{{10 * kPage, 10, 2}, {30 * kPage, 5, 2}}, b{{5 * kPage, 7, 0}, {12 * kPage, 20, 0}};
  EXPECT_EQ(common_to(a, b), (std::vector<PageRun>{{10 * kPage, 2, 2}, {12 * kPage, 8, 2}, {30 * kPage, 2, 2}}));
  EXPECT_TRUE(common_to(a, {}).empty());
}

// 1 is the parent of 5; 6 is alone.
class SetApart : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vz-late-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dump_ = name;
    fs::create_directories(images());
    std::ofstream(images() + "/inventory.img") << "x";
    auto tree = image_head(0x50273030);
    for (auto [pid, parent] : {std::pair{1u, 0u}, {5u, 1u}, {6u, 1u}, {7u, 1u}}) {
      criu_image::ProcessTreeEntry entry;
      entry.set_pid(pid);
      entry.set_ppid(parent);
      entry.add_threads(pid);
      put_message(tree, entry);
    }
    std::ofstream(images() + "/pstree.img") << tree;
    for (std::uint32_t pid : {1, 5, 6}) {
      mappings(pid, {{0x1000, 0x10000, MAP_PRIVATE | MAP_ANONYMOUS, 0}});
      rseq(pid, 0);
    }
  }
  void TearDown() override { fs::remove_all(dump_); }
  std::string images() const { return dump_ + "/images"; }

  struct Mapping {
    std::uint64_t first, pages;
    int flags;
    std::uint64_t advice;
  };
  void mappings(std::uint32_t pid, const std::vector<Mapping>& list) {
    criu_image::Mappings memory;
    for (const auto& m : list) {
      auto* vma = memory.add_vmas();
      vma->set_start(m.first * kPage);
      vma->set_end((m.first + m.pages) * kPage);
      vma->set_flags(static_cast<std::uint32_t>(m.flags));
      vma->set_status(1 << 9 | 1);
      vma->set_madv(m.advice);
    }
    auto bytes = image_head(0x57492820);
    put_message(bytes, memory);
    std::ofstream(images() + "/mm-" + std::to_string(pid) + ".img") << bytes;
  }
  void rseq(std::uint32_t pid, std::uint64_t address) {
    criu_image::CoreEntry core;
    if (address != 0) {
      auto* entry = core.mutable_thread_core()->mutable_rseq_entry();
      entry->set_rseq_abi_pointer(address);
      entry->set_rseq_abi_size(32);
    }
    auto bytes = image_head(0x55053847);
    put_message(bytes, core);
    std::ofstream(images() + "/core-" + std::to_string(pid) + ".img") << bytes;
  }
  // It arrived, and CRIU left it out of its images.
  void send(std::uint32_t pid, std::uint64_t first, std::uint64_t count, char fill = 'a') {
    const std::string data(count * kPage, fill);
    ASSERT_TRUE(store_->add({pid, first * kPage, data}));
  }
  void finish(const std::map<std::uint32_t, std::vector<PageRun>>& tables) {
    for (const auto& [pid, runs] : tables)
      std::ofstream(images() + "/pagemap-" + std::to_string(pid) + ".img") << pagemap_image({pid, runs});
    auto done = store_->finish();
    ASSERT_TRUE(done) << done.error().message();
    auto late = store_->set_apart();
    ASSERT_TRUE(late) << late.error().message();
    late_ = *std::move(late);
  }
  static PageRun lazy(std::uint64_t first, std::uint64_t count) { return {first * kPage, count, PageRun::kLazy}; }
  // First pages and counts.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> late(std::uint32_t pid) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> out;
    for (const auto& run : late_.runs[pid]) out.emplace_back(run.address / kPage, run.pages);
    return out;
  }
  char contents(const LateRun& run) {
    char byte = 0;
    return pread(late_.files.at(run.file).get(), &byte, 1, static_cast<off_t>(run.offset)) == 1 ? byte : '?';
  }
  using Runs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
  std::string dump_;
  std::optional<PageStore> store_;
  LateMemory late_;
};

TEST_F(SetApart, LargeMemoryAndItsLastContents) {
  store_.emplace(dump_);
  ASSERT_TRUE(store_->begin_layer());
  send(6, 0x2000, 4000, 'a');
  send(5, 0x8000, 100, 'x');
  ASSERT_TRUE(store_->begin_layer());
  send(6, 0x2100, 2, 'b');
  finish({{6, {{0x1800 * kPage, 1, PageRun::kPresent}, lazy(0x2000, 4000)}}, {5, {lazy(0x8000, 100)}}});
  EXPECT_EQ(late(6), (Runs{{0x2000, 0x100}, {0x2100, 2}, {0x2102, 4000 - 0x102}}));
  EXPECT_EQ(contents(late_.runs[6][0]), 'a');
  EXPECT_EQ(contents(late_.runs[6][1]), 'b');
  EXPECT_EQ(contents(late_.runs[6][2]), 'a');
  EXPECT_EQ(late_.runs[6][2].offset, 0x102 * kPage);
  EXPECT_TRUE(late(5).empty()) << "not worth it";
  EXPECT_EQ(late_.bytes(), 4000 * kPage);
  // CRIU finds the rest, and nothing of this, in the other images.
  const auto path = late_images_path(dump_);
  auto table = parse_pagemap(read_file(path + "/pagemap-6.img").value());
  ASSERT_TRUE(table);
  EXPECT_EQ(table->runs, (std::vector<PageRun>{{0x1800 * kPage, 1, PageRun::kPresent}}));
  for (const char* name : {"pagemap-5.img", "inventory.img", "pstree.img", "parent"})
    EXPECT_EQ(fs::canonical(path + "/" + name), fs::canonical(images() + "/" + name)) << name;
  // And in the first ones everything.
  EXPECT_EQ(parse_pagemap(read_file(images() + "/pagemap-6.img").value())->runs.size(), 2u);
  EXPECT_TRUE(is_of_layers(fs::path(path).filename()));
}

TEST_F(SetApart, WhatParentAndChildMayShareIsNotLate) {
  store_.emplace(dump_);
  ASSERT_TRUE(store_->begin_layer());
  send(1, 0x2000, 5000);
  send(5, 0x3000, 6000);
  finish({{1, {lazy(0x2000, 5000)}}, {5, {lazy(0x3000, 6000)}}});
  EXPECT_EQ(late(1), (Runs{{0x2000, 0x1000}}));
  EXPECT_EQ(late(5), (Runs{{0x2000 + 5000, 0x3000 + 6000 - 0x2000 - 5000}}));
}

TEST_F(SetApart, NorIsWhatTheProgramOrTheKernelReliesOn) {
  mappings(6, {{0x2000, 3000, MAP_PRIVATE | MAP_ANONYMOUS, 0},
               {0x4000, 3000, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, 0},
               {0x5000, 3000, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, 0},
               {0x6000, 3000, MAP_PRIVATE | MAP_ANONYMOUS, 1u << MADV_DONTFORK},
               {0x7000, 3000, MAP_PRIVATE | MAP_ANONYMOUS, 1u << 18},  // MADV_WIPEONFORK
               {0x8000, 3000, MAP_PRIVATE | MAP_ANONYMOUS, 1u << MADV_HUGEPAGE}});
  rseq(6, 0x2010 * kPage + kPage - 16);  // in two pages
  store_.emplace(dump_);
  ASSERT_TRUE(store_->begin_layer());
  std::vector<PageRun> table;
  for (std::uint64_t first : {0x2000, 0x4000, 0x5000, 0x6000, 0x7000, 0x8000, 0x9000}) {
    send(6, first, 3000);
    table.push_back(lazy(first, 3000));
  }
  finish({{6, table}});
  EXPECT_EQ(late(6), (Runs{{0x2000, 0x10}, {0x2012, 3000 - 0x12}, {0x8000, 3000}}));
}

TEST_F(SetApart, NotWithManyImages) {
  for (int i = 0; i < 100; ++i) std::ofstream(images() + "/tcp-stream-" + std::to_string(i) + ".img") << "x";
  store_.emplace(dump_);
  ASSERT_TRUE(store_->begin_layer());
  send(6, 0x2000, 4000);
  finish({{6, {lazy(0x2000, 4000)}}});
  EXPECT_TRUE(late_.runs.empty());
  EXPECT_FALSE(fs::exists(late_images_path(dump_)));
}

TEST_F(SetApart, DamagedImages) {
  std::ofstream(images() + "/mm-6.img") << "x";
  store_.emplace(dump_);
  ASSERT_TRUE(store_->begin_layer());
  send(6, 0x2000, 3000);
  std::ofstream(images() + "/pagemap-6.img") << pagemap_image({6, {lazy(0x2000, 3000)}});
  ASSERT_TRUE(store_->finish());
  auto late = store_->set_apart();
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), Code::restore);
  EXPECT_NE(late.error().message().find("mm-6.img"), std::string::npos) << late.error().message();
}

}  // namespace
}  // namespace vz
