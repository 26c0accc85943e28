// SPDX-License-Identifier: GPL-2.0-or-later
#include <vz/beancounters.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vz/ubc.h>
#include "libvz/container/beancounter_events.h"
#include "libvz/container/beancounter_limits.h"
#include "libvz/container/beancounter_sources.h"
#include "libvz/kernel/bpf_loader.h"
#include "libvz/kernel/process_usage.h"

namespace vz {
namespace {

using testing::HasSubstr;

std::string data(const std::string& file) {
  std::ifstream in(std::string(VZ_TEST_DATA) + "/beancounters/" + file);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

UbAbilities everything(bool counted) {
  UbAbilities out;
  for (const auto& r : ub_resources())
    out[static_cast<std::size_t>(r.id)] = {counted && r.counter, r.limiter != UbLimiter::nothing, "because"};
  return out;
}

TEST(BeancounterTable, HasEveryRowOnce) {
  std::set<std::string> names;
  for (const auto& r : ub_resources()) {
    if (!ub_is_real(r)) continue;
    EXPECT_TRUE(names.insert(r.name).second) << r.name;
    EXPECT_EQ(find_ub_resource(r.name), &r);
    EXPECT_EQ(find_ub_resource(r.key), &r);
    EXPECT_EQ(&ub_resource(r.id), &r);
    EXPECT_TRUE(find_param_by_key(r.key)) << r.key;
    EXPECT_NE(std::string(r.by), "") << r.name;
    if (r.limiter == UbLimiter::program) {
      EXPECT_NE(r.error, 0) << r.name;
      EXPECT_NE(r.counter, nullptr) << r.name;
    }
  }
  EXPECT_EQ(names.size(), 21u);
  EXPECT_EQ(find_ub_resource("dummy"), nullptr);
  EXPECT_EQ(find_ub_resource(""), nullptr);
}

// The unit of a row is that of its setting.
TEST(BeancounterTable, AgreesWithTheSettings) {
  for (const auto& r : ub_resources()) {
    if (!ub_is_real(r)) continue;
    const Param* p = find_param_by_option(std::string("--") + r.name);
    ASSERT_TRUE(p) << r.name;
    auto kind = r.unit == UbUnit::pages ? Kind::pages : r.unit == UbUnit::bytes ? Kind::bytes : Kind::count;
    EXPECT_EQ(p->kind, kind) << r.name;
    EXPECT_EQ(p->applies == Applies::not_enforced, r.limiter == UbLimiter::nothing) << r.name;
  }
}

TEST(BeancounterText, ReadsWhatTheKernelPrints) {
  auto all = parse_ub_text(data("user_beancounters"), Ctid(0));
  ASSERT_TRUE(all) << all.error().message();
  ASSERT_EQ(all->size(), 2u);
  const auto& first = (*all)[0];
  EXPECT_EQ(first.id, Ctid(101));
  EXPECT_EQ(first[Ub::numfile].held, 420u);
  EXPECT_EQ(first[Ub::numfile].failcnt, 37u);
  EXPECT_EQ(first[Ub::numflock].barrier, 188u);
  EXPECT_EQ(first[Ub::numflock].limit, 206u);
  EXPECT_EQ(first[Ub::kmemsize].limit, Limit::kUnlimited);
  EXPECT_FALSE(first[Ub::swappages].held) << "not in this file";
  EXPECT_EQ((*all)[1].id, Ctid(1002));
  EXPECT_FALSE((*all)[1][Ub::numpty].held);
}

TEST(BeancounterText, TakesRowsWithoutAnId) {
  auto all = parse_ub_text("  swappages  1 2 3 4 5\n  newfangled 1 1 1 1 1\n", Ctid(7));
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ((*all)[0].id, Ctid(7));
  EXPECT_EQ((*all)[0][Ub::swappages].failcnt, 5u);
  EXPECT_TRUE(parse_ub_text("", Ctid(7))->empty());
  auto apart = parse_ub_text("        101: numproc 1 2 3 4 5\n", Ctid(0));
  ASSERT_TRUE(apart);
  EXPECT_EQ((*apart)[0][Ub::numproc].held, 1u);
}

TEST(BeancounterText, RefusesWhatIsNone) {
  for (const char* text :
       {"hello", "101: numproc 1 2 3 4", "101: numproc 1 2 3 4 5 6", "101: numproc 1 2 3 4 x", "-1: numproc 1 2 3 4 5",
        ": numproc 1 2 3 4 5", "101:", "numproc 1 2 3 4 99999999999999999999", "\x1b[31m 1 1 1 1\n"}) {
    auto parsed = parse_ub_text(text, Ctid(0));
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code(), Code::bad_value);
    EXPECT_THAT(parsed.error().message(), HasSubstr("line 1"));
    EXPECT_EQ(parsed.error().message().find('\x1b'), std::string::npos);
  }
}

TEST(BeancounterLimits, FollowFromTheConfiguration) {
  auto limits = ub_limits(Config::parse("PHYSPAGES=\"0:100\"\nSWAPPAGES=\"0:50\"\nNUMFILE=\"30:40\"\n", "c"));
  auto of = [&](Ub row) { return limits[static_cast<std::size_t>(row)]; };
  EXPECT_EQ(of(Ub::numfile), (Limit{30, 40}));
  EXPECT_EQ(of(Ub::physpages), (Limit{0, 100}));
  EXPECT_EQ(of(Ub::vmguarpages), (Limit{150, Limit::kUnlimited}));
  EXPECT_EQ(of(Ub::numpty), Limit{});
  EXPECT_EQ(parse_ub_limits(format_ub_limits(limits)), limits);
  EXPECT_EQ(limits_of(ub_conf_of(limits)), limits);
  EXPECT_EQ(parse_ub_limits("numfile 1\nnumfile a b\nnope 1 2\n\xff\n"), UbLimits{});
}

TEST(BeancounterLimits, WhatTheHostCannotIsTold) {
  auto config = Config::parse(
      "NUMFILE=\"30\"\nNUMPTY=\"unlimited\"\nKMEMSIZE=\"10M:11M\"\nNUMPROC=\"50\"\nPRIVVMPAGES=\"1000\"\n", "c");
  auto stock = unenforced_limits(config, everything(true));
  ASSERT_EQ(stock.size(), 1u);
  EXPECT_STREQ(stock[0].resource->key, "KMEMSIZE");
  UbAbilities none;
  for (auto& a : none) a.why = "no program";
  auto restricted = unenforced_limits(config, none);
  ASSERT_EQ(restricted.size(), 2u) << "NUMPTY is unlimited, the other two are plan_limits()'s";
  EXPECT_EQ(describe(restricted), "KMEMSIZE, NUMFILE (no program)");
  auto error = refusal_of(restricted[1], config);
  EXPECT_EQ(error.code(), Code::not_enforced);
  EXPECT_THAT(error.message(), HasSubstr("--numfile 30"));
  EXPECT_THAT(error.message(), HasSubstr("no program"));
  EXPECT_THAT(error.hint(), HasSubstr("vzctl check"));
}

TEST(BeancounterSources, NothingIsReadThatWasNotAskedFor) {
  EXPECT_TRUE(ub_readings(UbParts()).empty());
  EXPECT_TRUE(ub_readings(UbParts().add(Ub::physpages, UbPart::limit)).empty());
  auto one = ub_readings(UbParts().add(Ub::physpages, UbPart::maxheld));
  EXPECT_TRUE(one.has(Reading::ram_max));
  EXPECT_FALSE(one.has(Reading::ram_held));
  auto files = UbParts().add(Ub::numfile, UbPart::held);
  EXPECT_TRUE(ub_readings(files).empty());
  EXPECT_TRUE(needs_processes(files, everything(false)));
  EXPECT_FALSE(needs_processes(files, everything(true)));
  EXPECT_FALSE(needs_processes(UbParts().add(Ub::numfile, UbPart::failcnt), everything(false)));
}

TEST(BeancounterSources, EachRowInItsUnit) {
  Sample s;
  s.ram_held = 81920;
  s.swap_held = 4096;
  s.ram_fail = 3;
  s.oom_kills = 2;
  s.kmem_held = 12345;
  s.dcache_held = 777;
  UbSnapshot out;
  fill_from_sample(s, out);
  EXPECT_EQ(out[Ub::physpages].held, 20u);
  EXPECT_EQ(out[Ub::physpages].failcnt, 3u);
  EXPECT_FALSE(out[Ub::physpages].maxheld);
  EXPECT_EQ(out[Ub::oomguarpages].held, 21u);
  EXPECT_EQ(out[Ub::oomguarpages].failcnt, 2u);
  EXPECT_EQ(out[Ub::kmemsize].held, 12345u);
  EXPECT_EQ(out[Ub::dcachesize].held, 777u);
  EXPECT_EQ(out[Ub::vmguarpages].held, 0u);
  EXPECT_EQ(out[Ub::dummy20].held, 0u);
  vz_ub counted{};
  counted.held[VZ_UB_NUMFILE] = 7;
  counted.maxheld[VZ_UB_NUMFILE] = 9;
  counted.failcnt[VZ_UB_NUMFILE] = 1;
  counted.held[VZ_UB_PHYSPAGES] = 99;
  fill_from_map(counted, everything(true), out);
  EXPECT_EQ(out[Ub::numfile].held, 7u);
  EXPECT_EQ(out[Ub::numfile].maxheld, 9u);
  EXPECT_EQ(out[Ub::numfile].failcnt, 1u);
  EXPECT_EQ(out[Ub::physpages].held, 20u) << "no program counts it";
}

TEST(ProcessUsage, Status) {
  auto s = parse_process_status(
      "Name:\tbad\\nname\nUmask:\t0022\nPid:\t77\nNSpid:\t77\t12\t1\nUid:\t100000\t100001\t0\t0\nVmData:\t     132 kB\n"
      "SigQ:\t3/15000\n");
  EXPECT_EQ(s.name, "bad\\nname");
  EXPECT_EQ(s.uid, 100000u);
  EXPECT_EQ(s.private_kib, 132u);
  EXPECT_EQ(s.signals, 3u);
  EXPECT_EQ(s.innermost_pid, 1);
  auto kernel_thread = parse_process_status("Name:\tkthreadd\nUid:\t0\t0\t0\t0\nSigQ:\t0/1\n");
  EXPECT_EQ(kernel_thread.private_kib, 0u);
  EXPECT_EQ(parse_process_status("").innermost_pid, 0);
}

TEST(ProcessUsage, Locks) {
  auto locks = parse_locks(
      "1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 0 EOF\n2: FLOCK  ADVISORY  WRITE 99 00:19:3 0 EOF\n"
      "2: -> FLOCK  ADVISORY  WRITE 1234 00:19:3 0 EOF\n3: OFDLCK ADVISORY  READ -1 00:19:3 0 EOF\nrubbish\n");
  EXPECT_EQ(locks, (std::map<pid_t, std::uint64_t>{{99, 1}, {1234, 2}}));
}

TEST(BpfReasons, AreTheLoaders) {
  auto reasons = parse_bpf_reasons(
      "noise\n{\"programs\": [{\"name\": \"a\", \"attached\": true, \"reason\": \"\"}, {\"name\": \"b\", \"attached\": "
      "false, \"reason\": \"no such hook\"}, 3, {\"attached\": 1}]}");
  EXPECT_EQ(reasons, (std::map<std::string, std::string>{{"a", ""}, {"b", "no such hook"}}));
  EXPECT_TRUE(parse_bpf_reasons("{\"error\": \"x\", \"programs\": []}").empty());
  EXPECT_TRUE(parse_bpf_reasons("rubbish").empty());
}

UbSnapshot snapshot(unsigned id, std::uint64_t held, std::uint64_t failcnt, std::uint64_t kills = 0) {
  UbSnapshot s;
  s.id = Ctid(id);
  s[Ub::numfile] = {held, held, 100, 100, failcnt};
  s[Ub::oomguarpages].failcnt = kills;
  return s;
}

TEST(BeancounterEvents, Comparison) {
  UbComparison c({{Ub::numfile, 90}});
  EXPECT_TRUE(c.next({snapshot(1, 95, 5)}).empty()) << "what was before is no event";
  EXPECT_TRUE(c.next({snapshot(1, 95, 5)}).empty());
  auto events = c.next({snapshot(1, 50, 8, 2), snapshot(2, 1, 3)});
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].kind, UbEvent::Kind::oom_kill);
  EXPECT_EQ(events[0].delta, 2u);
  EXPECT_EQ(events[1].kind, UbEvent::Kind::refused);
  EXPECT_EQ(events[1].resource, Ub::numfile);
  EXPECT_EQ(events[1].delta, 3u);
  EXPECT_EQ(events[2].kind, UbEvent::Kind::started);
  EXPECT_EQ(events[2].id, Ctid(2));
  events = c.next({snapshot(1, 90, 8, 2), snapshot(2, 1, 3)});
  ASSERT_EQ(events.size(), 1u) << "it fell below, and reached it again";
  EXPECT_EQ(events[0].kind, UbEvent::Kind::threshold);
  EXPECT_EQ(events[0].delta, 90u);
  EXPECT_TRUE(c.next({snapshot(1, 99, 8, 2), snapshot(2, 1, 3)}).empty()) << "told once";
  events = c.next({snapshot(2, 1, 0)});
  ASSERT_EQ(events.size(), 1u) << "a container that was restarted begins at 0: no event of its own";
  EXPECT_EQ(events[0].kind, UbEvent::Kind::stopped);
}

TEST(BeancounterEvents, OfSome) {
  UbComparison c({{Ub::numfile, 90}});
  (void)c.next({snapshot(1, 5, 5), snapshot(2, 5, 0)});
  auto events = c.some({snapshot(1, 95, 7)});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, UbEvent::Kind::refused);
  EXPECT_EQ(events[0].delta, 2u);
  EXPECT_EQ(events[1].kind, UbEvent::Kind::threshold);
  EXPECT_TRUE(c.some({snapshot(3, 95, 7)}).empty()) << "not seen yet";
  EXPECT_TRUE(c.next({snapshot(1, 95, 7), snapshot(2, 5, 0)}).empty()) << "told already, and nobody has stopped";
}

TEST(BeancounterEvents, Thresholds) {
  EXPECT_TRUE(reaches({90, {}, 100, 200, {}}, 90));
  EXPECT_FALSE(reaches({89, {}, 100, 200, {}}, 90));
  EXPECT_TRUE(reaches({90, {}, 0, 100, {}}, 90)) << "physpages has no barrier";
  EXPECT_FALSE(reaches({90, {}, Limit::kUnlimited, Limit::kUnlimited, {}}, 1));
  EXPECT_FALSE(reaches({{}, {}, 100, 100, {}}, 0));
}

class CFace : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "vz-ubc-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    vz_ubc_close(ubc_);
    std::filesystem::remove_all(dir_);
  }
  int open() {
    vz_ubc_paths paths{dir_.c_str(), dir_.c_str(), dir_.c_str()};
    return vz_ubc_open(&ubc_, &paths);
  }
  std::string dir_;
  vz_ubc* ubc_ = nullptr;
};

TEST_F(CFace, AHostWithoutAConfigurationIsAnError) {
  EXPECT_EQ(open(), static_cast<int>(Code::no_global_config));
  ASSERT_NE(ubc_, nullptr);
  EXPECT_THAT(vz_ubc_error(ubc_), HasSubstr("vz.conf"));
  size_t n = 7;
  EXPECT_NE(vz_ubc_read(ubc_, &n), 0);
  EXPECT_EQ(n, 0u);
  vz_ubc_events* events = nullptr;
  EXPECT_NE(vz_ubc_subscribe(ubc_, 0, &events), 0);
  EXPECT_EQ(events, nullptr);
}

TEST_F(CFace, TableAndSizes) {
  std::ofstream(dir_ + "/vz.conf") << "";
  ASSERT_EQ(open(), 0) << vz_ubc_error(ubc_);
  EXPECT_STREQ(vz_ubc_error(ubc_), "");
  EXPECT_EQ(vz_ubc_rows(), 25u);
  const int row = vz_ubc_row("numfile");
  EXPECT_EQ(row, 19);
  EXPECT_EQ(vz_ubc_row("NUMFILE"), row);
  EXPECT_EQ(vz_ubc_row("dummy"), -1);
  EXPECT_EQ(vz_ubc_row(nullptr), -1);
  struct {
    vz_ubc_resource known;
    char behind[8];
  } r;
  std::memset(&r, 0xff, sizeof r);
  ASSERT_EQ(vz_ubc_describe(ubc_, static_cast<size_t>(row), &r.known, sizeof r), 0);
  EXPECT_STREQ(r.known.name, "numfile");
  EXPECT_STREQ(r.known.unit, "objects");
  EXPECT_EQ(r.known.error, ENFILE);
  EXPECT_EQ(r.behind[0] | r.behind[7], 0) << "what a newer caller knows and we do not";
  std::memset(&r, 0xff, sizeof r);
  ASSERT_EQ(vz_ubc_describe(ubc_, 4, &r.known, sizeof(const char*)), 0);
  EXPECT_STREQ(r.known.name, "dummy");
  EXPECT_EQ(r.known.error, -1) << "an older caller's structure ends before";
  EXPECT_NE(vz_ubc_describe(ubc_, 25, &r.known, sizeof r.known), 0);
  size_t n = 7;
  EXPECT_EQ(vz_ubc_read(ubc_, &n), 0);
  EXPECT_EQ(n, 0u);
  vz_ubc_counter c{};
  EXPECT_NE(vz_ubc_get(ubc_, 0, 0, &c, sizeof c), 0);
  EXPECT_EQ(vz_ubc_ctid(ubc_, 0), 0u);
}

TEST_F(CFace, EventsOfNobody) {
  std::ofstream(dir_ + "/vz.conf") << "";
  ASSERT_EQ(open(), 0);
  EXPECT_NE(vz_ubc_threshold(ubc_, 99, 50), 0);
  ASSERT_EQ(vz_ubc_threshold(ubc_, 19, 50), 0);
  vz_ubc_events* events = nullptr;
  ASSERT_EQ(vz_ubc_subscribe(ubc_, 1, &events), 0) << vz_ubc_error(ubc_);
  EXPECT_GE(vz_ubc_events_fd(events), 0);
  vz_ubc_event e;
  EXPECT_EQ(vz_ubc_events_next(ubc_, events, &e, sizeof e), 0);
  vz_ubc_events_close(events);
}

}  // namespace
}  // namespace vz
