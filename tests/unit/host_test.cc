// SPDX-License-Identifier: GPL-2.0-or-later
// Host, names, samples, locks, state and action scripts on a configuration tree of the test's own.
#include <vz/host.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libvz/container/lock.h"
#include "libvz/container/names.h"
#include "libvz/container/samples.h"
#include "libvz/container/scripts.h"
#include "libvz/container/state.h"
#include "libvz/kernel/boot_id.h"

namespace vz {
namespace {

namespace fs = std::filesystem;

class HostTest : public ::testing::Test {
 protected:
  HostTest() {
    char name[] = "/tmp/vz-host-test-XXXXXX";
    dir_ = ::mkdtemp(name);
    paths_ = {dir_ + "/etc", dir_ + "/run", dir_ + "/lib"};
    write("etc/vz.conf", "");
    fs::create_directories(dir_ + "/etc/conf");
  }
  ~HostTest() override { fs::remove_all(dir_); }

  void write(const std::string& path, const std::string& text, bool executable = false) {
    fs::create_directories(fs::path(dir_ + "/" + path).parent_path());
    std::ofstream(dir_ + "/" + path, std::ios::binary) << text;
    if (executable) fs::permissions(dir_ + "/" + path, fs::perms::owner_all);
  }
  std::string slurp(const std::string& path) const {
    std::ifstream in(dir_ + "/" + path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  Host open() {
    auto host = Host::open(paths_);
    EXPECT_TRUE(host) << host.error().message();
    return std::move(*host);
  }
  Code open_error(const std::string& conf) {
    write("etc/vz.conf", conf);
    auto host = Host::open(paths_);
    return host ? Code::ok : host.error().code();
  }

  std::string dir_;
  HostPaths paths_;
};

struct Recorder : Reporter {
  void say(Level level, std::string_view text) override {
    if (level == Level::warning) warnings.emplace_back(text);
  }
  std::vector<std::string> warnings;
};

TEST(Ctid, Parses) {
  EXPECT_EQ(Ctid::parse("101")->value(), 101u);
  EXPECT_EQ(Ctid::parse("0")->value(), 0u);
  EXPECT_EQ(Ctid::parse("2147483644")->value(), Ctid::kMax);
  for (const char* text :
       {"", "-1", "+1", " 1", "1 ", "1a", "0x1", "1.0", "2147483645", "4294967397", "18446744073709551717"}) {
    auto id = Ctid::parse(text);
    ASSERT_FALSE(id) << text;
    EXPECT_EQ(id.error().code(), Code::bad_value);
    EXPECT_EQ(id.error().message(), std::string("Bad CT ID ") + text);
  }
}

TEST_F(HostTest, DefaultsFollowThePaths) {
  Host host = open();
  Config ct;
  EXPECT_EQ(host.lock_dir(), dir_ + "/run/lock");
  EXPECT_EQ(host.template_dir(), dir_ + "/lib/template");
  EXPECT_EQ(host.dump_dir(), dir_ + "/lib/dump");
  EXPECT_EQ(host.private_path(Ctid(101), ct), dir_ + "/lib/private/101");
  EXPECT_EQ(host.root_path(Ctid(101), ct), dir_ + "/lib/root/101");
  EXPECT_EQ(host.config_path(Ctid(101)), dir_ + "/etc/conf/101.conf");
  EXPECT_EQ(host.run_dir(Ctid(101)), dir_ + "/run/101");
  Host moved = std::move(host);
  EXPECT_EQ(moved.paths().etc, dir_ + "/etc");
}

TEST_F(HostTest, PathsAreReadAndExpanded) {
  write("etc/vz.conf", "LOCKDIR=/l\nTEMPLATE=/t\nDUMPDIR=/d\nVE_PRIVATE=\"/p/$VEID/${VEID}.x\"\nVE_ROOT=/r/$VEID\n");
  write("etc/conf/7.conf", "VE_PRIVATE=/own/$VEID\n");
  Host host = open();
  EXPECT_EQ(host.lock_dir(), "/l");
  EXPECT_EQ(host.template_dir(), "/t");
  EXPECT_EQ(host.dump_dir(), "/d");
  Config none;
  EXPECT_EQ(host.private_path(Ctid(5), none), "/p/5/5.x");
  auto ct = host.load(Ctid(7));
  ASSERT_TRUE(ct);
  EXPECT_EQ(host.private_path(Ctid(7), *ct), "/own/7");
  EXPECT_EQ(host.root_path(Ctid(7), *ct), "/r/7");
}

TEST_F(HostTest, BadPathsAreErrors) {
  EXPECT_EQ(open_error("LOCKDIR=\"\"\n"), Code::no_lockdir);
  EXPECT_EQ(open_error("LOCKDIR=run/lock\n"), Code::no_lockdir);
  EXPECT_EQ(open_error("TEMPLATE=./t\n"), Code::no_template_dir);
  EXPECT_EQ(open_error("VE_ROOT=\"\"\n"), Code::no_ve_root);
  EXPECT_EQ(open_error("VE_PRIVATE=private/$VEID\n"), Code::no_ve_private);
  EXPECT_EQ(open_error("VE_PRIVATE=/p/$HOME\n"), Code::no_ve_private);
  EXPECT_EQ(open_error("VE_PRIVATE=/p/$VEIDX\n"), Code::no_ve_private);
  EXPECT_EQ(open_error("garbage\n"), Code::ok);
  write("etc/conf/7.conf", "VE_PRIVATE=oops\n");
  Host host = open();
  auto ct = host.load(Ctid(7));
  ASSERT_FALSE(ct) << "never another directory than the one that was meant";
  EXPECT_EQ(ct.error().code(), Code::no_ve_private);
  fs::remove(dir_ + "/etc/vz.conf");
  EXPECT_EQ(Host::open(paths_).error().code(), Code::no_global_config);
}

TEST_F(HostTest, LoadMergesAndWarnsAboutTheContainersFileOnly) {
  write("etc/vz.conf", "CPUUNITS=500\nbad line\nONBOOT=no\nNAMESERVER=inherit\n");
  write("etc/conf/101.conf", "ONBOOT=yes\nCPUUNITS=fast\n");
  Host host = open();
  EXPECT_EQ(host.global().warnings().size(), 1u);
  auto ct = host.load(Ctid(101));
  ASSERT_TRUE(ct);
  EXPECT_EQ(ct->number("CPUUNITS"), 500u);
  EXPECT_EQ(ct->yes_no("ONBOOT"), true);
  EXPECT_EQ(ct->get("NAMESERVER"), "inherit");
  ASSERT_EQ(ct->warnings().size(), 1u);
  EXPECT_EQ(ct->warnings()[0].where, dir_ + "/etc/conf/101.conf:2");
  auto missing = host.load(Ctid(102));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Code::no_config);
  EXPECT_EQ(missing.error().message(), "Container config file does not exist");
}

TEST_F(HostTest, ListsContainersInOrder) {
  for (const char* file :
       {"101.conf", "9.conf", "1000.conf", "0.conf", "007.conf", "x.conf", "12.conf.destroyed", "13.conf~", ".conf",
        "ve-basic.conf-sample", "99999999999.conf", "-1.conf", "5.mount", "1 2.conf"})
    write(std::string("etc/conf/") + file, "");
  auto list = open().containers();
  ASSERT_TRUE(list);
  EXPECT_EQ(*list, (std::vector<Ctid>{Ctid(9), Ctid(101), Ctid(1000)}));
  fs::remove_all(dir_ + "/etc/conf");
  EXPECT_TRUE(open().containers()->empty());
}

TEST_F(HostTest, NamesAreLinksThatResolve) {
  write("etc/conf/101.conf", "");
  write("etc/conf/102.conf", "");
  Host host = open();
  ASSERT_TRUE(assign_name(host, "web 1", Ctid(101)));
  EXPECT_EQ(fs::read_symlink(dir_ + "/etc/names/web 1"), "../conf/101.conf");
  EXPECT_EQ(host.resolve("web 1")->value(), 101u);
  EXPECT_EQ(host.resolve("102")->value(), 102u);
  EXPECT_TRUE(assign_name(host, "web 1", Ctid(101))) << "its own name";
  auto conflict = assign_name(host, "web 1", Ctid(102));
  ASSERT_FALSE(conflict);
  EXPECT_EQ(conflict.error().code(), Code::name);
  EXPECT_EQ(conflict.error().message(), "Conflict: name web 1 already used by container 101");
  EXPECT_TRUE(remove_name(host, "web 1", Ctid(102))) << "another's name is left alone";
  EXPECT_EQ(host.resolve("web 1")->value(), 101u);
  EXPECT_TRUE(remove_name(host, "web 1", Ctid(101)));
  EXPECT_TRUE(remove_name(host, "web 1", Ctid(101)));
  auto gone = host.resolve("web 1");
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().message(), "Unable to find container by name web 1");
  EXPECT_EQ(gone.error().code(), Code::bad_value);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ + "/etc/names"), {}), 0) << "no temporary link is left";
}

TEST_F(HostTest, StaleAndHostileNames) {
  write("etc/conf/101.conf", "");
  fs::create_directories(dir_ + "/etc/names");
  fs::create_symlink("../conf/999.conf", dir_ + "/etc/names/dangling");
  fs::create_symlink("/etc/passwd", dir_ + "/etc/names/passwd");
  fs::create_symlink("../conf/0.conf", dir_ + "/etc/names/zero");
  write("etc/names/file", "101");
  Host host = open();
  for (const char* name :
       {"dangling", "passwd", "zero", "file", "", "../conf/101.conf", "..", ".", "-1", "a/b", "nobody"})
    EXPECT_FALSE(host.resolve(name)) << name;
  EXPECT_TRUE(assign_name(host, "dangling", Ctid(101))) << "a name of a destroyed container is free";
  EXPECT_EQ(host.resolve("dangling")->value(), 101u);
  for (const char* name : {"", "123", "../x", "a\nb", ".x"}) {
    auto bad = assign_name(host, name, Ctid(101));
    ASSERT_FALSE(bad) << name;
    EXPECT_EQ(bad.error().code(), Code::bad_value);
  }
}

TEST_F(HostTest, Samples) {
  write("etc/conf/ve-small.conf-sample", "CPUUNITS=8\n");
  write("etc/conf/ve-.conf-sample", "");
  Host host = open();
  EXPECT_EQ(load_sample(host, "small")->number("CPUUNITS"), 8u);
  for (const char* name : {"big", "", "../conf/ve-small", "small\n"}) {
    auto sample = load_sample(host, name);
    ASSERT_FALSE(sample) << name;
    EXPECT_EQ(sample.error().code(), Code::copy_config);
  }
  EXPECT_EQ(load_sample(host, "big").error().message(), "Sample config big not found");
  EXPECT_EQ(load_sample(host, "big").error().hint(), "there are: small");
}

TEST_F(HostTest, LockExcludesAndNamesItsHolder) {
  Host host = open();
  {
    auto lock = CtLock::take(host, Ctid(101), "starting");
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(slurp("run/lock/101.lck"), std::to_string(::getpid()) + "\nstarting\n");
    auto second = CtLock::take(host, Ctid(101), "x");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), Code::locked);
    EXPECT_EQ(second.error().message(), "Container already locked");
    EXPECT_EQ(second.error().hint().rfind("Locked by: pid " + std::to_string(::getpid()) + ", cmdline ", 0), 0u)
        << second.error().hint();
    EXPECT_TRUE(CtLock::take(host, Ctid(102), "x")) << "another container";
    CtLock moved = std::move(*lock);
    EXPECT_FALSE(CtLock::take(host, Ctid(101), "x"));
  }
  EXPECT_FALSE(fs::exists(dir_ + "/run/lock/101.lck"));
  EXPECT_TRUE(CtLock::take(host, Ctid(101), "x"));
}

TEST_F(HostTest, LockWaitsForACleanUp) {
  Host host = open();
  auto repair = CtLock::take(host, Ctid(101), "repairing");
  ASSERT_TRUE(repair);
  EXPECT_FALSE(CtLock::take(host, Ctid(101), "repairing")) << "two of them need not wait for each other";
  std::thread ends([lock = std::move(*repair)]() mutable {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CtLock gone = std::move(lock);
  });
  EXPECT_TRUE(CtLock::take(host, Ctid(101), "starting"));
  ends.join();
}

TEST_F(HostTest, LockOfADeadProcessIsTaken) {
  Host host = open();
  pid_t child = ::fork();
  if (child == 0) {
    auto lock = CtLock::take(host, Ctid(101), "x");
    ::_exit(lock ? 0 : 1);  // no destructor: as if killed
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(fs::exists(dir_ + "/run/lock/101.lck"));
  auto lock = CtLock::take(host, Ctid(101), "y");
  ASSERT_TRUE(lock);
  EXPECT_EQ(slurp("run/lock/101.lck"), std::to_string(::getpid()) + "\ny\n");
}

TEST_F(HostTest, LockSurvivesASharedDescriptor) {
  Host host = open();
  pid_t child = -1;
  int hold[2];
  ASSERT_EQ(::pipe(hold), 0);
  {
    auto lock = CtLock::take(host, Ctid(101), "x");
    ASSERT_TRUE(lock);
    child = ::fork();  // inherits the descriptor
    if (child == 0) {
      char c;
      ::close(hold[1]);
      (void)!::read(hold[0], &c, 1);
      ::_exit(0);
    }
  }
  EXPECT_TRUE(CtLock::take(host, Ctid(101), "y")) << "released although a child still has it open";
  ::close(hold[0]);
  ::close(hold[1]);
  (void)::waitpid(child, nullptr, 0);
}

TEST_F(HostTest, StateRoundTrip) {
  Host host = open();
  EXPECT_FALSE(*load_state(host, Ctid(101)));
  State s;
  s.id = Ctid(101);
  s.phase = "running";
  s.init = {4242, 18446744073709551615ull};
  s.idmap = {1879048192, 65536};
  s.layout = "image";
  s.root_device = "/dev/loop3";
  s.veth = "vz101";
  s.bridged = {"veth101.0"};
  s.addresses = {"10.0.0.5", "fd00::5"};
  s.nesting = true;
  s.capabilities = 0xffffffffffffffffull;
  s.boot_id = "b";
  s.started_at = 1700000000;
  s.config_snapshot = "DESCRIPTION=\"caf\xe9 \\\"x\\\"\"\nCPUUNITS=\"8\"\n";
  ASSERT_TRUE(save_state(host, s));
  auto back = load_state(host, Ctid(101));
  ASSERT_TRUE(back) << back.error().message();
  ASSERT_TRUE(*back);
  EXPECT_EQ((*back)->phase, s.phase);
  EXPECT_EQ((*back)->init.pid, 4242);
  EXPECT_EQ((*back)->init.start_time, s.init.start_time);
  EXPECT_EQ((*back)->idmap, s.idmap);
  EXPECT_EQ((*back)->bridged, s.bridged);
  EXPECT_EQ((*back)->addresses, s.addresses);
  EXPECT_EQ((*back)->root_device, s.root_device);
  EXPECT_EQ((*back)->capabilities, s.capabilities);
  EXPECT_TRUE((*back)->nesting);
  EXPECT_EQ((*back)->started_at, s.started_at);
  EXPECT_EQ(Config::parse((*back)->config_snapshot, "s").number("CPUUNITS"), 8u) << "odd bytes elsewhere do no harm";
  EXPECT_FALSE(*running_state(host, Ctid(101))) << "of another boot";
  EXPECT_TRUE(remove_state(host, Ctid(101)));
  EXPECT_TRUE(remove_state(host, Ctid(101)));
  EXPECT_FALSE(*load_state(host, Ctid(101)));
}

TEST_F(HostTest, BadStateFilesAreRefused) {
  Host host = open();
  for (const char* text :
       {"", "{", "[]", "null", "1", "{}", "{\"version\": 2}", "{\"version\": \"1\"}", "{\"version\": -1}",
        "{\"version\": 1}", "{\"version\": 1, \"id\": 102}", "{\"version\": 1, \"id\": 101, \"init\": 5}",
        "{\"version\": 1, \"id\": 101, \"init\": {\"pid\": 99999999999}}",
        "{\"version\": 1, \"id\": 101, \"idmap\": {\"base\": -1}}", "{\"version\": 1, \"id\": 101, \"addresses\": [1]}",
        "{\"version\": 1, \"id\": 101, \"phase\": {}}"}) {
    write("run/101/state.json", text);
    auto state = load_state(host, Ctid(101));
    ASSERT_FALSE(state) << text;
    EXPECT_EQ(state.error().code(), Code::bad_config) << text;
    EXPECT_FALSE(running_state(host, Ctid(101)));
  }
  write("run/101/state.json", "{\"version\": 1, \"id\": 101, \"later\": [1, 2]}");
  auto minimal = load_state(host, Ctid(101));
  ASSERT_TRUE(minimal) << minimal.error().message();
  EXPECT_EQ((*minimal)->idmap.count, 65536u);
}

TEST_F(HostTest, RunningMeansThatVeryProcess) {
  Host host = open();
  State s;
  s.id = Ctid(101);
  s.boot_id = read_boot_id();
  ASSERT_TRUE(save_state(host, s));
  EXPECT_FALSE(*running_state(host, Ctid(101))) << "still starting";
  auto self = identify(::getpid());
  ASSERT_TRUE(self);
  s.init = *self;
  ASSERT_TRUE(save_state(host, s));
  EXPECT_TRUE(*running_state(host, Ctid(101)));
  s.init.start_time += 1;
  ASSERT_TRUE(save_state(host, s));
  EXPECT_FALSE(*running_state(host, Ctid(101))) << "the pid was used again";
}

TEST_F(HostTest, ScriptsRunInOrderWithTheirEnvironment) {
  write("etc/conf/101.conf", "VE_ROOT=/r/$VEID\nVE_PRIVATE=/p/$VEID\n");
  std::string out = dir_ + "/out";
  auto script = [&](const std::string& tag) {
    return "#!/bin/sh\necho " + tag + " $VEID $VE_CONFFILE $VE_ROOT $VE_PRIVATE >>" + out + "\n";
  };
  for (const char* name : {"mount", "umount"}) {
    write(std::string("etc/conf/vps.") + name, script("global"), true);
    write(std::string("etc/conf/101.") + name, script("own"), true);
  }
  Host host = open();
  Reporter quiet;
  std::string rest = " 101 " + dir_ + "/etc/conf/101.conf /r/101 /p/101\n";
  EXPECT_TRUE(has_host_scripts(host, Ctid(101), "mount"));
  EXPECT_FALSE(has_host_scripts(host, Ctid(101), "premount"));
  EXPECT_TRUE(has_host_scripts(host, Ctid(102), "mount")) << "the global one";
  ASSERT_TRUE(run_host_scripts(host, Ctid(101), "mount", quiet));
  EXPECT_EQ(slurp("out"), "global" + rest + "own" + rest);
  fs::remove(out);
  ASSERT_TRUE(run_host_scripts(host, Ctid(101), "umount", quiet));
  EXPECT_EQ(slurp("out"), "own" + rest + "global" + rest);
  EXPECT_TRUE(run_host_scripts(host, Ctid(101), "postumount", quiet)) << "none is fine";
}

TEST_F(HostTest, FailingScriptsStopAndNonExecutableOnesAreSkipped) {
  write("etc/conf/101.conf", "");
  write("etc/conf/vps.mount", "#!/bin/sh\nexit 3\n", true);
  write("etc/conf/101.mount", "#!/bin/sh\ntouch " + dir_ + "/ran\n", true);
  write("etc/conf/101.premount", "#!/bin/sh\nexit 1\n");
  Host host = open();
  Recorder reporter;
  auto failed = run_host_scripts(host, Ctid(101), "mount", reporter);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::action_script);
  EXPECT_NE(failed.error().message().find("vps.mount"), std::string::npos);
  EXPECT_FALSE(fs::exists(dir_ + "/ran"));
  EXPECT_FALSE(has_host_scripts(host, Ctid(101), "premount"));
  EXPECT_TRUE(run_host_scripts(host, Ctid(101), "premount", reporter));
  ASSERT_EQ(reporter.warnings.size(), 1u);
  EXPECT_EQ(inside_script(host, Ctid(101), "start"), "");
  write("etc/conf/101.start", "");
  EXPECT_EQ(inside_script(host, Ctid(101), "start"), dir_ + "/etc/conf/101.start");
}

// What the package installs is read without a warning, and says what it promises.
TEST_F(HostTest, ShippedFilesAreClean) {
  fs::path etc = fs::path(VZ_TEST_DATA) / "../../etc";
  fs::copy(etc, dir_ + "/etc", fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  Host host = open();
  EXPECT_TRUE(host.global().warnings().empty());
  EXPECT_EQ(host.global().get("NEIGHBOUR_DEVS"), "detect");
  EXPECT_TRUE(load_sample(host, *host.global().get("CONFIGFILE")));
  auto names = list_samples(host);
  ASSERT_TRUE(names);
  EXPECT_GE(names->size(), 7u);
  for (const auto& name : *names) {
    auto sample = load_sample(host, name);
    ASSERT_TRUE(sample);
    EXPECT_TRUE(sample->warnings().empty()) << name;
    auto ram = sample->limit("PHYSPAGES"), swap = sample->limit("SWAPPAGES");
    ASSERT_TRUE(ram && swap) << name;
    EXPECT_EQ(2 * ram->limit, swap->limit) << name;
    EXPECT_TRUE(sample->limit("DISKSPACE")) << name;
    for (const auto& key : sample->keys()) {
      const Param* p = find_param_by_key(key);
      ASSERT_TRUE(p) << key;
      EXPECT_NE(p->applies, Applies::not_enforced) << name << " sets " << key << ", which nothing enforces";
    }
  }
}

TEST_F(HostTest, AThousandContainersLoadFast) {
  std::ifstream in(std::string(VZ_TEST_DATA) + "/config/typical.conf");
  std::string text{std::istreambuf_iterator<char>(in), {}};
  fs::copy_file(fs::path(VZ_TEST_DATA) / "../../etc/vz.conf", dir_ + "/etc/vz.conf",
                fs::copy_options::overwrite_existing);
  for (int id = 1; id <= 1000; ++id) write("etc/conf/" + std::to_string(id) + ".conf", text);
  Host host = open();
  auto start = std::clock();
  auto list = host.containers();
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 1000u);
  double list_ms = 1000.0 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  for (Ctid id : *list) ASSERT_TRUE(host.load(id));
  double ms = 1000.0 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  std::printf("list of 1000: %.1f ms, list and load with vz.conf: %.1f ms of CPU\n", list_ms, ms);
  EXPECT_LT(ms, 1000);
}

}  // namespace
}  // namespace vz
