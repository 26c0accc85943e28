// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/task_facts.h"

#include <charconv>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/tree.h"

namespace vz {

namespace {

constexpr long kMqueueMagic = 0x19800202;
constexpr const char* kNamespaces[] = {"user", "pid", "uts", "ipc", "cgroup", "time", "pid_for_children"};

// The last number of "NSpid:\t812\t3" is the innermost.
pid_t last_number(std::string_view text) {
  auto words = split_blank(text);
  return words.empty() ? 0 : static_cast<pid_t>(parse_u64(words.back()).value_or(0));
}

void read_status(std::string_view status, TaskFacts& out) {
  for (const auto& line : split(status, '\n')) {
    auto colon = line.find(':');
    if (colon == line.npos) continue;
    std::string_view key = std::string_view(line).substr(0, colon),
                     value = trim(std::string_view(line).substr(colon + 1));
    if (key == "Name") out.name = value;
    if (key == "State" && !value.empty()) out.state = value[0];
    if (key == "PPid") out.parent = last_number(value);
    if (key == "TracerPid") out.tracer = last_number(value);
    if (key == "NSpid") out.inside = last_number(value);
  }
}

bool is_message_queue(const std::string& link, const std::string& target) {
  // Two queues cannot be told from a file in the root by their names alone.
  if (target.size() < 2 || target[0] != '/' || target.find('/', 1) != target.npos) return false;
  struct statfs fs {};
  return ::statfs(link.c_str(), &fs) == 0 && fs.f_type == kMqueueMagic;
}

void read_files(const std::string& proc, TaskFacts& out) {
  auto names = list_dir(proc + "/fd");
  if (!names) return;
  for (const auto& name : *names) {
    const std::string link = proc + "/fd/" + name;
    auto target = read_link(link);
    if (!target) continue;
    OpenFile file;
    (void)std::from_chars(name.data(), name.data() + name.size(), file.fd);
    file.target = *target;
    if (target->find("[timerfd]") != target->npos || (*target)[0] == '/')
      file.info = read_file(proc + "/fdinfo/" + name, 64u << 10).value_or("");
    file.message_queue = is_message_queue(link, *target);
    out.files.push_back(std::move(file));
  }
}

Result<Tree> tree_of(pid_t pid) {
  return Tree(VZ_TRY(open_file(fmt::format("/proc/{}/root", pid), O_PATH | O_DIRECTORY)));
}

// Invalid when there is none: the container may have put anything there.
UniqueFd open_mqueue(pid_t pid) {
  auto tree = tree_of(pid);
  if (!tree) return {};
  auto dir = tree->open("/dev/mqueue", O_RDONLY | O_DIRECTORY);
  struct statfs fs {};
  if (!dir || ::fstatfs(dir->get(), &fs) != 0 || fs.f_type != kMqueueMagic) return {};
  return std::move(*dir);
}

}  // namespace

bool is_mounted_socket(pid_t pid, const MountEntry& mount) {
  if (mount.type != "tmpfs" || mount.root == "/") return false;
  auto tree = tree_of(pid);
  auto file = tree ? tree->open(mount.point, O_PATH | O_NOFOLLOW) : Result<UniqueFd>(fail(std::move(tree).error()));
  struct stat st {};
  return file && ::fstat(file->get(), &st) == 0 && S_ISSOCK(st.st_mode);
}

Result<> own_message_queues(pid_t pid, uid_t root) {
  UniqueFd dir = open_mqueue(pid);
  if (!dir) return {};
  if (::fchown(dir.get(), root, root) != 0) return fail_errno("chown /dev/mqueue");
  return {};
}

Result<TaskFacts> read_task_facts(pid_t pid, const std::string& root) {
  const std::string proc = fmt::format("{}/proc/{}", root, pid);
  TaskFacts out;
  out.pid = pid;
  auto status = read_file(proc + "/status", 64u << 10);
  if (!status) return fail(std::move(status).error().with_code(Code::not_running));
  read_status(*status, out);
  for (const char* name : kNamespaces)
    if (auto link = read_link(proc + "/ns/" + name)) out.namespaces[name] = *link;
  read_files(proc, out);
  return out;
}

Result<std::vector<std::string>> protocols_in_use(pid_t pid, const std::string& root) {
  auto text = VZ_TRY(read_file(fmt::format("{}/proc/{}/net/protocols", root, pid)));
  std::vector<std::string> out;
  for (const auto& line : split(text, '\n')) {
    auto words = split_blank(line);
    // protocol, size, sockets; the heading has no number there
    if (words.size() > 2 && parse_u64(words[2]).value_or(0) > 0) out.push_back(words[0]);
  }
  return out;
}

std::vector<std::string> waiting_message_queues(pid_t pid) {
  std::vector<std::string> out;
  UniqueFd dir = open_mqueue(pid);
  if (!dir) return out;
  auto names = list_dir_at(dir.get(), ".");
  if (!names) return out;
  for (const auto& name : *names) {
    auto text = read_file_at(dir.get(), name, 4096);
    // "QSIZE:129 NOTIFY:…"
    if (text && text->rfind("QSIZE:", 0) == 0 && text->rfind("QSIZE:0", 0) != 0) out.push_back(name);
  }
  return out;
}

}  // namespace vz
