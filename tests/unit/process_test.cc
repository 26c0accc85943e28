// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vz {
namespace {

using testing::HasSubstr;
using testing::Not;

// A child that waits to be killed; reaped at the end at the latest.
class Victim {
 public:
  Victim() : pid_(::fork()) {
    if (pid_ != 0) return;
    (void)::prctl(PR_SET_NAME, ") R 1 (x");  // the name's characters are the process's choice
    for (;;) ::pause();
  }
  ~Victim() { reap(); }
  void kill() const { (void)::kill(pid_, SIGKILL); }
  void reap() {
    if (pid_ <= 0) return;
    kill();
    (void)::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

TEST(Process, IsFoundByPidAndStartTime) {
  Victim victim;
  auto id = identify(victim.pid());
  ASSERT_TRUE(id) << id.error().message();
  EXPECT_EQ(id->pid, victim.pid());
  EXPECT_GT(id->start_time, 0u);
  EXPECT_TRUE(open_process(*id));
}

TEST(Process, ARecycledPidIsAnotherProcess) {
  Victim victim;
  auto id = identify(victim.pid());
  ASSERT_TRUE(id);
  for (std::uint64_t other : {id->start_time - 1, id->start_time + 1, std::uint64_t{0}}) {
    auto opened = open_process({victim.pid(), other});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), Code::not_running);
  }
}

TEST(Process, AZombieIsGone) {
  Victim victim;
  auto id = identify(victim.pid());
  ASSERT_TRUE(id);
  victim.kill();
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(victim.pid()), &info, WEXITED | WNOWAIT), 0);
  auto opened = open_process(*id);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::not_running);
  victim.reap();
  EXPECT_EQ(open_process(*id).error().code(), Code::not_running);
  EXPECT_EQ(identify(id->pid).error().code(), Code::not_running);
}

TEST(Process, NonsensePidsAreGone) {
  for (pid_t pid : {0, -1, 0x7fffffff}) {
    EXPECT_EQ(identify(pid).error().code(), Code::not_running) << pid;
    EXPECT_EQ(open_process({pid, 1}).error().code(), Code::not_running) << pid;
  }
}

TEST(Process, WaitEndsWithTheProcessOrTheTime) {
  Victim victim;
  auto pidfd = open_process(*identify(victim.pid()));
  ASSERT_TRUE(pidfd);
  auto early = wait_exit(*pidfd, std::chrono::milliseconds(10));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code(), Code::exec_timeout);
  victim.kill();
  EXPECT_TRUE(wait_exit(*pidfd, std::nullopt));
  EXPECT_TRUE(wait_exit(*pidfd, std::chrono::milliseconds(0)));
}

CommandResult sh(const std::string& script) {
  auto r = run_command({.argv = {"sh", "-c", script}});
  EXPECT_TRUE(r) << r.error().message();
  return r ? *r : CommandResult{-1, ""};
}

TEST(RunCommand, ReportsStatusAndBothOutputs) {
  auto r = sh("echo out; echo err >&2; exit 3");
  EXPECT_EQ(r.status, 3);
  EXPECT_EQ(r.output, "out\nerr\n");
  EXPECT_EQ(sh("kill -9 $$").status, 128 + 9);
  EXPECT_EQ(sh("cat").output, "");  // standard input is /dev/null
}

TEST(RunCommand, GivesACleanEnvironment) {
  ::setenv("VZ_TEST_LEAK", "1", 1);
  auto r = run_command({.argv = {"env"}, .env = {"VEID=101"}});
  ASSERT_TRUE(r);
  EXPECT_THAT(r->output, HasSubstr("VEID=101\n"));
  EXPECT_THAT(r->output, HasSubstr("LC_ALL=C\n"));
  EXPECT_THAT(r->output, HasSubstr("PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"));
  EXPECT_THAT(r->output, Not(HasSubstr("VZ_TEST_LEAK")));
}

TEST(RunCommand, StartsInADirectoryWithoutOurDescriptors) {
  auto r = run_command({.argv = {"sh", "-c", "pwd; ls /proc/self/fd | wc -l"}, .chdir = "/usr"});
  ASSERT_TRUE(r);
  EXPECT_EQ(r->output, "/usr\n4\n");  // 0, 1, 2 and the one that ls reads
}

TEST(RunCommand, ResetsSignals) {
  ::signal(SIGPIPE, SIG_IGN);
  auto r = sh("grep SigIgn /proc/self/status; grep SigBlk /proc/self/status");
  ::signal(SIGPIPE, SIG_DFL);
  EXPECT_EQ(r.output, "SigIgn:\t0000000000000000\nSigBlk:\t0000000000000000\n");
}

TEST(RunCommand, LargeOutputArrivesWhole) {
  auto r = sh("yes 0123456789abcde | head -c 3000000");
  EXPECT_EQ(r.output.size(), 3000000u);
}

TEST(RunCommand, DoesNotWaitForADaemonThatKeepsThePipe) {
  auto r = sh("sleep 30 & echo started $!");
  EXPECT_EQ(r.status, 0);
  ASSERT_EQ(r.output.rfind("started ", 0), 0u);
  (void)::kill(std::stoi(r.output.substr(8)), SIGKILL);
}

TEST(RunCommand, SaysWhatCannotBeRun) {
  auto missing = run_command({.argv = {"vz-no-such-program"}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().sys_errno(), ENOENT);
  EXPECT_THAT(missing.error().message(), HasSubstr("vz-no-such-program"));
  EXPECT_EQ(run_command({.argv = {"/etc/passwd"}}).error().sys_errno(), EACCES);
  auto dir = run_command({.argv = {"true"}, .chdir = "/no/such/dir"});
  ASSERT_FALSE(dir);
  EXPECT_THAT(dir.error().message(), HasSubstr("/no/such/dir"));
  EXPECT_FALSE(run_command({}));
}

TEST(RunChecked, FailsWithTheLastLines) {
  EXPECT_EQ(*run_checked({.argv = {"echo", "ok"}}), "ok\n");
  auto r =
      run_checked({.argv = {"sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo line$i; done; exit 2"}}, Code::create_image);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), Code::create_image);
  EXPECT_THAT(r.error().message(), HasSubstr("status 2"));
  EXPECT_THAT(r.error().message(), HasSubstr("line4\nline5\nline6\nline7\nline8"));
  EXPECT_THAT(r.error().message(), Not(HasSubstr("line3")));
  EXPECT_FALSE(run_checked({.argv = {"false"}}));
}

}  // namespace
}  // namespace vz
