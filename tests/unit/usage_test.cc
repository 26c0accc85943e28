// SPDX-License-Identifier: GPL-2.0-or-later
// Counters that only grow: every reading counts once, whichever run, boot or map it is of.
#include "libvz/container/usage_record.h"

#include <gtest/gtest.h>

#include <random>

#include "libvz/container/usage_journal.h"

namespace vz {
namespace {

LiveUsage run(std::uint64_t group, std::uint64_t cpu, const char* boot = "boot1") {
  LiveUsage live;
  live.boot_id = boot;
  live.group = group;
  live.now_s = live.started_s = 1000;
  live.cpu = CpuTime{cpu, cpu / 2, cpu / 4};
  return live;
}

UsageRecord fresh() { return new_usage_record(Ctid(101), 1); }

TEST(UsageRecord, ReadingsOfOneRunCountOnce) {
  UsageRecord r = fresh();
  for (std::uint64_t cpu : {100u, 250u, 250u, 300u}) advance(r, run(7, cpu));
  EXPECT_EQ(r.total.cpu_ns, 300u);
  EXPECT_EQ(r.total.cpu_user_ns, 150u);
}

TEST(UsageRecord, RunsAddUp) {
  UsageRecord r = fresh();
  advance(r, run(7, 300));
  advance(r, run(8, 50));
  EXPECT_EQ(r.total.cpu_ns, 350u);
  // The same group id after a boot of the host, or on another host, is another run.
  advance(r, run(8, 60, "boot2"));
  EXPECT_EQ(r.total.cpu_ns, 410u);
}

TEST(UsageRecord, NumbersThatFellAddNothing) {
  UsageRecord r = fresh();
  advance(r, run(7, 300));
  advance(r, run(7, 200));
  EXPECT_EQ(r.total.cpu_ns, 300u);
  advance(r, run(7, 210));
  EXPECT_EQ(r.total.cpu_ns, 310u);
}

TEST(UsageRecord, AFileThatCannotBeReadChangesNothing) {
  UsageRecord r = fresh();
  advance(r, run(7, 300));
  LiveUsage blind = run(7, 0);
  blind.cpu.reset();
  advance(r, blind);
  advance(r, run(7, 310));
  EXPECT_EQ(r.total.cpu_ns, 310u);
}

TEST(UsageRecord, ADiskThatIsRemovedKeepsItsSum) {
  UsageRecord r = fresh();
  LiveUsage live = run(7, 0);
  live.io = {{"8:0", {100, 10, 2, 1}}, {"8:16", {1000, 0, 5, 0}}};
  advance(r, live);
  live.io = {{"8:0", {150, 10, 3, 1}}};
  advance(r, live);
  EXPECT_EQ(r.total.read_bytes, 1150u);
  live.io = {{"8:0", {150, 10, 3, 1}}, {"8:16", {1500, 0, 6, 0}}};
  advance(r, live);
  EXPECT_EQ(r.total.read_bytes, 1650u);
  EXPECT_EQ(r.total.reads, 9u);
  EXPECT_EQ(r.total.written_bytes, 10u);
}

TEST(UsageRecord, TrafficGoesOnOverRunsAndBeginsAnewWithTheMap) {
  UsageRecord r = fresh();
  LiveUsage live = run(7, 0);
  live.traffic_map = 3;
  live.traffic.ip4_in[1] = {100, 1};
  advance(r, live);
  live.group = 8;
  live.traffic.ip4_in[1] = {150, 2};
  advance(r, live);
  EXPECT_EQ(r.total.traffic.ip4_in[1], (TrafficCount{150, 2}));
  live.traffic_map = 4;
  live.traffic.ip4_in[1] = {30, 1};
  advance(r, live);
  EXPECT_EQ(r.total.traffic.ip4_in[1], (TrafficCount{180, 3}));
  // Stopped: no groups, the map is still there.
  live.group = 0;
  live.traffic.ip4_in[1] = {40, 2};
  advance(r, live);
  EXPECT_EQ(r.total.traffic.ip4_in[1], (TrafficCount{190, 4}));
  live.boot_id = "boot2";
  live.traffic.ip4_in[1] = {5, 1};
  advance(r, live);
  EXPECT_EQ(r.total.traffic.ip4_in[1], (TrafficCount{195, 5}));
}

TEST(UsageRecord, MemoryIsHeldFromSampleToSample) {
  UsageRecord r = fresh();
  LiveUsage live = run(7, 0);
  live.started_s = 990;
  live.memory = {100, 10};
  advance(r, live);
  EXPECT_EQ(r.total.ram_kib_s, 1000u) << "the first sample stands for the time before it";
  live.now_s = 1060;
  live.memory = {50, 0};
  advance(r, live);
  EXPECT_EQ(r.total.ram_kib_s, 1000u + 60 * 100);
  EXPECT_EQ(r.total.swap_kib_s, 100u + 60 * 10);
  EXPECT_EQ(r.total.run_s, 70u);
  live.now_s = 1070;
  live.ended = true;
  live.memory = {3, 3};
  advance(r, live);
  live.now_s = 5000;
  advance(r, live);
  EXPECT_EQ(r.total.run_s, 80u) << "time after the end is no running time";
  EXPECT_EQ(r.total.ram_kib_s, 7000u + 10 * 50);
}

TEST(UsageRecord, ARunThatNobodySampledIsTakenAtItsPeak) {
  UsageRecord r = fresh();
  LiveUsage live = run(7, 0);
  live.started_s = 990;
  live.ended = true;
  live.peak = {200, 0};
  advance(r, live);
  EXPECT_EQ(r.total.ram_kib_s, 2000u);
}

// Whatever happens in whatever order: the sum never falls, and in the end everything was counted once.
TEST(UsageRecord, RandomLifeNeverFallsAndNeverDoubles) {
  std::mt19937 random(20261122);
  for (int life = 0; life < 200; ++life) {
    UsageRecord on_disk = fresh();
    std::uint64_t truth = 0, cpu = 0, bytes = 0, group = 1, map = 1, before = 0, lost = 0;
    std::string boot = "b0";
    std::uint64_t kept_cpu = 0, kept_bytes = 0;
    for (int step = 0; step < 100; ++step) {
      auto live = run(group, cpu, boot.c_str());
      live.traffic_map = static_cast<std::uint32_t>(map);
      live.traffic.ip6_out[5] = {bytes, bytes};
      auto flush = [&] {
        UsageRecord next = on_disk;
        advance(next, live);
        if (random() % 4 == 0) return;  // killed before the rename
        on_disk = *parse_usage_record(usage_record_text(next), "x");
        kept_cpu = cpu;
        kept_bytes = bytes;
      };
      switch (random() % 6) {
        case 0:
        case 1:
        case 2: {
          std::uint64_t more = random() % 1000;
          cpu += more, bytes += more, truth += 2 * more;
          break;
        }
        case 3:
          flush();
          break;
        case 4:  // stopped and started: the last reading is taken until it succeeds
          while (kept_cpu != cpu || on_disk.seen.group != group || on_disk.seen.boot_id != boot) flush();
          ++group;
          cpu = kept_cpu = 0;
          break;
        default:  // the host crashes: what was not written is lost, and nothing else
          if (random() % 4) break;
          lost += (cpu - kept_cpu) + (bytes - kept_bytes);
          boot += "x";
          group = map = 1;
          cpu = bytes = kept_cpu = kept_bytes = 0;
      }
      const std::uint64_t sum = on_disk.total.cpu_ns + on_disk.total.traffic.ip6_out[5].bytes;
      ASSERT_GE(sum, before);
      before = sum;
    }
    auto live = run(group, cpu, boot.c_str());
    live.traffic_map = static_cast<std::uint32_t>(map);
    live.traffic.ip6_out[5] = {bytes, bytes};
    advance(on_disk, live);
    ASSERT_EQ(on_disk.total.cpu_ns + on_disk.total.traffic.ip6_out[5].bytes, truth - lost) << "life " << life;
  }
}

TEST(UsageRecord, TextAndBack) {
  UsageRecord r = fresh();
  LiveUsage live = run(7, 1ull << 63);
  live.io = {{"8:0", {1, 2, 3, 4}}};
  live.traffic_map = 9;
  live.traffic.ip6_in[15] = {11, 1};
  live.traffic.other_out = {28, 1};
  live.memory = {5, 6};
  advance(r, live);
  auto back = parse_usage_record(usage_record_text(r), "x");
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(back->total, r.total);
  EXPECT_EQ(usage_record_text(*back), usage_record_text(r));
}

TEST(UsageRecord, DamagedTextIsRefused) {
  const std::string good = usage_record_text(fresh());
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[]"), good.substr(0, good.size() / 2),
        std::string(R"({"version":2,"id":101,"series":"x","total":{},"seen":{}})"),
        std::string(R"({"version":1,"id":101,"series":"x","total":{"cpu_ns":-1},"seen":{}})"),
        std::string(R"({"version":1,"id":101,"series":"x","total":{"cpu_ns":"1"},"seen":{}})"),
        std::string(R"({"version":1,"id":101,"series":"x","total":{"traffic":{"ip4_in":{"1":[1]}}},"seen":{}})"),
        std::string(R"({"version":1,"id":101,"series":"x","total":{},"seen":{"io":{"8:0":[1,2,3]}}})"),
        std::string(R"({"version":1,"id":101,"series":5,"total":{},"seen":{}})")}) {
    auto parsed = parse_usage_record(text, "PATH");
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code(), Code::bad_config);
    EXPECT_NE(parsed.error().message().find("PATH"), std::string::npos);
  }
}

TEST(UsageFiles, CpuStat) {
  auto cpu = parse_cpu_stat("usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 0\n");
  ASSERT_TRUE(cpu);
  EXPECT_EQ(cpu->total, 1500000u);
  EXPECT_EQ(cpu->user, 1000000u);
  EXPECT_EQ(cpu->system, 500000u);
  EXPECT_FALSE(parse_cpu_stat(""));
}

TEST(UsageFiles, IoStat) {
  auto io = parse_io_stat(
      "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 rbytes=90430464 wbytes=299008000 "
      "rios=8950 wios=1252 dbytes=50331648 dios=3021\n252:0\n");
  ASSERT_EQ(io.size(), 2u);
  EXPECT_EQ(io["8:16"].read_bytes, 1459200u);
  EXPECT_EQ(io["8:0"].writes, 1252u);
}

TEST(UsageFiles, Blkio) {
  auto io = parse_blkio("8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 8192\n8:0 Total 12288\nTotal 12288\n",
                        "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n");
  ASSERT_EQ(io.size(), 1u);
  EXPECT_EQ(io["8:0"].read_bytes, 4096u);
  EXPECT_EQ(io["8:0"].written_bytes, 8192u);
  EXPECT_EQ(io["8:0"].reads, 1u);
  EXPECT_EQ(io["8:0"].writes, 2u);
}

TEST(UsageJournal, AMonthIsThinnedToALineADay) {
  JournalEntry e;
  e.id = Ctid(101);
  e.series = "s";
  e.name = "caf\xe9 \"x\"\n";  // no UTF-8, quotes, a newline: still one line
  std::string text;
  for (int hour = 0; hour < 72; ++hour) {
    e.time = 1000 * 86400 + hour * 3600;
    e.usage.cpu_ns = static_cast<std::uint64_t>(hour);
    text += journal_line(e) + "\n";
  }
  text += "{\"torn";
  auto lines = thin_journal(text);
  ASSERT_EQ(lines.size(), 4u) << "the first, and the last of three days";
  EXPECT_EQ(lines[0], journal_line([&] {
              auto first = e;
              first.time = 1000 * 86400;
              first.usage.cpu_ns = 0;
              return first;
            }()));
  EXPECT_NE(lines[3].find("\"cpu_ns\":71"), std::string::npos);
  EXPECT_EQ(thin_journal(lines[0] + "\n" + lines[1] + "\n" + lines[2] + "\n" + lines[3] + "\n"), lines);
}

}  // namespace
}  // namespace vz
