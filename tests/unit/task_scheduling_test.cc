// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/task_scheduling.h"

#include <csignal>

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace vz {
namespace {

constexpr int kIdleClass = 3 << 13, kIoprioWhoProcess = 1;

class SchedulingTest : public testing::Test {
 protected:
  void SetUp() override {
    child_ = ::fork();
    if (child_ == 0)
      for (;;) ::pause();
    ASSERT_GT(child_, 0);
  }
  void TearDown() override {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  std::vector<TaskScheduling> read() const { return read_scheduling({child_}, ::getpid()); }
  cpu_set_t cpus() const {
    cpu_set_t set;
    EXPECT_EQ(::sched_getaffinity(child_, sizeof set, &set), 0);
    return set;
  }
  void bind(const cpu_set_t& set) { ASSERT_EQ(::sched_setaffinity(child_, sizeof set, &set), 0); }
  pid_t child_ = -1;
};

TEST_F(SchedulingTest, OfWhatHasNoneOfItsOwn) { EXPECT_TRUE(read().empty()); }

TEST_F(SchedulingTest, ComesBack) {
  const cpu_set_t all = cpus();
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "one CPU";
  unsigned last = 0;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &all)) last = cpu;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(last, &one);
  bind(one);
  ASSERT_EQ(::syscall(SYS_ioprio_set, kIoprioWhoProcess, child_, kIdleClass), 0);
  const auto saved = read();
  ASSERT_EQ(saved.size(), 1u);
  EXPECT_EQ(saved[0].cpus, std::vector<unsigned>{last});
  EXPECT_EQ(saved[0].io_priority, kIdleClass);

  bind(all);
  ASSERT_EQ(::syscall(SYS_ioprio_set, kIoprioWhoProcess, child_, 0), 0);
  EXPECT_TRUE(apply_scheduling({child_}, saved).empty());
  EXPECT_EQ(read(), saved);
}

TEST_F(SchedulingTest, SaysWhatIsNotHere) {
  auto failed = apply_scheduling({child_}, {{child_, {8000}, 0}});
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_NE(failed[0].find("CPUs 8000"), std::string::npos) << failed[0];
  EXPECT_TRUE(read().empty());
}

}  // namespace
}  // namespace vz
