// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/precheck.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/checkpoint.h"

namespace vz {

namespace {

using Effect = Obstacle::Effect;

struct Kind {
  std::string_view in_target;
  Effect effect;
  const char* object;
  const char* remedy;
};
constexpr Kind kFiles[] = {
    {"[io_uring]", Effect::blocks, "io_uring", "switch io_uring off in the program; `--features nesting:on` allows it"},
    {"anon_inode:bpf", Effect::blocks, "a BPF map, program or link", "end the program"},
    {"anon_inode:btf", Effect::blocks, "BPF type information", "end the program"},
    {"[perf_event]", Effect::blocks, "performance counters", "end perf or the profiler"},
    {"[userfaultfd]", Effect::blocks, "userfaultfd", "end the program"},
    {"seccomp notify", Effect::blocks, "a seccomp listener", "end the supervisor"},
    {"[landlock-ruleset]", Effect::blocks, "a Landlock rule set", "wait until the program has entered its sandbox"},
    {"secretmem", Effect::blocks, "secret memory", "end the program"},
    {"/dev/fuse", Effect::blocks, "a FUSE file system that it serves", "unmount it inside"},
    {".pressure", Effect::changes, "a pressure trigger (PSI)",
     "set MemoryPressureWatch=off or MEMORY_PRESSURE_WATCH=/dev/null for it"},
};

struct Protocol {
  std::string_view name;
  const char* remedy;
};
constexpr Protocol kProtocols[] = {{"MPTCP", "sysctl net.mptcp.enabled=0 inside, then restart the program"},
                                   {"MPTCPv6", "sysctl net.mptcp.enabled=0 inside, then restart the program"},
                                   {"SCTP", "end the program"},
                                   {"SCTPv6", "end the program"},
                                   {"AF_VSOCK", "end the program"},
                                   {"ALG", "end the program"},
                                   {"TIPC", "end the program"},
                                   {"SMC", "end the program"},
                                   {"XDP", "end the program"},
                                   {"PPPOE", "end the program"},
                                   {"L2TP", "end the program"},
                                   {"CAN", "end the program"}};

constexpr std::string_view kDiskTypes[] = {"ext4", "xfs", "btrfs", "ext3", "ext2", "f2fs", "zfs", "bcachefs", "vfat"};
constexpr std::string_view kRemoteTypes[] = {"nfs",  "cifs",     "smb3",      "9p",     "ceph",
                                             "fuse", "virtiofs", "glusterfs", "overlay"};

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (!std::isprint(static_cast<unsigned char>(c))) c = '?';
  return out;
}

Obstacle of_task(const TaskFacts& task, Effect effect, std::string object, std::string remedy) {
  return {effect, task.inside, task.pid, printable(task.name), std::move(object), std::move(remedy)};
}
Obstacle of_container(Effect effect, std::string object, std::string remedy) {
  return {effect, 0, 0, "", std::move(object), std::move(remedy)};
}

// A timer that fires again and again, and has fired without being read: CRIU saves it as one that is off.
bool lost_timer(const OpenFile& file) {
  if (file.target.find("[timerfd]") == file.target.npos) return false;
  bool off = false, periodic = false;
  for (const auto& line : split(file.info, '\n')) {
    if (line.rfind("it_value:", 0) == 0) off = line.find("(0, 0)") != line.npos;
    if (line.rfind("it_interval:", 0) == 0) periodic = line.find("(0, 0)") == line.npos;
  }
  return off && periodic;
}

// What is no file of a file system that somebody has mounted.
bool kernel_internal(const OpenFile& file) {
  for (const char* prefix : {"/memfd:", "/dev/zero (deleted)", "/SYSV", "/[aio]", "/anon_hugepage", "/dmabuf:"})
    if (file.target.rfind(prefix, 0) == 0) return true;
  return file.message_queue;
}

bool foreign_mount(const OpenFile& file, const std::set<std::uint64_t>& own) {
  if (file.target.empty() || file.target[0] != '/' || kernel_internal(file)) return false;
  for (const auto& line : split(file.info, '\n')) {
    if (line.rfind("mnt_id:", 0) != 0) continue;
    auto id = parse_u64(trim(std::string_view(line).substr(7)));
    return id && !own.contains(*id);
  }
  return false;
}

void judge_files(const TaskFacts& task, const PrecheckFacts& facts, std::vector<Obstacle>& out) {
  for (const auto& file : task.files) {
    for (const auto& kind : kFiles)
      if (file.target.find(kind.in_target) != file.target.npos)
        out.push_back(of_task(task, kind.effect, fmt::format("{} (descriptor {})", kind.object, file.fd), kind.remedy));
    if (file.message_queue)
      out.push_back(of_task(task, Effect::blocks, "POSIX message queue " + printable(file.target), "end the program"));
    if (lost_timer(file))
      out.push_back(of_task(task, Effect::changes,
                            fmt::format("a periodic timer that has fired unread (descriptor {})", file.fd),
                            "try again: it is only so for a moment"));
    if (foreign_mount(file, facts.mount_ids))
      out.push_back(of_task(task, Effect::blocks,
                            fmt::format("{} of the host (descriptor {})", printable(file.target), file.fd),
                            "end it: it was started from outside, by vzctl exec, with files of the host"));
  }
}

void judge_namespaces(const TaskFacts& task, const TaskFacts& init, std::vector<Obstacle>& out) {
  for (const auto& [name, value] : task.namespaces) {
    auto own = init.namespaces.find(name);
    if (own == init.namespaces.end() || own->second == value) continue;
    if (name == "pid_for_children" && task.namespaces.at("pid") != init.namespaces.at("pid")) continue;
    out.push_back(of_task(task, Effect::blocks, "a " + name + " namespace of its own",
                          "end it, or its sandbox: ProtectHostname=, PrivateUsers=, PrivatePIDs= of a service; docker, "
                          "bubblewrap and the like cannot be saved"));
  }
}

void judge_task(const TaskFacts& task, const PrecheckFacts& facts, const std::set<pid_t>& known,
                std::vector<Obstacle>& out) {
  const TaskFacts& init = facts.tasks.front();
  if (task.tracer != 0) out.push_back(of_task(task, Effect::blocks, "a debugger or strace at it", "end the debugger"));
  if (task.pid != init.pid && !known.contains(task.parent))
    out.push_back(of_task(task, Effect::blocks, "a parent outside of the container", "end `vzctl exec` or `enter`"));
  if (task.state == 'Z') return;
  judge_namespaces(task, init, out);
  judge_files(task, facts, out);
}

void judge_mounts(const PrecheckFacts& facts, std::vector<Obstacle>& out) {
  std::string root_device;
  for (const auto& mount : facts.mounts)
    if (mount.point == "/") root_device = mount.device;
  auto is_of = [&](std::string_view type, const auto& types) {
    return std::any_of(std::begin(types), std::end(types),
                       [&](std::string_view t) { return type == t || type.rfind(std::string(t) + ".", 0) == 0; });
  };
  for (const auto& mount : facts.mounts) {
    if (facts.external.contains(mount.point)) continue;
    std::string what = fmt::format("{} on {}", mount.type, printable(mount.point));
    if (is_of(mount.type, kRemoteTypes)) out.push_back(of_container(Effect::blocks, what, "unmount it inside"));
    if (is_of(mount.type, kDiskTypes) && mount.device != root_device)
      out.push_back(of_container(Effect::blocks, what + ", a file system of the host",
                                 "a mount script has put it there; unmount it inside"));
  }
}

}  // namespace

std::vector<Obstacle> judge(const PrecheckFacts& facts) {
  std::vector<Obstacle> out;
  if (facts.tasks.empty()) return out;
  std::set<pid_t> known;
  for (const auto& task : facts.tasks) known.insert(task.pid);
  judge_mounts(facts, out);
  for (const auto& protocol : kProtocols)
    if (std::find(facts.protocols.begin(), facts.protocols.end(), protocol.name) != facts.protocols.end())
      out.push_back(of_container(Effect::blocks, fmt::format("{} sockets", protocol.name), protocol.remedy));
  for (const auto& queue : facts.message_queues)
    out.push_back(of_container(Effect::blocks, "messages in POSIX queue /" + printable(queue), "let them be read"));
  for (const auto& [task, point] : facts.sockets)
    out.push_back(
        of_task(task, Effect::blocks, "a socket mounted on " + printable(point),
                "CRIU cannot make it again: an empty BindPaths= or BindReadOnlyPaths= in a drop-in of the service"));
  for (const auto& task : facts.tasks) judge_task(task, facts, known, out);
  return out;
}

std::string describe(const Obstacle& o) {
  std::string who = o.pid ? fmt::format("process {} ({}): ", o.pid, o.command) : std::string();
  return who + o.object;
}

Result<> refuse_obstacles(const std::vector<Obstacle>& obstacles) {
  if (obstacles.empty()) return {};
  std::vector<std::string> lines;
  for (const auto& o : obstacles) lines.push_back(describe(o));
  const bool blocked =
      std::any_of(obstacles.begin(), obstacles.end(), [](const Obstacle& o) { return o.effect == Effect::blocks; });
  return fail(
      Error(Code::checkpoint, fmt::format("{}: {}", blocked ? "cannot be saved" : "would be lost", join(lines, "; ")))
          .with_hint("`vzctl check CTID` says what to do; --force tries all the same"));
}

namespace {

Result<PrecheckFacts> read_facts(const Host& host, const Running& running, const Access& access) {
  PrecheckFacts facts;
  const pid_t init = running.state.init.pid;
  auto pids = VZ_TRY(running.cgroups.pids());
  // init first
  std::stable_partition(pids.begin(), pids.end(), [&](pid_t pid) { return pid == init; });
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  std::set<std::string> seen;
  for (pid_t pid : pids) {
    auto task = read_task_facts(pid);
    if (!task) continue;
    facts.tasks.push_back(std::move(*task));
    auto mounts = read_mounts(pid);
    if (!mounts) continue;
    for (const auto& mount : *mounts)
      if (facts.mount_ids.insert(mount.id).second && is_mounted_socket(pid, mount))
        facts.sockets.emplace_back(facts.tasks.back(), mount.point);
    if (pid == init) facts.mounts = std::move(*mounts);
  }
  for (const auto& external : VZ_TRY(external_mounts(host, running.state.id, init, access)))
    facts.external.insert(external.substr(4, external.rfind("]:") - 4));
  facts.protocols = protocols_in_use(init).value_or(std::vector<std::string>());
  facts.message_queues = waiting_message_queues(init);
  return facts;
}

}  // namespace

Result<std::vector<Obstacle>> find_obstacles(const Host& host, Ctid id) {
  auto running = VZ_TRY(open_running(host, id));
  auto config = VZ_TRY(host.load(id));
  auto access = VZ_TRY(plan_access(config));
  return judge(VZ_TRY(read_facts(host, running, access)));
}

}  // namespace vz
