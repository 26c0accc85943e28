// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstring>

#include <linux/genetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kmod/include/uapi/linux/vz.h"
#include "libvz/container/oom.h"
#include "libvz/container/vswap_device.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/bpf_loader.h"
#include "libvz/kernel/netlink_request.h"

namespace vz {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kMiB = 1u << 20;

Config config(const std::string& text) { return Config::parse(text, "test"); }

// The header of a swap area.

TEST(SwapHeaderPage, SurvivesARoundTrip) {
  SwapHeader header{"vz-vswap", "01234567-89ab-cdef-0123-456789abcdef"};
  for (std::size_t page : {4096u, 65536u}) {
    auto made = make_swap_header(header, 256 * kMiB, page);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->size(), page);
    auto read = parse_swap_header(*made);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->label, header.label);
    EXPECT_EQ(read->uuid, header.uuid);
    std::uint32_t version = 0, last = 0, bad = 0;
    std::memcpy(&version, made->data() + 1024, 4);
    std::memcpy(&last, made->data() + 1028, 4);
    std::memcpy(&bad, made->data() + 1032, 4);
    EXPECT_EQ(version, 1u);
    EXPECT_EQ(last, 256 * kMiB / page - 1);
    EXPECT_EQ(bad, 0u);
  }
}

TEST(SwapHeaderPage, RefusesWhatIsNone) {
  EXPECT_FALSE(make_swap_header({"label", "not-a-uuid"}, kMiB, 4096));
  EXPECT_FALSE(make_swap_header({"sixteen letters!", "01234567-89ab-cdef-0123-456789abcdef"}, kMiB, 4096));
  EXPECT_FALSE(make_swap_header({"small", "01234567-89ab-cdef-0123-456789abcdef"}, 4096, 4096));
  EXPECT_FALSE(parse_swap_header(std::string(4096, '\0')));
  EXPECT_FALSE(parse_swap_header("SWAPSPACE2"));
  EXPECT_FALSE(parse_swap_header(""));
}

TEST(ProcSwaps, ReadsEveryKindOfLine) {
  auto areas = parse_swaps(
      "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
      "/dev/zram0                              partition\t1048572\t\t2048\t\t100\n"
      "/swap\\040file\\040(deleted)             file\t\t4\t\t0\t\t-2\n"
      "garbage\n");
  ASSERT_EQ(areas.size(), 2u);
  EXPECT_EQ(areas[0].path, "/dev/zram0");
  EXPECT_EQ(areas[0].bytes, 1048572u * 1024);
  EXPECT_EQ(areas[0].used, 2048u * 1024);
  EXPECT_EQ(areas[0].priority, 100);
  EXPECT_EQ(areas[1].path, "/swap file (deleted)");
  EXPECT_EQ(areas[1].priority, -2);
}

TEST(ZramUsage, ReadsBothStatistics) {
  auto u = parse_zram_usage("  4096  74  12288  0  12288  1  0  0  0\n", "      2        0        2\n", 4096);
  EXPECT_EQ(u.stored, 4096u);
  EXPECT_EQ(u.compressed, 74u);
  EXPECT_EQ(u.ram, 12288u);
  EXPECT_EQ(u.written_back, 8192u);
  EXPECT_EQ(parse_zram_usage("", "", 4096).ram, 0u);
}

// What the host's swap is, and where ours goes.

TEST(HostSwap, IsWhatIsUsedFirst) {
  SwapArea disk{"/dev/sda2", 1, 0, -2, "8:2"}, foreign{"/dev/zram0", 1, 0, 100, "253:0"},
      own{"/dev/zram1", 1, 0, 101, "253:1"};
  EXPECT_EQ(classify_swap({}, "", true), SwapKind::none);
  EXPECT_EQ(classify_swap({disk}, "", false), SwapKind::disk);
  EXPECT_EQ(classify_swap({disk}, "", true), SwapKind::zswap);
  EXPECT_EQ(classify_swap({disk, foreign}, "", true), SwapKind::zram);
  EXPECT_EQ(classify_swap({disk, foreign, own}, "253:1", false), SwapKind::vz);
  EXPECT_EQ(vswap_priority({disk}), 100);
  EXPECT_EQ(vswap_priority({disk, foreign, own}), 102);
  EXPECT_EQ(vswap_priority({{"/x", 1, 0, 32767, ""}}), 32767);
}

TEST(VswapSize, StaysWithinBounds) {
  EXPECT_EQ(vswap_size(0, 1024 * kMiB), 512 * kMiB);
  EXPECT_EQ(vswap_size(700 * kMiB, 1024 * kMiB), 700 * kMiB);
  EXPECT_EQ(vswap_size(9000 * kMiB, 1024 * kMiB), 2048 * kMiB);
  EXPECT_EQ(vswap_size(0, 0), 16 * kMiB);
}

// The choice of a mechanism.

VswapFacts everything() {
  VswapFacts f;
  f.delay_file = f.programs = f.privvm = f.io_limits = true;
  f.swap_devices = {"253:0", "8:16"};
  f.programs_why = "vz.ko is not loaded";
  return f;
}

std::vector<std::string> lines(const std::vector<CgroupWrite>& writes) {
  std::vector<std::string> out;
  for (const auto& w : writes) out.push_back(w.file + "=" + w.value);
  return out;
}

std::vector<std::string> lines(const VswapPlan& plan) { return lines(plan.writes); }

TEST(PlanVswap, TakesTheBestThatIsThere) {
  auto facts = everything();
  auto plan = plan_vswap(Ctid(101), config(""), facts);
  EXPECT_EQ(plan.mechanism, VswapMechanism::kernel);
  EXPECT_THAT(lines(plan), ElementsAre("memory.swap.delay=39"));
  EXPECT_EQ(plan.conf.vswap_rate, 0u) << "nobody pays twice";
  EXPECT_EQ(plan.conf.ctid, 101u);

  facts.delay_file = false;
  plan = plan_vswap(Ctid(101), config("VSWAP_RATE=\"2400\"\n"), facts);
  EXPECT_EQ(plan.mechanism, VswapMechanism::module);
  EXPECT_THAT(lines(plan), IsEmpty());
  EXPECT_THAT(lines(plan.lifts), ElementsAre("io.max=253:0 riops=max", "io.max=8:16 riops=max"))
      << "of a time when the module was not there";
  EXPECT_EQ(plan.conf.vswap_rate, 2400u);

  facts.programs = false;
  plan = plan_vswap(Ctid(101), config("VSWAP_RATE=\"2400\"\n"), facts);
  EXPECT_EQ(plan.mechanism, VswapMechanism::riops);
  EXPECT_THAT(lines(plan), ElementsAre("io.max=253:0 riops=2400", "io.max=8:16 riops=2400"));
  EXPECT_THAT(lines(plan.lifts), IsEmpty());
  EXPECT_THAT(plan.why, HasSubstr("vz.ko is not loaded"));
  EXPECT_EQ(plan.conf.vswap_rate, 0u);

  facts.swap_devices.clear();
  EXPECT_EQ(plan_vswap(Ctid(101), config(""), facts).mechanism, VswapMechanism::limits);
  facts.io_limits = false;
  EXPECT_EQ(plan_vswap(Ctid(101), config(""), facts).mechanism, VswapMechanism::limits);
}

TEST(PlanVswap, ZeroIsNoSlowdown) {
  auto facts = everything();
  EXPECT_THAT(lines(plan_vswap(Ctid(1), config("VSWAP_RATE=\"0\"\n"), facts)), ElementsAre("memory.swap.delay=0"));
  facts.delay_file = facts.programs = false;
  EXPECT_THAT(lines(plan_vswap(Ctid(1), config("VSWAP_RATE=\"0\"\n"), facts)),
              ElementsAre("io.max=253:0 riops=max", "io.max=8:16 riops=max"));
}

TEST(PlanVswap, DelayIsTheRateRounded) {
  EXPECT_EQ(swap_delay_us(0), 0u);
  EXPECT_EQ(swap_delay_us(1), 10000u);  // the kernel takes no more: 100 pages/s are the least
  EXPECT_EQ(swap_delay_us(100), 10000u);
  EXPECT_EQ(swap_delay_us(2400), 417u);
  EXPECT_EQ(swap_delay_us(25600), 39u);
  EXPECT_EQ(swap_delay_us(100000), 10u);
  EXPECT_EQ(swap_delay_us(1000000), 1u);
  EXPECT_EQ(swap_delay_us(10000000), 1u);  // 0 would be no delay
}

TEST(PrivateMemory, FollowsFromRamSwapAndFactor) {
  const std::string both = "PHYSPAGES=\"0:1000\"\nSWAPPAGES=\"0:500\"\n";
  EXPECT_EQ(privvm_limit(config(both)), std::nullopt);
  EXPECT_EQ(privvm_limit(config(both + "VM_OVERCOMMIT=\"1.5\"\n")), 2250u);
  EXPECT_EQ(privvm_limit(config(both + "VM_OVERCOMMIT=\"0\"\n")), std::nullopt);
  EXPECT_EQ(privvm_limit(config("VM_OVERCOMMIT=\"1.5\"\n")), std::nullopt);
  EXPECT_EQ(privvm_limit(config("PHYSPAGES=\"0:10\"\nSWAPPAGES=\"unlimited\"\nVM_OVERCOMMIT=\"2\"\n")), std::nullopt);
  EXPECT_EQ(privvm_limit(config(both + "VM_OVERCOMMIT=\"1.5\"\nPRIVVMPAGES=\"7:9\"\n")), 9u);
  EXPECT_EQ(privvm_limit(config(both + "VM_OVERCOMMIT=\"1.5\"\nPRIVVMPAGES=\"unlimited\"\n")), std::nullopt);
  EXPECT_EQ(privvm_limit(config(both + "VM_OVERCOMMIT=\"999999999\"\n")), 1499999998500u);
  auto facts = everything();
  auto limited = config(both + "VM_OVERCOMMIT=\"1.5\"\n");
  EXPECT_EQ(plan_vswap(Ctid(1), limited, facts).conf.privvm_limit, 2250u);
  facts.privvm = false;
  EXPECT_EQ(plan_vswap(Ctid(1), limited, facts).conf.privvm_limit, VZ_UNLIMITED);
}

// The record of our device.

TEST(VswapRecordFile, SurvivesARoundTripAndRefusesGarbage) {
  std::string dir = testing::TempDir() + "vswap-record";
  ASSERT_TRUE(remove_vswap_record(dir));
  auto none = load_vswap_record(dir);
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  ASSERT_TRUE(save_vswap_record(dir, {3, 77, "01234567-89ab-cdef-0123-456789abcdef", "boot"}));
  auto read = load_vswap_record(dir);
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((*read)->id, 3u);
  EXPECT_EQ((*read)->sequence, 77u);
  EXPECT_EQ((*read)->uuid, "01234567-89ab-cdef-0123-456789abcdef");
  auto other_boot = find_vswap_device(dir);
  ASSERT_TRUE(other_boot);
  EXPECT_FALSE(*other_boot) << "a record of another boot names nothing";
  for (const char* text : {"", "[]", "{}", "{\"version\":1}", "{\"version\":2,\"zram\":1}", "{\"version\":\"1\"}",
                           "{\"version\":1,\"zram\":-1,\"uuid\":\"x\",\"boot_id\":\"y\"}"}) {
    std::FILE* f = std::fopen((dir + "/vswap.json").c_str(), "w");
    ASSERT_TRUE(f);
    std::fputs(text, f);
    std::fclose(f);
    EXPECT_FALSE(load_vswap_record(dir)) << text;
  }
  ASSERT_TRUE(remove_vswap_record(dir));
}

// Messages of vz.ko.

netlink::Request message(std::uint8_t command) {
  genlmsghdr header{};
  header.cmd = command;
  return netlink::Request(0x20, 0, header);
}

netlink::Request& put64(netlink::Request& r, int type, std::uint64_t value) {
  return r.put(type, &value, sizeof value);
}

TEST(ModuleMessages, AContainer) {
  auto r = message(VZ_CMD_CT_GET);
  put64(r, VZ_A_CGROUP_ID, 4711).put(VZ_A_CTID, 101u).put(VZ_A_NAME, std::string("web")).put(VZ_A_CPUS, 2u);
  put64(r, VZ_A_BOOT_NS, 99).put(VZ_A_MAX + 7, 1u);  // one that a newer module may send
  auto c = parse_vz_container(nlmsg_hdr(r.get()));
  ASSERT_TRUE(c);
  EXPECT_EQ(*c, (VzContainer{4711, 101, "web", 2, 99, 0}));
}

TEST(ModuleMessages, AddressesOfAContainer) {
  auto r = message(VZ_CMD_CT_GET);
  put64(r, VZ_A_CGROUP_ID, 4711).put(VZ_A_CTID, 101u);
  auto one = IpAddress::parse("10.1.2.3"), other = IpAddress::parse("fd00::7");
  ASSERT_TRUE(one && other);
  r.nest(VZ_A_ADDRS, [&](netlink::Request& list) {
    list.put(VZ_ADDR_IPV4, one->bytes, 4).put(VZ_ADDR_IPV4, one->bytes, 3).put(VZ_ADDR_IPV6, one->bytes, 4);
    list.put(99, one->bytes, 4).put(VZ_ADDR_IPV6, other->bytes, 16);  // what a newer module may know
  });
  auto c = parse_vz_container(nlmsg_hdr(r.get()));
  ASSERT_TRUE(c);
  EXPECT_EQ(c->addresses, (std::vector<IpAddress>{*one, *other}));
}

TEST(ModuleMessages, WhatTheModuleKnowsOfBeancounters) {
  auto info = message(VZ_CMD_INFO);
  info.put(VZ_A_ABI, 1u);
  EXPECT_EQ(parse_vz_module(nlmsg_hdr(info.get()))->ub, std::nullopt) << "an older one";
  info.put(VZ_A_UB_STATE, kVzUbMaps);
  EXPECT_EQ(parse_vz_module(nlmsg_hdr(info.get()))->ub, kVzUbMaps);
}

TEST(ModuleMessages, WhatIsMissingOrCutIsNoMessage) {
  auto r = message(VZ_CMD_CT_GET);
  r.put(VZ_A_CTID, 101u);
  EXPECT_FALSE(parse_vz_container(nlmsg_hdr(r.get()))) << "no cgroup id";
  auto small = message(VZ_CMD_CT_GET);
  small.put(VZ_A_CGROUP_ID, 1u).put(VZ_A_CTID, 101u);  // four bytes where eight belong
  EXPECT_FALSE(parse_vz_container(nlmsg_hdr(small.get())));
  EXPECT_FALSE(parse_vz_module(nlmsg_hdr(message(VZ_CMD_INFO).get())));
  nlmsghdr bare{};
  bare.nlmsg_len = NLMSG_HDRLEN;
  EXPECT_FALSE(parse_vz_container(&bare)) << "no generic header";
  auto info = message(VZ_CMD_INFO);
  info.put(VZ_A_ABI, 1u).put(VZ_A_VERSION, std::string("0.1.0"));
  auto module = parse_vz_module(nlmsg_hdr(info.get()));
  ASSERT_TRUE(module);
  EXPECT_EQ(module->version, "0.1.0");
}

TEST(ModuleMessages, AKill) {
  auto r = message(VZ_CMD_EVENT);
  r.put(VZ_A_EVENT, std::uint32_t{VZ_EVENT_OOM_KILL}).put(VZ_A_CTID, 101u).put(VZ_A_PID, 42u);
  r.put(VZ_A_COMM, std::string("evil\n\x1b[2J")).put(VZ_A_UID, 100000u);
  put64(put64(put64(r, VZ_A_CGROUP_ID, 4711), VZ_A_RSS_ANON, 64 * kMiB), VZ_A_RAM_USAGE, 128 * kMiB);
  put64(put64(r, VZ_A_RAM_LIMIT, 128 * kMiB), VZ_A_SWAP_LIMIT, UINT64_MAX);
  auto kill = parse_vz_oom_kill(nlmsg_hdr(r.get()));
  ASSERT_TRUE(kill);
  auto text = oom_message(oom_report(*kill));
  EXPECT_THAT(text, HasSubstr("killed process 42 (evil\\x0a\\x1b[2J)"));
  EXPECT_THAT(text, HasSubstr("64 MiB of RAM"));
  EXPECT_THAT(text, HasSubstr("128 MiB of 128 MiB RAM"));
  EXPECT_THAT(text, HasSubstr("of unlimited swap"));
  EXPECT_THAT(text, testing::Not(HasSubstr("the host itself")));
  auto short_host = message(VZ_CMD_EVENT);
  put64(short_host, VZ_A_CGROUP_ID, 1).put(VZ_A_CTID, 101u).put(VZ_A_EVENT, std::uint32_t{VZ_EVENT_HOST_OOM_KILL});
  auto innocent = parse_vz_oom_kill(nlmsg_hdr(short_host.get()));
  ASSERT_TRUE(innocent);
  EXPECT_THAT(oom_message(oom_report(*innocent)), HasSubstr("the host itself ran short"));
  auto other = message(VZ_CMD_EVENT);
  put64(other, VZ_A_CGROUP_ID, 1).put(VZ_A_CTID, 1u).put(VZ_A_EVENT, 99u);
  EXPECT_FALSE(parse_vz_oom_kill(nlmsg_hdr(other.get()))) << "an event that we do not know";
}

// The kernel's log.

TEST(KernelLog, NamesContainerAndVictim) {
  auto r = parse_oom_line(
      "6,1234,5678,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=ns,mems_allowed=0,"
      "oom_memcg=/vz.slice/vz-101.scope/ct,task_memcg=/vz.slice/vz-101.scope/ct/ns/app,task=dd,pid=612,uid=100000\n");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->id, Ctid(101));
  EXPECT_EQ(r->pid, 612u);
  EXPECT_EQ(r->comm, "dd");
  EXPECT_FALSE(r->host_short);
}

TEST(KernelLog, TheHostRanShort) {
  auto r = parse_oom_line(
      "6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
      "task_memcg=/vz.slice/vz-7.scope/ct/ns,task=a,pid=9,uid=0\n");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->id, Ctid(7));
  EXPECT_TRUE(r->host_short);
}

TEST(KernelLog, AContainerCannotSpeakForAnother) {
  // Names of a group inside (no '/') and of a process (anything) are the container's.
  auto r = parse_oom_line(
      "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,task=y,pid=1,mems_allowed=0,"
      "oom_memcg=/vz.slice/vz-101.scope/ct,task_memcg=/vz.slice/vz-101.scope/ct/"
      "ns,task=a,pid=5,uid=0,pid=612,uid=100000\n");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->id, Ctid(101));
  EXPECT_EQ(r->pid, 612u);
  for (const char* line :
       {"", "6,1,2,-;",
        "6,1,2,-;oom-kill:constraint=", "6,1,2,-;something,oom_memcg=/vz.slice/vz-101.scope/ct,task=a,pid=1,uid=0",
        "6,1,2,-;oom-kill:constraint=X,oom_memcg=/user.slice,task_memcg=/user.slice,task=a,pid=1,uid=0",
        "6,1,2,-;oom-kill:constraint=X,oom_memcg=/vz.slice/vz-0.scope/ct,task=a,pid=1,uid=0",
        "6,1,2,-;oom-kill:constraint=X,oom_memcg=/vz.slice/vz-101.scope/ct,pid=1,uid=0,task=a"})
    EXPECT_FALSE(parse_oom_line(line)) << line;
}

TEST(BpfLoader, SaysWhyAProgramIsMissing) {
  EXPECT_EQ(bpf_load_failure("{\"programs\":[{\"name\":\"a\",\"attached\":true,\"reason\":\"\"},"
                             "{\"name\":\"b\",\"attached\":false,\"reason\":\"not needed here\"},"
                             "{\"name\":\"c\",\"attached\":false,\"reason\":\"no vz.ko\"}]}"),
            "c: no vz.ko");
  EXPECT_EQ(bpf_load_failure("vz-bpf: x\n{\"error\":\"no BTF\",\"programs\":[]}"), "no BTF");
  EXPECT_EQ(bpf_load_failure("killed\n"), "killed");
  EXPECT_EQ(bpf_load_failure("{\"programs\":[1,null]}"), "");
}

}  // namespace
}  // namespace vz
