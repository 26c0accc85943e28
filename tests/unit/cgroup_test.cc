// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/cgroup.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libvz/kernel/cgroup_tree.h"

namespace vz {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string data(const std::string& name) { return std::string(VZ_TEST_DATA) + "/" + name; }

// "memory v1 /sys/fs/cgroup/memory" without the fixture's prefix.
std::string where(const std::string& fixture, Controller c) {
  auto host = CgroupHost::probe(data(fixture));
  if (!host) return host.error().message();
  const auto* mount = host->find(c);
  return mount ? (mount->v2 ? "v2 " : "v1 ") + mount->path.substr(data(fixture).size()) : "none";
}

TEST(CgroupHost, FindsEachControllerWhereItIsMounted) {
  struct Row {
    const char* host;
    Controller controller;
    const char* expected;
  };
  for (const auto& row : {
           Row{"host-v2", Controller::memory, "v2 /sys/fs/cgroup"},
           Row{"host-v2", Controller::cpu, "v2 /sys/fs/cgroup"},
           Row{"host-v2", Controller::cpuacct, "v2 /sys/fs/cgroup"},
           Row{"host-v2", Controller::freezer, "v2 /sys/fs/cgroup"},
           Row{"host-v2", Controller::io, "v2 /sys/fs/cgroup"},
           Row{"host-hybrid", Controller::memory, "v1 /sys/fs/cgroup/memory"},
           Row{"host-hybrid", Controller::io, "v1 /sys/fs/cgroup/blkio"},
           Row{"host-hybrid", Controller::cpuacct, "v1 /sys/fs/cgroup/cpuacct"},
           Row{"host-hybrid", Controller::freezer, "v2 /sys/fs/cgroup/unified"},
           Row{"host-hybrid", Controller::perf_event, "none"},
           Row{"host-systemd-hybrid", Controller::cpu, "v1 /sys/fs/cgroup/cpu,cpuacct"},
           Row{"host-systemd-hybrid", Controller::cpuacct, "v1 /sys/fs/cgroup/cpu,cpuacct"},
           Row{"host-systemd-hybrid", Controller::freezer, "v2 /sys/fs/cgroup/unified"},
           Row{"host-v1", Controller::memory, "v1 /sys/fs/cgroup/memory"},  // not the bind mount of a part
           Row{"host-v1", Controller::pids, "v1 /sys/fs/cgroup/all rest"},
           Row{"host-v1", Controller::io, "none"},  // cgroup_disable=
           Row{"host-v1", Controller::freezer, "v1 /sys/fs/cgroup/all rest"},
       })
    EXPECT_EQ(where(row.host, row.controller), row.expected) << row.host << " " << controller_name(row.controller);
}

TEST(CgroupHost, KnowsTheRestOfTheHost) {
  struct Row {
    const char* host;
    bool unified, systemd, swap, systemd_v1;
    const char* weight;
  };
  for (const auto& row :
       {Row{"host-v2", true, true, true, false, "io.weight"},
        Row{"host-hybrid", true, false, true, true, "blkio.bfq.weight"},
        Row{"host-systemd-hybrid", true, true, false, true, ""}, Row{"host-v1", false, false, true, false, ""}}) {
    auto host = CgroupHost::probe(data(row.host));
    ASSERT_TRUE(host) << host.error().message();
    EXPECT_EQ(!host->unified.empty(), row.unified) << row.host;
    EXPECT_EQ(host->systemd_manages, row.systemd) << row.host;
    EXPECT_EQ(host->swap_accounting, row.swap) << row.host;
    EXPECT_EQ(!host->systemd_v1.empty(), row.systemd_v1) << row.host;
    EXPECT_EQ(host->io_weight_file, row.weight) << row.host;
  }
}

TEST(CgroupHost, FailsWithoutProc) { EXPECT_FALSE(CgroupHost::probe(data("no-such-host"))); }

TEST(CgroupTree, OwnHierarchies) {
  const auto of = [](const char* text) { return own_hierarchies(text, Ctid(101)); };
  EXPECT_EQ(of("9:name=systemd:/vz.slice/vz-101.scope/ct\n8:cpu,cpuacct:/vz.slice/vz-101.scope/ct\n7:devices:/\n"
               "6:freezer:/user.slice/vz-101.scope\n5:pids:/node/vz.slice/vz-101.scope\n"
               "4:memory:/vz.slice/vz-1010.scope/ct\n0::/vz.slice/vz-101.scope/ct/ns/init.scope\n"),
            (std::vector<std::string>{"name=systemd", "cpu,cpuacct", "pids", ""}));
  EXPECT_TRUE(of("").empty());
  EXPECT_TRUE(of("nonsense\n5\n:\n").empty());
}

TEST(CgroupHost, SharedHierarchiesAreUsedOnce) {
  auto host = CgroupHost::probe(data("host-systemd-hybrid"));
  ASSERT_TRUE(host);
  std::vector<std::string> paths;
  for (const auto& h : hierarchies(*host)) paths.push_back(fs::path(h.path).filename());
  EXPECT_THAT(paths, ElementsAre("unified", "memory", "cpu,cpuacct", "cpuset", "blkio", "pids", "perf_event"));
}

// A directory that looks like the groups of container 101 on a pure v2 host.
class FakeGroups : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "vz-cgroup-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    top_ = name;
    fs::create_directories(ct() / "ns");
    host_.unified = top_;
    for (Controller c : {Controller::memory, Controller::cpu, Controller::io, Controller::pids})
      host_.controllers.push_back({c, true, top_});
  }
  void TearDown() override { fs::remove_all(top_); }

  fs::path ct() const { return top_ / scope_path(Ctid(101)) / "ct"; }
  void put(const std::string& file, const std::string& text) { std::ofstream(ct() / file) << text; }
  // Ordinary files keep what a shorter write leaves behind it, so tests compare beginnings.
  std::string get(const std::string& file) const {
    std::stringstream text;
    text << std::ifstream(ct() / file).rdbuf();
    return text.str();
  }
  Result<> apply(std::vector<CgroupWrite> writes) {
    auto groups = Cgroups::open(host_, Ctid(101));
    if (!groups) return fail(groups.error());
    return groups->apply(writes, &warnings_);
  }

  fs::path top_;
  CgroupHost host_;
  std::vector<std::string> warnings_;
};

TEST_F(FakeGroups, OpenSaysNotRunningWhenThereAreNone) {
  auto groups = Cgroups::open(host_, Ctid(102));
  ASSERT_FALSE(groups);
  EXPECT_EQ(groups.error().code(), Code::not_running);
  EXPECT_TRUE(Cgroups::present(host_, Ctid(101)));
  EXPECT_FALSE(Cgroups::present(host_, Ctid(102)));
  EXPECT_TRUE(Cgroups::remove(host_, Ctid(102))) << "removing what is not there is fine";
}

TEST_F(FakeGroups, WritesInOrder) {
  put("cpu.weight", "100");
  put("pids.max", "max");
  ASSERT_TRUE(apply({{Controller::cpu, "cpu.weight", "200"}, {Controller::pids, "pids.max", "500"}}));
  EXPECT_EQ(get("cpu.weight"), "200");
  EXPECT_EQ(get("pids.max"), "500");
}

TEST_F(FakeGroups, FailurePutsEarlierValuesBack) {
  put("cpu.weight", "150");
  put("io.max", "8:0 rbps=max wbps=max riops=max wiops=max\n254:0 rbps=77 wbps=max riops=max wiops=max\n");
  auto done = apply({{Controller::cpu, "cpu.weight", "200"},
                     {Controller::io, "io.max", "254:0 rbps=10 wbps=10"},
                     {Controller::pids, "pids.max", "9"}});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Code::not_enforced);
  EXPECT_THAT(done.error().message(), HasSubstr("pids.max"));
  EXPECT_THAT(done.error().hint(), HasSubstr("vzctl check"));
  EXPECT_EQ(get("cpu.weight"), "150");
  EXPECT_THAT(get("io.max"), testing::StartsWith("254:0 rbps=77 wbps=max"));
}

TEST_F(FakeGroups, FailedOptionalWriteIsAWarning) {
  put("pids.max", "max");
  ASSERT_TRUE(apply({{Controller::cpu, "cpu.idle", "1", true}, {Controller::pids, "pids.max", "500"}}));
  EXPECT_EQ(get("pids.max"), "500");
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("cpu.idle"));
}

TEST_F(FakeGroups, MissingControllerIsAnError) {
  auto done = apply({{Controller::cpuset, "cpuset.cpus", "0"}});
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message(), HasSubstr("cpuset"));
}

// The fake kernel reclaims nothing, as one does whose pages are all in use.
TEST_F(FakeGroups, MemoryCutBelowUsageIsRefusedAndNothingIsLowered) {
  put("memory.max", "1073741824");
  put("memory.high", "max");
  put("memory.current", "314572800");
  put("memory.reclaim", "");
  auto done = apply({{Controller::memory, "memory.max", "104857600"}});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Code::set_ubc);
  EXPECT_THAT(done.error().message(), HasSubstr("300 MiB"));
  EXPECT_THAT(done.error().hint(), HasSubstr("300M"));
  EXPECT_EQ(get("memory.max"), "1073741824");
  EXPECT_EQ(get("memory.high").substr(0, 3), "max") << "the brake of the attempt must be off again";
  EXPECT_EQ(get("memory.reclaim").substr(0, 9), "209715200") << "it tried first";
}

TEST_F(FakeGroups, MemoryCutAboveUsageNeedsNoReclaim) {
  put("memory.max", "1073741824");
  put("memory.high", "max");
  put("memory.current", "1000");
  put("memory.reclaim", "");
  ASSERT_TRUE(apply({{Controller::memory, "memory.max", "1048576000"}}));
  EXPECT_EQ(get("memory.max"), "1048576000");
  EXPECT_EQ(get("memory.reclaim"), "");
}

TEST_F(FakeGroups, SwapCutBelowUsageIsRefused) {
  put("memory.swap.max", "268435456");
  put("memory.swap.current", "134217728");
  auto done = apply({{Controller::memory, "memory.swap.max", "67108864"}});
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message(), HasSubstr("swap cannot be lowered to 64 MiB"));
  EXPECT_EQ(get("memory.swap.max"), "268435456");
}

TEST_F(FakeGroups, ListsProcessesOfTheWholeTree) {
  put("cgroup.procs", "");
  put("ns/cgroup.procs", "12\n7\n");
  fs::create_directories(ct() / "ns/init.scope");
  put("ns/init.scope/cgroup.procs", "0\n99\n");  // 0: outside of our pid namespace
  auto groups = Cgroups::open(host_, Ctid(101));
  ASSERT_TRUE(groups);
  auto pids = groups->pids();
  ASSERT_TRUE(pids);
  EXPECT_THAT(*pids, ElementsAre(7, 12, 99));
}

TEST_F(FakeGroups, ExecUsesAGroupOfItsOwn) {
  auto groups = Cgroups::open(host_, Ctid(101));
  ASSERT_TRUE(groups);
  auto fd = groups->exec_fd();
  ASSERT_TRUE(fd) << fd.error().message();
  EXPECT_TRUE(fs::is_directory(ct() / "ns/.vz"));
  // Turned useless by the container: passed over.
  put("ns/.vz/cgroup.type", "domain invalid\n");
  ASSERT_TRUE(groups->exec_fd());
  EXPECT_TRUE(fs::is_directory(ct() / "ns/.vz1"));
}

}  // namespace
}  // namespace vz
