// SPDX-License-Identifier: GPL-2.0-or-later
#include <vz/memory_report.h>

#include <gtest/gtest.h>

namespace vz {
namespace {

constexpr std::uint64_t kGiB = 1u << 30;
constexpr std::uint64_t kMiB = 1u << 20;

SwapDevice zram(std::uint64_t size, std::uint64_t stored = 0, std::uint64_t ram = 0) {
  SwapDevice d;
  d.name = "/dev/zram0";
  d.size = size;
  d.zram = true;
  d.stored = stored;
  d.ram = ram;
  return d;
}

SwapDevice disk(std::uint64_t size) {
  SwapDevice d;
  d.name = "/swapfile";
  d.size = size;
  return d;
}

HostMemoryState host(std::uint64_t ram, std::vector<SwapDevice> swaps = {}) {
  HostMemoryState h;
  h.ram = ram;
  h.swaps = std::move(swaps);
  return h;
}

std::uint64_t total(const WorstCase& w) { return w.in_ram + w.in_zram + w.on_disk + w.unbacked; }

TEST(WorstCase, PromisesBelowTheRamStayThere) {
  auto w = worst_case(host(4 * kGiB, {zram(8 * kGiB), disk(kGiB)}), 3 * kGiB);
  EXPECT_EQ(w.in_ram, 3 * kGiB);
  EXPECT_EQ(total(w), 3 * kGiB);
  EXPECT_FALSE(w.ratio_measured);
  EXPECT_EQ(w.ratio, kAssumedRatio);
}

TEST(WorstCase, WithoutSwapTheRestHasNoPlace) {
  auto w = worst_case(host(4 * kGiB), 6 * kGiB);
  EXPECT_EQ(w.in_ram, 4 * kGiB);
  EXPECT_EQ(w.unbacked, 2 * kGiB);
}

TEST(WorstCase, CompressedPagesTakeRam) {
  // 2 : 1, 1 GiB too much: x = 2 GiB in zram leave 4 - 1 = 3 GiB for the rest.
  auto w = worst_case(host(4 * kGiB, {zram(8 * kGiB)}), 5 * kGiB);
  EXPECT_EQ(w.in_zram, 2 * kGiB);
  EXPECT_EQ(w.in_ram, 3 * kGiB);
  EXPECT_EQ(w.on_disk, 0u);
  EXPECT_EQ(w.unbacked, 0u);
}

TEST(WorstCase, AFullZramOverflowsToDiskThenNowhere) {
  // zram takes 1 GiB in half a GiB; 3.5 GiB stay in RAM; the other 5.5 GiB: 2 on disk.
  auto w = worst_case(host(4 * kGiB, {zram(kGiB), disk(2 * kGiB)}), 10 * kGiB);
  EXPECT_EQ(w.in_zram, kGiB);
  EXPECT_EQ(w.in_ram, 4 * kGiB - kGiB / 2);
  EXPECT_EQ(w.on_disk, 2 * kGiB);
  EXPECT_EQ(w.unbacked, 10 * kGiB - kGiB - (4 * kGiB - kGiB / 2) - 2 * kGiB);
  EXPECT_EQ(total(w), 10 * kGiB);
}

TEST(WorstCase, TheMeasuredRatioCounts) {
  auto w = worst_case(host(4 * kGiB, {zram(8 * kGiB, 400 * kMiB, 100 * kMiB)}), 5 * kGiB);
  EXPECT_TRUE(w.ratio_measured);
  EXPECT_DOUBLE_EQ(w.ratio, 4);
  EXPECT_NEAR(static_cast<double>(w.in_zram), static_cast<double>(kGiB) * 4 / 3, 4096);
  EXPECT_EQ(total(w), 5 * kGiB);
  // A few pages say nothing.
  EXPECT_FALSE(worst_case(host(4 * kGiB, {zram(kGiB, kMiB, kMiB / 8)}), kGiB).ratio_measured);
}

TEST(WorstCase, WhatDoesNotCompressIsNoHelp) {
  auto w = worst_case(host(4 * kGiB, {zram(8 * kGiB, 100 * kMiB, 104 * kMiB), disk(8 * kGiB)}), 5 * kGiB);
  EXPECT_EQ(w.in_zram, 0u);
  EXPECT_EQ(w.on_disk, kGiB);
}

TEST(WorstCase, HugePromisesNeitherWrapNorDivideByZero) {
  for (std::uint64_t promised : {std::uint64_t{0}, Limit::kUnlimited})
    for (const auto& h : {host(0), host(kGiB, {zram(kGiB)}), host(1, {zram(Limit::kUnlimited / 2), disk(1)})})
      EXPECT_EQ(total(worst_case(h, promised)), promised);
}

TEST(MemoryReport, SumsAndTheUnlimited) {
  ContainerMemory a = promised_memory(Ctid(1), Config::parse("PHYSPAGES=\"0:64M\"\nSWAPPAGES=\"0:128M\"\n", "a"));
  ContainerMemory b = promised_memory(Ctid(2), Config::parse("PHYSPAGES=\"0:32M\"\nNAME=\"b\"\n", "b"));
  ContainerMemory c = promised_memory(Ctid(3), Config::parse("PHYSPAGES=\"0:unlimited\"\nSWAPPAGES=\"0:0\"\n", "c"));
  EXPECT_EQ(a.ram_promised, 64 * kMiB);
  EXPECT_EQ(a.swap_promised, 128 * kMiB);
  EXPECT_EQ(b.name, "b");
  EXPECT_FALSE(b.swap_promised);
  EXPECT_FALSE(c.ram_promised);
  a.ram_used = 10;
  b.swap_used = 5;
  auto r = make_memory_report(host(kGiB), {a, b, c});
  EXPECT_EQ(r.totals.ram_promised, 96 * kMiB);
  EXPECT_EQ(r.totals.swap_promised, 128 * kMiB);
  EXPECT_EQ(r.totals.ram_used, 10u);
  EXPECT_EQ(r.totals.swap_used, 5u);
  EXPECT_EQ(r.totals.containers, 3u);
  EXPECT_EQ(r.totals.unlimited, 2u);
  EXPECT_EQ(r.worst.in_ram, 224 * kMiB);
}

struct Derived {
  const char* config;
  const char* key;
  std::optional<Limit> limit;
};

TEST(EffectiveLimit, FollowsFromRamAndSwap) {
  constexpr std::uint64_t kNone = Limit::kUnlimited;
  const char* both = "PHYSPAGES=\"0:100\"\nSWAPPAGES=\"0:50\"\n";
  const char* factor = "PHYSPAGES=\"0:100\"\nSWAPPAGES=\"0:50\"\nVM_OVERCOMMIT=\"1.5\"\n";
  const Derived rows[] = {
      {both, "LOCKEDPAGES", Limit{100, 100}},
      {both, "OOMGUARPAGES", Limit{100, kNone}},
      {both, "VMGUARPAGES", Limit{150, kNone}},
      {both, "PRIVVMPAGES", Limit{kNone, kNone}},
      {factor, "PRIVVMPAGES", Limit{225, 225}},
      {both, "KMEMSIZE", std::nullopt},
      {"", "LOCKEDPAGES", std::nullopt},
      {"PHYSPAGES=\"0:unlimited\"\n", "VMGUARPAGES", std::nullopt},
      {"PHYSPAGES=\"0:100\"\nLOCKEDPAGES=\"7:9\"\n", "LOCKEDPAGES", Limit{7, 9}},
      {"PHYSPAGES=\"0:100\"\nVM_OVERCOMMIT=\"999999999\"\nSWAPPAGES=\"0:2000T\"\n", "PRIVVMPAGES", Limit{kNone, kNone}},
  };
  for (const auto& row : rows)
    EXPECT_EQ(effective_limit(Config::parse(row.config, "c"), row.key), row.limit) << row.config << row.key;
}

TEST(Readings, AreSets) {
  constexpr Readings some{Reading::numproc, Reading::disk};
  EXPECT_TRUE(some.has(Reading::disk));
  EXPECT_FALSE(some.has(Reading::cpu));
  EXPECT_TRUE(some.any({Reading::cpu, Reading::numproc}));
  EXPECT_FALSE(some.any({Reading::cpu}));
  EXPECT_TRUE(Readings().empty());
  EXPECT_TRUE(Readings::all().has(Reading::oom));
}

}  // namespace
}  // namespace vz
