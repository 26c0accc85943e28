// SPDX-License-Identifier: LGPL-2.1-or-later
// What /proc tells of one process, as far as a checkpoint depends on it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/kernel/mount_table.h"

namespace vz {

struct OpenFile {
  int fd = -1;
  std::string target;          // as the link says: "anon_inode:[io_uring]", "/tmp/x (deleted)"
  std::string info;            // fdinfo; only of timers and of files with a path
  bool message_queue = false;  // POSIX
};

struct TaskFacts {
  pid_t pid = 0;     // as the host counts
  pid_t inside = 0;  // in its innermost pid namespace
  pid_t parent = 0;
  pid_t tracer = 0;
  char state = 0;
  std::string name;
  std::map<std::string, std::string> namespaces;  // "uts" -> "uts:[4026531838]"
  std::vector<OpenFile> files;
};
// `root` is put before /proc for tests. A process that ends meanwhile: Code::not_running.
Result<TaskFacts> read_task_facts(pid_t pid, const std::string& root = "");

// Protocols of its network namespace that have sockets, by the kernel's names: "TCP", "MPTCP".
Result<std::vector<std::string>> protocols_in_use(pid_t pid, const std::string& root = "");
// The root of its POSIX message queues belongs to the root of its user namespace, as in a container that was started:
// CRIU makes the IPC namespace before it is that root. Missing is fine.
Result<> own_message_queues(pid_t pid, uid_t root);
// A socket of a file system in memory is mounted there, in the mount namespace of `pid` (BindReadOnlyPaths=/dev/log).
bool is_mounted_socket(pid_t pid, const MountEntry& mount);
// Names of POSIX message queues of its IPC namespace that hold messages. The path to them is the container's.
std::vector<std::string> waiting_message_queues(pid_t pid);

}  // namespace vz
