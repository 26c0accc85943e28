// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libvz/kernel/hardware.h"

namespace vz {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

CgroupHost host_v2() {
  CgroupHost h;
  for (Controller c : {Controller::memory, Controller::cpu, Controller::cpuset, Controller::io, Controller::pids})
    h.controllers.push_back({c, true, "/sys/fs/cgroup"});
  h.unified = "/sys/fs/cgroup";
  h.swap_accounting = true;
  return h;
}

CgroupHost host_v1() {
  CgroupHost h;
  for (Controller c : {Controller::memory, Controller::cpu, Controller::cpuset, Controller::io, Controller::pids})
    h.controllers.push_back({c, false, std::string("/sys/fs/cgroup/") + controller_name(c)});
  h.swap_accounting = true;
  return h;
}

LimitFacts facts_of(const CgroupHost& host) {
  LimitFacts f;
  f.cgroups = &host;
  f.host_ram = 4ull << 30;
  f.host_swap = 2ull << 30;
  f.host_cpus = 4;
  f.host_cpu_list = "0-3";
  f.host_node_list = "0-1";
  f.node_cpus = {{0, "0-1"}, {1, "2-3"}};
  f.io_device = "254:0";
  f.io_weight_active = true;
  f.io_weight_file = host.controllers.front().v2 ? "io.weight" : "blkio.bfq.weight";
  return f;
}

Config config(const std::string& text) { return Config::parse(text, "test"); }

// memory.low, which follows from the RAM, has tests of its own.
std::vector<std::string> lines(const LimitPlan& plan) {
  std::vector<std::string> out;
  for (const auto& w : plan.writes)
    if (w.file != "memory.low") out.push_back(w.file + "=" + w.value);
  return out;
}

std::string written(const LimitPlan& plan, const std::string& file) {
  for (const auto& w : plan.writes)
    if (w.file == file) return w.value;
  return {};
}

std::string memory_low(const LimitPlan& plan) { return written(plan, "memory.low"); }

struct PlanRow {
  const char* settings;
  std::vector<std::string> v2, v1;
};

class PlanLimits : public testing::TestWithParam<PlanRow> {};

TEST_P(PlanLimits, SameSettingsOnBothVersions) {
  const auto& row = GetParam();
  auto two = host_v2(), one = host_v1();
  auto plan2 = plan_limits(config(row.settings), facts_of(two));
  auto plan1 = plan_limits(config(row.settings), facts_of(one));
  ASSERT_TRUE(plan2) << plan2.error().message();
  ASSERT_TRUE(plan1) << plan1.error().message();
  EXPECT_EQ(lines(*plan2), row.v2);
  EXPECT_EQ(lines(*plan1), row.v1);
  EXPECT_THAT(plan2->not_enforceable, IsEmpty());
  EXPECT_THAT(plan1->not_enforceable, IsEmpty());
}

const PlanRow kPlans[] = {
    {"", {}, {}},
    {"PHYSPAGES=\"0:131072\"\nSWAPPAGES=\"0:65536\"\n",
     {"memory.swap.max=268435456", "memory.max=536870912"},
     {"memory.limit_in_bytes=536870912", "memory.memsw.limit_in_bytes=805306368"}},
    {"PHYSPAGES=\"0:131072\"\nSWAPPAGES=\"0:0\"\n",
     {"memory.swap.max=0", "memory.max=536870912"},
     {"memory.limit_in_bytes=536870912", "memory.memsw.limit_in_bytes=536870912"}},
    {"PHYSPAGES=\"0:131072\"\n", {"memory.max=536870912"}, {"memory.limit_in_bytes=536870912"}},
    {"PHYSPAGES=\"0:unlimited\"\nSWAPPAGES=\"0:unlimited\"\n", {}, {}},
    {"PHYSPAGES=\"0:9223372036854775807\"\n", {}, {}},
    {"CPUUNITS=\"1000\"\n", {}, {}},
    {"CPUUNITS=\"8\"\n", {"cpu.weight=1"}, {"cpu.shares=8"}},
    {"CPUUNITS=\"2000\"\n", {"cpu.weight=200"}, {"cpu.shares=2048"}},
    {"CPUUNITS=\"500000\"\n", {"cpu.weight=10000"}, {"cpu.shares=262144"}},
    {"CPULIMIT=\"25\"\n", {"cpu.max=25000 100000"}, {"cpu.cfs_quota_us=25000"}},
    {"CPULIMIT=\"0\"\nCPUS=\"0\"\n", {}, {}},
    {"CPUS=\"2\"\n", {"cpu.max=200000 100000"}, {"cpu.cfs_quota_us=200000"}},
    {"CPULIMIT=\"150\"\nCPUS=\"1\"\n", {"cpu.max=100000 100000"}, {"cpu.cfs_quota_us=100000"}},
    {"CPULIMIT=\"150\"\nCPUS=\"3\"\n", {"cpu.max=150000 100000"}, {"cpu.cfs_quota_us=150000"}},
    {"CPUMASK=\"0-1,3\"\n", {"cpuset.cpus=0-1,3"}, {"cpuset.cpus=0-1,3"}},
    {"CPUMASK=\"all\"\nNODEMASK=\"all\"\n", {}, {}},
    {"CPUMASK=\"auto\"\nNODEMASK=\"1\"\n", {"cpuset.cpus=2-3", "cpuset.mems=1"}, {"cpuset.cpus=2-3", "cpuset.mems=1"}},
    {"IOLIMIT=\"10485760\"\n",
     {"io.max=254:0 rbps=10485760 wbps=10485760"},
     {"blkio.throttle.read_bps_device=254:0 10485760", "blkio.throttle.write_bps_device=254:0 10485760"}},
    {"IOPSLIMIT=\"500\"\n",
     {"io.max=254:0 riops=500 wiops=500"},
     {"blkio.throttle.read_iops_device=254:0 500", "blkio.throttle.write_iops_device=254:0 500"}},
    {"IOLIMIT=\"0\"\nIOPSLIMIT=\"0\"\nIOPRIO=\"4\"\n", {}, {}},
    {"IOPRIO=\"0\"\n", {"io.weight=25"}, {"blkio.bfq.weight=25"}},
    {"IOPRIO=\"7\"\n", {"io.weight=283"}, {"blkio.bfq.weight=283"}},
    {"NUMPROC=\"100:200\"\n", {"pids.max=200"}, {"pids.max=200"}},
    {"NUMPROC=\"unlimited\"\n", {}, {}},
};
INSTANTIATE_TEST_SUITE_P(Table, PlanLimits, testing::ValuesIn(kPlans));

struct ChangeRow {
  const char* from;
  const char* to;
  std::vector<std::string> v2, v1;
};

class PlanChange : public testing::TestWithParam<ChangeRow> {};

TEST_P(PlanChange, RaisesFirstCutsLast) {
  const auto& row = GetParam();
  auto two = host_v2(), one = host_v1();
  auto plan2 = plan_limit_change(config(row.from), config(row.to), facts_of(two));
  auto plan1 = plan_limit_change(config(row.from), config(row.to), facts_of(one));
  ASSERT_TRUE(plan2 && plan1);
  EXPECT_EQ(lines(*plan2), row.v2);
  EXPECT_EQ(lines(*plan1), row.v1);
}

#define RAM_SWAP(r, s) "PHYSPAGES=\"0:" #r "\"\nSWAPPAGES=\"0:" #s "\"\n"
const ChangeRow kChanges[] = {
    {RAM_SWAP(1000, 1000), RAM_SWAP(1000, 1000), {}, {}},
    // up: memsw must be raised before the RAM limit
    {RAM_SWAP(1000, 1000),
     RAM_SWAP(2000, 1000),
     {"memory.max=8192000"},
     {"memory.memsw.limit_in_bytes=12288000", "memory.limit_in_bytes=8192000"}},
    // down: and lowered after it
    {RAM_SWAP(2000, 1000),
     RAM_SWAP(1000, 1000),
     {"memory.max=4096000"},
     {"memory.limit_in_bytes=4096000", "memory.memsw.limit_in_bytes=8192000"}},
    // RAM down, swap up by more
    {RAM_SWAP(2000, 1000),
     RAM_SWAP(1000, 5000),
     {"memory.swap.max=20480000", "memory.max=4096000"},
     {"memory.memsw.limit_in_bytes=24576000", "memory.limit_in_bytes=4096000"}},
    // RAM up, swap down by more
    {RAM_SWAP(1000, 5000),
     RAM_SWAP(2000, 1000),
     {"memory.max=8192000", "memory.swap.max=4096000"},
     {"memory.limit_in_bytes=8192000", "memory.memsw.limit_in_bytes=12288000"}},
    // RAM to swap, the sum stays
    {RAM_SWAP(2000, 1000),
     RAM_SWAP(1000, 2000),
     {"memory.swap.max=8192000", "memory.max=4096000"},
     {"memory.limit_in_bytes=4096000"}},
    // both down: what the RAM cut pushes out must fit into the new swap limit
    {RAM_SWAP(2000, 2000),
     RAM_SWAP(1000, 1000),
     {"memory.swap.max=4096000", "memory.max=4096000"},
     {"memory.limit_in_bytes=4096000", "memory.memsw.limit_in_bytes=8192000"}},
    // to and from unlimited
    {RAM_SWAP(1000, 1000),
     "",
     {"memory.max=max", "memory.swap.max=max"},
     {"memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"}},
    {"",
     RAM_SWAP(1000, 1000),
     {"memory.swap.max=4096000", "memory.max=4096000"},
     {"memory.limit_in_bytes=4096000", "memory.memsw.limit_in_bytes=8192000"}},
    // raises of other resources before memory cuts
    {RAM_SWAP(2000, 1000) "NUMPROC=\"10\"\n",
     RAM_SWAP(1000, 1000) "NUMPROC=\"20\"\n",
     {"pids.max=20", "memory.max=4096000"},
     {"pids.max=20", "memory.limit_in_bytes=4096000", "memory.memsw.limit_in_bytes=8192000"}},
    {"CPULIMIT=\"50\"\n", "CPULIMIT=\"0\"\n", {"cpu.max=max 100000"}, {"cpu.cfs_quota_us=-1"}},
    {"CPULIMIT=\"50\"\n", "CPUS=\"2\"\n", {"cpu.max=200000 100000"}, {"cpu.cfs_quota_us=200000"}},
    {"CPUUNITS=\"5000\"\n", "", {"cpu.weight=100"}, {"cpu.shares=1024"}},
    {"CPUMASK=\"0\"\n", "CPUMASK=\"all\"\n", {"cpuset.cpus=0-3"}, {"cpuset.cpus=0-3"}},
    {"IOLIMIT=\"5\"\nIOPSLIMIT=\"6\"\n",
     "IOPSLIMIT=\"6\"\n",
     {"io.max=254:0 rbps=max wbps=max"},
     {"blkio.throttle.write_bps_device=254:0 0", "blkio.throttle.read_bps_device=254:0 0"}},
    {"IOPSLIMIT=\"6\"\n",
     "IOLIMIT=\"5\"\nIOPSLIMIT=\"7\"\n",
     {"io.max=254:0 riops=7 wiops=7", "io.max=254:0 rbps=5 wbps=5"},
     {"blkio.throttle.write_iops_device=254:0 7", "blkio.throttle.read_iops_device=254:0 7",
      "blkio.throttle.read_bps_device=254:0 5", "blkio.throttle.write_bps_device=254:0 5"}},
};
INSTANTIATE_TEST_SUITE_P(Table, PlanChange, testing::ValuesIn(kChanges));

// What a host lacks, and how the plan says so.
struct RefusalRow {
  const char* settings;
  void (*spoil)(CgroupHost&, LimitFacts&);
  std::vector<const char*> refused;  // one part of each message
  const char* warned;                // part of the only warning, "" for none
};

void drop(CgroupHost& host, Controller c) {
  std::erase_if(host.controllers, [c](const ControllerMount& m) { return m.controller == c; });
}

class Refusal : public testing::TestWithParam<RefusalRow> {};

TEST_P(Refusal, NamesSettingAndReason) {
  const auto& row = GetParam();
  auto host = host_v2();
  auto facts = facts_of(host);
  row.spoil(host, facts);
  auto plan = plan_limits(config(row.settings), facts);
  ASSERT_TRUE(plan) << plan.error().message();
  ASSERT_EQ(plan->not_enforceable.size(), row.refused.size());
  for (std::size_t i = 0; i < row.refused.size(); ++i) {
    const auto& e = plan->not_enforceable[i];
    EXPECT_EQ(e.code(), Code::not_enforced);
    EXPECT_THAT(e.message(), HasSubstr(row.refused[i]));
    EXPECT_THAT(e.hint(), testing::Not(IsEmpty())) << e.message();
  }
  if (*row.warned)
    EXPECT_THAT(plan->warnings, ElementsAre(HasSubstr(row.warned)));
  else
    EXPECT_THAT(plan->warnings, IsEmpty());
}

const RefusalRow kRefusals[] = {
    {"PHYSPAGES=\"0:1000\"\nSWAPPAGES=\"0:1000\"\n",
     [](CgroupHost& h, LimitFacts&) { drop(h, Controller::memory); },
     {"PHYSPAGES=0:1000: this host has no memory", "SWAPPAGES=0:1000"},
     ""},
    {"PHYSPAGES=\"0:unlimited\"\nNUMPROC=\"unlimited\"\n",
     [](CgroupHost& h, LimitFacts&) { h.controllers.clear(); },
     {},
     ""},
    {"NUMPROC=\"10\"\n", [](CgroupHost& h, LimitFacts&) { drop(h, Controller::pids); }, {"no pids"}, ""},
    {"CPUUNITS=\"10\"\nCPULIMIT=\"10\"\n",
     [](CgroupHost& h, LimitFacts&) { drop(h, Controller::cpu); },
     {"CPUUNITS=10", "CPULIMIT=10"},
     ""},
    {"CPUMASK=\"0-7\"\n", [](CgroupHost&, LimitFacts&) {}, {"this host has CPUs 0-3"}, ""},
    {"NODEMASK=\"2\"\n", [](CgroupHost&, LimitFacts&) {}, {"this host has memory nodes 0-1"}, ""},
    {"IOLIMIT=\"10\"\n", [](CgroupHost&, LimitFacts& f) { f.io_device.clear(); }, {"not on a disk"}, ""},
    {"IOPRIO=\"7\"\n", [](CgroupHost&, LimitFacts& f) { f.io_weight_file.clear(); }, {"no I/O weights"}, ""},
    {"IOPRIO=\"4\"\n", [](CgroupHost&, LimitFacts& f) { f.io_weight_file.clear(); }, {}, ""},
    {"IOPRIO=\"7\"\n", [](CgroupHost&, LimitFacts& f) { f.io_weight_active = false; }, {}, "queue/scheduler"},
    {"PHYSPAGES=\"0:1000\"\nSWAPPAGES=\"0:1000\"\n",
     [](CgroupHost&, LimitFacts& f) { f.host_swap = 0; },
     {},
     "no swap device"},
    {"PHYSPAGES=\"0:1000\"\nSWAPPAGES=\"0:0\"\n", [](CgroupHost&, LimitFacts& f) { f.host_swap = 0; }, {}, ""},
    {"PHYSPAGES=\"0:1000\"\nSWAPPAGES=\"0:10\"\n",
     [](CgroupHost& h, LimitFacts&) { h.swap_accounting = false; },
     {"does not account swap"},
     ""},
    {"PHYSPAGES=\"0:1000\"\nSWAPPAGES=\"0:0\"\n",
     [](CgroupHost& h, LimitFacts& f) { h.swap_accounting = false, f.host_swap = 0; },
     {},
     ""},
    {"PHYSPAGES=\"0:2G\"\n",
     [](CgroupHost&, LimitFacts& f) { f.host_ram = 1 << 30; },
     {},
     "more than the host's 1024 MiB"},
    // a factor of something unlimited bounds nothing
    {"VM_OVERCOMMIT=\"1.5\"\n", [](CgroupHost&, LimitFacts&) {}, {}, ""},
    {"PHYSPAGES=\"0:1000\"\nSWAPPAGES=\"0:0\"\nVM_OVERCOMMIT=\"1.5\"\n",
     [](CgroupHost&, LimitFacts&) {},
     {"VM_OVERCOMMIT=1.5: private memory"},
     ""},
    {"PRIVVMPAGES=\"1:1000\"\n", [](CgroupHost&, LimitFacts&) {}, {"PRIVVMPAGES=1:1000: private memory"}, ""},
    {"PRIVVMPAGES=\"unlimited\"\n", [](CgroupHost&, LimitFacts&) {}, {}, ""},
    {"PRIVVMPAGES=\"1:1000\"\n", [](CgroupHost&, LimitFacts& f) { f.private_memory = true; }, {}, ""},
};
INSTANTIATE_TEST_SUITE_P(Table, Refusal, testing::ValuesIn(kRefusals));

TEST(SparedMemory, IsTheGuaranteeElseHalfOfTheRam) {
  auto two = host_v2(), one = host_v1();
  auto low = [&](const char* settings) { return memory_low(*plan_limits(config(settings), facts_of(two))); };
  EXPECT_EQ(low(RAM_SWAP(1000, 0)), "2048000");
  EXPECT_EQ(low(RAM_SWAP(1000, 0) "OOMGUARPAGES=\"700:unlimited\"\n"), "2867200");
  EXPECT_EQ(low(RAM_SWAP(1000, 0) "OOMGUARPAGES=\"unlimited\"\n"), "4096000");
  EXPECT_EQ(low("OOMGUARPAGES=\"10:10\"\n"), "40960");
  EXPECT_EQ(low(RAM_SWAP(1000, 0) "OOMGUARPAGES=\"0:0\"\n"), "");
  EXPECT_EQ(low(""), "");
  auto facts = facts_of(two);
  facts.multi_gen_lru = true;
  auto both = plan_limits(config(RAM_SWAP(1000, 0)), facts);
  EXPECT_EQ(written(*both, "memory.low"), "2048000");
  EXPECT_EQ(written(*both, "memory.min"), "2048000");
  auto v1 = plan_limits(config(RAM_SWAP(1000, 0) "OOMGUARPAGES=\"700:700\"\n"), facts_of(one));
  EXPECT_EQ(memory_low(*v1), "");
  EXPECT_THAT(v1->warnings, ElementsAre(HasSubstr("OOMGUARPAGES has no effect")));
  auto change = plan_limit_change(config(RAM_SWAP(1000, 0)), config(RAM_SWAP(2000, 0)), facts_of(two));
  EXPECT_EQ(memory_low(*change), "4096000");
}

TEST(PlanLimitsErrors, RamOfZeroIsNoLimitButAMistake) {
  auto host = host_v2();
  auto plan = plan_limits(config("PHYSPAGES=\"0:0\"\n"), facts_of(host));
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code(), Code::bad_config);
}

TEST(PlanLimitsErrors, V1CannotLimitSwapAlone) {
  auto host = host_v1();
  auto plan = plan_limits(config("SWAPPAGES=\"0:10\"\n"), facts_of(host));
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->not_enforceable.size(), 1u);
  EXPECT_THAT(plan->not_enforceable[0].hint(), HasSubstr("--ram"));
}

TEST(PlanLimitsErrors, AChangeWarnsOnlyAboutWhatChanges) {
  auto host = host_v2();
  auto facts = facts_of(host);
  facts.host_swap = 0;
  drop(host, Controller::pids);
  auto plan = plan_limit_change(config(RAM_SWAP(1000, 1000) "NUMPROC=\"5\"\n"),
                                config(RAM_SWAP(2000, 1000) "NUMPROC=\"5\"\n"), facts);
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->warnings, IsEmpty());
  EXPECT_THAT(plan->not_enforceable, IsEmpty());
  EXPECT_THAT(lines(*plan), ElementsAre("memory.max=8192000"));
}

TEST(Hardware, ReadsACapturedHost) {
  const std::string root = std::string(VZ_TEST_DATA) + "/host-v2";
  auto memory = host_memory(root);
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->ram, 4026120ull * 1024);
  EXPECT_EQ(memory->swap, 2013180ull * 1024);
  auto processors = host_processors(root);
  EXPECT_EQ(processors.cpus, "0-3");
  EXPECT_EQ(processors.nodes, "0-1");
  EXPECT_THAT(processors.local, ElementsAre(std::pair(0u, std::string("0-1")), std::pair(1u, std::string("2-3"))));
}

}  // namespace
}  // namespace vz
