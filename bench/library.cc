// SPDX-License-Identifier: GPL-2.0-or-later
// Time per call of what every command does in this process: reading configurations and state, deciding about limits,
// building filters. No root is needed.
#include <cstdlib>
#include <string>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <vz/config.h>
#include <vz/host.h>
#include "libvz/container/limits.h"
#include "libvz/container/state.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/netlink.h"
#include "libvz/kernel/seccomp.h"
#include "libvz/kernel/source_filter.h"

namespace vz {
namespace {

constexpr const char* kSettings = R"(# A small server.
ONBOOT="yes"
PHYSPAGES="0:512M"
SWAPPAGES="0:1G"
DISKSPACE="2G:2G"
DISKINODES="200000:220000"
CPUUNITS="1000"
CPULIMIT="50"
CPUMASK="0-1"
NUMPROC="400:400"
IOLIMIT="10485760"
IOPSLIMIT="500"
VE_ROOT="/var/lib/vz/root/$VEID"
VE_PRIVATE="/var/lib/vz/private/$VEID"
OSTEMPLATE="debian-13-amd64"
IP_ADDRESS="10.0.0.5 fd00::5"
HOSTNAME="server.example.org"
NAMESERVER="inherit"
)";

CgroupHost cgroup_host(bool v2) {
  CgroupHost host;
  for (Controller c : {Controller::memory, Controller::cpu, Controller::cpuset, Controller::io, Controller::pids})
    host.controllers.push_back({c, v2, "/sys/fs/cgroup"});
  if (v2) host.unified = "/sys/fs/cgroup";
  host.swap_accounting = true;
  return host;
}

LimitFacts facts_of(const CgroupHost& host) {
  LimitFacts facts;
  facts.cgroups = &host;
  facts.host_ram = 8ull << 30;
  facts.host_swap = 4ull << 30;
  facts.host_cpus = 4;
  facts.host_cpu_list = "0-3";
  facts.host_node_list = "0";
  facts.io_device = "254:0";
  return facts;
}

// A host in a directory of its own, removed at the end.
class TemporaryHost {
 public:
  TemporaryHost() {
    char name[] = "/tmp/vz-bench-XXXXXX";
    if (!::mkdtemp(name)) std::abort();
    root_ = name;
    HostPaths paths{root_ + "/etc", root_ + "/run", root_ + "/lib"};
    if (!make_dirs(paths.etc + "/conf", 0755) || !make_dirs(paths.run, 0755)) std::abort();
    if (!replace_file(paths.etc + "/vz.conf", "CONFIGFILE=\"basic\"\n", 0644)) std::abort();
    if (!replace_file(paths.etc + "/conf/101.conf", kSettings, 0644)) std::abort();
    host_.emplace(*Host::open(paths));
  }
  ~TemporaryHost() { (void)remove_tree(root_); }
  const Host& operator*() const { return *host_; }
  const Host* operator->() const { return &*host_; }

 private:
  std::string root_;
  std::optional<Host> host_;
};

void config_parse(benchmark::State& loop) {
  std::string text = kSettings;
  for (int i = 0; i < loop.range(0); ++i) text += fmt::format("UNKNOWN_KEY_{}=\"value\"\n", i);
  for (auto _ : loop) benchmark::DoNotOptimize(Config::parse(text, "bench"));
  loop.SetBytesProcessed(static_cast<std::int64_t>(loop.iterations() * text.size()));
}
BENCHMARK(config_parse)->Arg(0)->Arg(10000);

void config_get(benchmark::State& loop) {
  Config config = Config::parse(kSettings, "bench");
  for (auto _ : loop) benchmark::DoNotOptimize(config.limit("PHYSPAGES"));
}
BENCHMARK(config_get);

void host_open(benchmark::State& loop) {
  TemporaryHost host;
  for (auto _ : loop) benchmark::DoNotOptimize(Host::open(host->paths()));
}
BENCHMARK(host_open);

void host_load(benchmark::State& loop) {
  TemporaryHost host;
  for (auto _ : loop) benchmark::DoNotOptimize(host->load(Ctid(101)));
}
BENCHMARK(host_load);

State server_state() {
  State state;
  state.id = Ctid(101);
  state.phase = "running";
  state.init = {12345, 678901};
  state.idmap = {1 << 20, 65536};
  state.layout = "image";
  state.root_device = "/dev/loop0";
  state.veth = "vz101";
  state.addresses = {"10.0.0.5", "fd00::5"};
  state.boot_id = "0f6b8bd5-3c1e-4a0c-9f5e-cb2e2a5f4a33";
  state.config_snapshot = kSettings;
  return state;
}

void state_load(benchmark::State& loop) {
  TemporaryHost host;
  if (!save_state(*host, server_state())) std::abort();
  for (auto _ : loop) benchmark::DoNotOptimize(load_state(*host, Ctid(101)));
}
BENCHMARK(state_load);

void state_save(benchmark::State& loop) {
  TemporaryHost host;
  State state = server_state();
  for (auto _ : loop) benchmark::DoNotOptimize(save_state(*host, state));
}
BENCHMARK(state_save);

void limits_plan(benchmark::State& loop) {
  CgroupHost host = cgroup_host(loop.range(0) == 2);
  LimitFacts facts = facts_of(host);
  Config config = Config::parse(kSettings, "bench");
  for (auto _ : loop) benchmark::DoNotOptimize(plan_limits(config, facts));
}
BENCHMARK(limits_plan)->Arg(1)->Arg(2)->ArgName("cgroup");

void limits_change(benchmark::State& loop) {
  CgroupHost host = cgroup_host(true);
  LimitFacts facts = facts_of(host);
  Config from = Config::parse(kSettings, "bench"), to = from;
  to.set("PHYSPAGES", "0:256M");
  for (auto _ : loop) benchmark::DoNotOptimize(plan_limit_change(from, to, facts));
}
BENCHMARK(limits_change);

void address_parse(benchmark::State& loop) {
  const std::string text = loop.range(0) == 6 ? "2001:db8:1:2:3:4:5:6/64" : "192.168.100.200/24";
  for (auto _ : loop) benchmark::DoNotOptimize(IpAddress::parse(text));
}
BENCHMARK(address_parse)->Arg(4)->Arg(6)->ArgName("IPv");

void seccomp_compile(benchmark::State& loop) {
  for (auto _ : loop) benchmark::DoNotOptimize(compile_seccomp(loop.range(0) != 0));
}
BENCHMARK(seccomp_compile)->Arg(0)->Arg(1)->ArgName("nesting")->Unit(benchmark::kMicrosecond);

void source_filter_build(benchmark::State& loop) {
  SourceFilter filter;
  for (int i = 0; i < loop.range(0); ++i)
    filter.addresses.push_back(*IpAddress::parse(fmt::format("10.1.{}.{}", i >> 8, i & 255)));
  for (auto _ : loop) benchmark::DoNotOptimize(build_source_filter(filter));
}
BENCHMARK(source_filter_build)->Arg(1)->Arg(1024)->ArgName("addresses");

}  // namespace
}  // namespace vz
