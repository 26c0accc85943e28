// SPDX-License-Identifier: GPL-2.0-or-later
// What suspending and restoring read and decide, without a kernel.
#include <gtest/gtest.h>

#include <string>

#include "libvz/container/dump.h"
#include "libvz/container/precheck.h"
#include "libvz/kernel/criu.h"
#include "libvz/kernel/mount_table.h"

namespace vz {
namespace {

TEST(CriuLog, WhatPassesIsTriedAgain) {
  EXPECT_TRUE(criu_refusal_passes("CRIU: Control messages in queue, not supported"));
  EXPECT_TRUE(criu_refusal_passes("CRIU: unix: Found a closed in-flight socket to 0x12"));
  EXPECT_TRUE(
      criu_refusal_passes("CRIU: parse_fdinfo_pid_s: error parsing [inotify wd:16 ino:14ab43 sdev:26 mask:2 ] for 8"));
  EXPECT_FALSE(criu_refusal_passes("CRIU: Can't write 4096 bytes: No space left on device"));
}

TEST(CriuLog, TheLastErrorsWithoutStampsAndNoise) {
  const char* log =
      "(00.1) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
      "Error (criu/util.c:642): execvp(\"iptables-save\", ...) failed: No such file or directory\n"
      "(00.2)      1: Error (criu/mount-v2.c:634): mnt-v2: Can't stat mountpoint /x: Permission denied\n"
      "(00.3) some line about Errors\n"
      "(00.4) Error (criu/cr-restore.c:2331): Restoring FAILED.\n"
      "(00.5) Error (criu/cgroup.c:2055): cg: cgroupd: recv req error: No such file or directory\n";
  EXPECT_EQ(criu_log_errors(log), "mnt-v2: Can't stat mountpoint /x: Permission denied");
}

TEST(CriuLog, NamesOfTheContainerBringNoTerminalCodes) {
  EXPECT_EQ(criu_log_errors("Error (a.c:1): file \x1b[31mred\n"), "file ?[31mred");
}

TEST(CriuLog, NothingToTell) {
  EXPECT_EQ(criu_log_errors(""), "");
  EXPECT_EQ(criu_log_errors("(00.1) Dumping finished successfully\nError (unfinished"), "Error (unfinished");
}

TEST(CriuVersion, Order) {
  EXPECT_LT((CriuVersion{4, 1, 1}), kMinimumCriu);
  EXPECT_GE((CriuVersion{4, 2, 1}), kMinimumCriu);
  EXPECT_GE((CriuVersion{5, 0, 0}), kMinimumCriu);
  EXPECT_EQ((CriuVersion{4, 2, 1}).str(), "4.2.1");
}

DumpManifest example() {
  DumpManifest m;
  m.id = Ctid(101);
  m.token = "0123456789abcdef";
  m.criu = "4.2.1";
  m.machine = "x86_64";
  m.idmap = {1879048192, 65536};
  m.capabilities = 1ull << 40;
  m.addresses = {"198.18.0.1"};
  m.external = {"mnt[/dev/null]:node/null"};
  m.hierarchies = {"v2:/sys/fs/cgroup"};
  m.groups = {{"a.slice", 0, {{"pids.max", "7"}}, {{"user.delegate", "1"}}}};
  m.scheduling = {{12, {0, 5, 200}, 0}, {13, {}, 3 << 13}};
  m.network = NetState{{{"lo", 1, 0x49, 65536}, {"venet0", 7, 0x91, 1500}},
                       {std::string("\x02\x00\xff", 3)},
                       {std::string(), "r"},
                       {{"ipv4/conf/all/forwarding", "1"}}};
  m.files = {{"pages-1.img", 4096, 0xfedcba9876543210}};
  return m;
}

TEST(DumpManifest, ComesBack) {
  auto m = parse_manifest(manifest_text(example()), "/d");
  ASSERT_TRUE(m) << m.error().message();
  EXPECT_EQ(m->id, Ctid(101));
  EXPECT_EQ(m->token, example().token);
  EXPECT_EQ(m->idmap, example().idmap);
  EXPECT_EQ(m->capabilities, example().capabilities);
  EXPECT_EQ(m->external, example().external);
  EXPECT_EQ(m->groups, example().groups);
  EXPECT_EQ(m->scheduling, example().scheduling);
  EXPECT_EQ(m->network, example().network);
  EXPECT_EQ(m->files, example().files);
}

TEST(DumpManifest, NetworkIsOptional) {
  auto without = example();
  without.network.reset();
  auto m = parse_manifest(manifest_text(without), "/d");
  ASSERT_TRUE(m) << m.error().message();
  EXPECT_FALSE(m->network);
}

TEST(DumpManifest, RefusesWhatIsNotOne) {
  const std::string good = manifest_text(example());
  auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    auto at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const auto& text :
       {std::string(), std::string("{"), std::string("[]"), good.substr(0, good.size() / 2),
        changed("\"version\": 1", "\"version\": 2"), changed("\"version\": 1", "\"version\": \"1\""),
        changed("\"token\"", "\"tokem\""), changed("pages-1.img", "../pages-1.img"), changed("pages-1.img", ""),
        changed("fedcba9876543210", "x"), changed("4096", "\"big\""), changed("65536", "null"),
        changed("0200ff", "0200f"), changed("0200ff", "0200fg"), changed("ipv4/conf", "ipv4/../../kernel"),
        changed("ipv4/conf", "/ipv4"), changed("\"mtu\"", "\"mtv\"")}) {
    auto m = parse_manifest(text, "/d");
    ASSERT_FALSE(m) << text;
    EXPECT_EQ(m.error().code(), Code::restore);
  }
}

TEST(DumpManifest, RefusesOneNameTwice) {
  auto m = example();
  m.files.push_back(m.files[0]);
  EXPECT_FALSE(parse_manifest(manifest_text(m), "/d"));
}

TEST(MountTable, Lines) {
  auto mounts = parse_mounts(
      "134 131 0:43 /null /dev/null rw,nosuid - tmpfs none rw,size=64k\n"
      "135 131 0:44 / /a\\040b rw shared:7 master:3 - ext4 /dev/x rw\n"
      "garbage\n");
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[0].root, "/null");
  EXPECT_EQ(mounts[0].super_options, "rw,size=64k");
  EXPECT_EQ(mounts[1].point, "/a b");
  EXPECT_EQ(mounts[1].type, "ext4");
}

PrecheckFacts one_init() {
  PrecheckFacts facts;
  TaskFacts init;
  init.pid = 500;
  init.inside = 1;
  init.name = "init";
  init.namespaces = {{"pid", "pid:[1]"}, {"pid_for_children", "pid:[1]"}, {"uts", "uts:[2]"}};
  facts.tasks.push_back(init);
  facts.mount_ids = {7};
  facts.mounts = parse_mounts("7 1 7:0 / / rw - ext4 /dev/loop0 rw\n");
  return facts;
}

TaskFacts& child(PrecheckFacts& facts) {
  TaskFacts task = facts.tasks[0];
  task.pid = 501;
  task.inside = 12;
  task.parent = 500;
  task.name = "work";
  facts.tasks.push_back(task);
  return facts.tasks.back();
}

void expect_one(const PrecheckFacts& facts, Obstacle::Effect effect, const std::string& object) {
  auto found = judge(facts);
  ASSERT_EQ(found.size(), 1u) << object;
  EXPECT_EQ(found[0].effect, effect) << object;
  EXPECT_NE(found[0].object.find(object), std::string::npos) << found[0].object;
  EXPECT_FALSE(found[0].remedy.empty());
}

TEST(Precheck, NothingInTheWay) {
  auto facts = one_init();
  child(facts).files = {{0, "/dev/console", "mnt_id:\t7\n", false},
                        {1, "socket:[123]", "", false},
                        {2, "/memfd:x (deleted)", "mnt_id:\t999\n", false},
                        {3, "anon_inode:[eventpoll]", "", false},
                        {4, "anon_inode:[timerfd]", "it_value: (0, 5)\nit_interval: (1, 0)\n", false}};
  EXPECT_TRUE(judge(facts).empty());
}

TEST(Precheck, Files) {
  using Effect = Obstacle::Effect;
  struct {
    OpenFile file;
    Effect effect;
    const char* object;
  } cases[] = {
      {{3, "anon_inode:[io_uring]", "", false}, Effect::blocks, "io_uring"},
      {{3, "anon_inode:bpf-map", "", false}, Effect::blocks, "BPF"},
      {{3, "anon_inode:[perf_event]", "", false}, Effect::blocks, "performance"},
      {{3, "anon_inode:[userfaultfd]", "", false}, Effect::blocks, "userfaultfd"},
      {{3, "anon_inode:seccomp notify", "", false}, Effect::blocks, "seccomp"},
      {{3, "/q", "", true}, Effect::blocks, "message queue"},
      {{3, "/root/x", "pos:\t0\nmnt_id:\t99\n", false}, Effect::blocks, "of the host"},
      {{3, "/sys/fs/cgroup/a/memory.pressure", "mnt_id:\t7\n", false}, Effect::changes, "pressure"},
      {{3, "anon_inode:[timerfd]", "it_value: (0, 0)\nit_interval: (1, 0)\n", false}, Effect::changes, "timer"}};
  for (const auto& c : cases) {
    auto facts = one_init();
    child(facts).files = {c.file};
    expect_one(facts, c.effect, c.object);
  }
}

TEST(Precheck, Tasks) {
  using Effect = Obstacle::Effect;
  auto facts = one_init();
  child(facts).namespaces["uts"] = "uts:[9]";
  expect_one(facts, Effect::blocks, "uts namespace");
  facts = one_init();
  child(facts).tracer = 77;
  expect_one(facts, Effect::blocks, "debugger");
  facts = one_init();
  child(facts).parent = 4;
  expect_one(facts, Effect::blocks, "outside");
}

TEST(Precheck, Container) {
  using Effect = Obstacle::Effect;
  auto facts = one_init();
  facts.protocols = {"TCP", "MPTCP"};
  expect_one(facts, Effect::blocks, "MPTCP");
  facts = one_init();
  facts.sockets = {{facts.tasks[0], "/var/lib/haproxy/dev/log"}};
  expect_one(facts, Effect::blocks, "/var/lib/haproxy/dev/log");
  facts = one_init();
  facts.message_queues = {"jobs"};
  expect_one(facts, Effect::blocks, "jobs");
  facts = one_init();
  facts.mounts = parse_mounts(
      "7 1 7:0 / / rw - ext4 /dev/loop0 rw\n8 7 0:9 / /mnt rw - fuse.sshfs x rw\n9 7 0:9 / /proc/stat rw - fuse.lxcfs "
      "l rw\n");
  facts.external = {"/proc/stat"};
  expect_one(facts, Effect::blocks, "/mnt");
  facts = one_init();
  facts.mounts = parse_mounts("7 1 7:0 / / rw - ext4 /dev/loop0 rw\n8 7 8:1 /data /data rw - xfs /dev/sda1 rw\n");
  expect_one(facts, Effect::blocks, "of the host");
}

}  // namespace
}  // namespace vz
