// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/sample.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <vz/config.h>
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/disk_usage.h"

namespace vz {
namespace {

namespace fs = std::filesystem;

class SampleFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "vz-sample-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    top_ = name;
    fs::create_directories(ct());
  }
  void TearDown() override { fs::remove_all(top_); }
  fs::path ct() const { return top_ / scope_path(Ctid(7)) / "ct"; }
  void put(const std::string& file, const std::string& text) { std::ofstream(ct() / file) << text; }
  Sample sample(bool v2, const Readings& wanted = Readings::all()) {
    for (Controller c : {Controller::memory, Controller::cpuacct, Controller::pids})
      host_.controllers.push_back({c, v2, top_});
    return sample_cgroups({host_}, Ctid(7), wanted);
  }

  fs::path top_;
  CgroupHost host_;
};

TEST_F(SampleFiles, Version2) {
  put("memory.current", "1000\n");
  put("memory.peak", "2000\n");
  put("memory.max", "536870912\n");
  put("memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n");
  put("memory.swap.current", "300\n");
  put("memory.swap.max", "max\n");
  put("memory.stat", "anon 5\nfile 6\nkernel 70\nsock 8\nshmem 9\nunevictable 11\n");
  put("cpu.stat", "usage_usec 123456\nuser_usec 1\nsystem_usec 2\n");
  put("pids.current", "17\n");
  put("pids.max", "200\n");
  put("pids.events", "max 4\n");
  Sample s = sample(true);
  EXPECT_EQ(s.ram_held, 1000u);
  EXPECT_EQ(s.ram_max, 2000u);
  EXPECT_EQ(s.ram_limit, 536870912u);
  EXPECT_EQ(s.ram_fail, 12u);
  EXPECT_EQ(s.oom_kills, 2u);
  EXPECT_EQ(s.swap_held, 300u);
  EXPECT_EQ(s.swap_limit, Limit::kUnlimited);
  EXPECT_FALSE(s.swap_max) << "no such file on this kernel";
  EXPECT_EQ(s.kmem_held, 70u);
  EXPECT_EQ(s.sock_held, 8u);
  EXPECT_EQ(s.shmem_held, 9u);
  EXPECT_EQ(s.locked_held, 11u);
  EXPECT_EQ(s.cpu_ns, 123456000u);
  EXPECT_EQ(s.numproc, 17u);
  EXPECT_EQ(s.numproc_limit, 200u);
  EXPECT_EQ(s.numproc_fail, 4u);
  EXPECT_FALSE(s.numproc_max);
}

TEST_F(SampleFiles, Version1) {
  put("memory.usage_in_bytes", "1000\n");
  put("memory.limit_in_bytes", "5000\n");
  put("memory.memsw.limit_in_bytes", "7000\n");
  put("memory.failcnt", "3\n");
  put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
  put("memory.stat", "swap 1\ntotal_swap 40\ntotal_shmem 50\ntotal_unevictable 60\n");
  put("cpuacct.usage", "987654321\n");
  Sample s = sample(false);
  EXPECT_EQ(s.ram_held, 1000u);
  EXPECT_EQ(s.ram_fail, 3u);
  EXPECT_EQ(s.oom_kills, 1u);
  EXPECT_EQ(s.swap_limit, 2000u);
  EXPECT_EQ(s.swap_held, 40u);
  EXPECT_EQ(s.shmem_held, 50u);
  EXPECT_EQ(s.locked_held, 60u);
  EXPECT_EQ(s.cpu_ns, 987654321u);
  EXPECT_FALSE(s.numproc);
}

TEST_F(SampleFiles, Version1UnlimitedIsUnlimited) {
  put("memory.limit_in_bytes", "9223372036854771712\n");
  put("memory.memsw.limit_in_bytes", "9223372036854771712\n");
  Sample s = sample(false);
  EXPECT_EQ(s.ram_limit, Limit::kUnlimited);
  EXPECT_EQ(s.swap_limit, Limit::kUnlimited);
}

TEST_F(SampleFiles, OnlyWhatIsWantedIsRead) {
  put("memory.current", "1000\n");
  put("memory.peak", "2000\n");
  put("memory.max", "3000\n");
  put("pids.current", "17\n");
  put("pids.max", "20\n");
  Sample s = sample(true, {Reading::ram_max, Reading::numproc});
  EXPECT_EQ(s.ram_max, 2000u);
  EXPECT_EQ(s.numproc, 17u);
  EXPECT_FALSE(s.ram_held);
  EXPECT_FALSE(s.ram_limit);
  EXPECT_FALSE(s.numproc_limit);
}

TEST_F(SampleFiles, FailcntIsOfTheOwnLimit) {
  put("memory.events", "max 12\noom 3\noom_kill 2\n");
  put("memory.events.local", "max 5\noom 1\noom_kill 0\n");
  put("memory.swap.events", "high 0\nmax 7\nfail 70\n");
  put("memory.swap.peak", "4096\n");
  Sample s = sample(true);
  EXPECT_EQ(s.ram_fail, 5u) << "not those of limits inside";
  EXPECT_EQ(s.oom_kills, 2u) << "also those of limits inside";
  EXPECT_EQ(s.ooms, 3u);
  EXPECT_EQ(s.swap_fail, 7u) << "not those of a host without swap";
  EXPECT_EQ(s.swap_max, 4096u);
}

TEST_F(SampleFiles, Version1Peaks) {
  put("memory.max_usage_in_bytes", "8000\n");
  put("memory.memsw.max_usage_in_bytes", "9000\n");
  put("memory.failcnt", "4\n");
  put("memory.memsw.failcnt", "6\n");
  put("memory.kmem.usage_in_bytes", "10\n");
  put("memory.kmem.max_usage_in_bytes", "20\n");
  put("memory.kmem.failcnt", "0\n");
  Sample s = sample(false);
  EXPECT_EQ(s.ram_max, 8000u);
  EXPECT_EQ(s.ram_swap_max, 9000u);
  EXPECT_EQ(s.swap_fail, 6u);
  EXPECT_EQ(s.ram_fail, 10u) << "the limit of the sum is asked first";
  put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 11\n");
  EXPECT_EQ(sample(false).ram_fail, 11u) << "a kill is a refusal, even where the kernel does not count it";
  EXPECT_FALSE(s.swap_max) << "the peaks of RAM and of the sum differ in time";
  EXPECT_EQ(s.kmem_held, 10u);
  EXPECT_EQ(s.kmem_max, 20u);
  EXPECT_EQ(s.kmem_fail, 0u);
}

TEST_F(SampleFiles, GarbageIsNoReading) {
  put("memory.current", "many\n");
  put("memory.stat", "kernel\nsock x\n");
  put("pids.current", "");
  Sample s = sample(true);
  EXPECT_FALSE(s.ram_held);
  EXPECT_FALSE(s.kmem_held);
  EXPECT_FALSE(s.sock_held);
  EXPECT_FALSE(s.numproc);
}

TEST(DiskUsage, NoProcessNoReading) { EXPECT_FALSE(root_usage(0x7ffffff0, "/")); }

}  // namespace
}  // namespace vz
