// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/process_usage.h"

#include <algorithm>
#include <cctype>
#include <set>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount_table.h"

namespace vz {

namespace {

std::string proc_path(pid_t pid, const char* file) { return "/proc/" + std::to_string(pid) + "/" + file; }

std::uint64_t open_files(pid_t pid) {
  auto path = proc_path(pid, "fd");
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return 0;
  if (st.st_size > 0) return static_cast<std::uint64_t>(st.st_size);  // Linux 6.2 and later
  auto names = list_dir(path);
  return names ? names->size() : 0;
}

std::uint64_t leading_number(std::string_view text) {
  auto end = std::find_if(text.begin(), text.end(), [](unsigned char c) { return !std::isdigit(c); });
  return parse_u64(text.substr(0, static_cast<std::size_t>(end - text.begin()))).value_or(0);
}

// Never a request to a file system that the container serves: what the kernel has not cached is not looked up.
UniqueFd open_cached(const UniqueFd& root, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_CACHED;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
}

// Lets the kernel read what it needs to walk through the root directory (an access list), where that is on a block
// device and so not served by anybody inside.
void cache_root(const UniqueFd& root) {
  struct statx sx;
  if (::statx(root.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &sx) == 0 && sx.stx_dev_major != 0)
    (void)::faccessat(root.get(), "./.", X_OK, AT_EACCESS);
}

// The number of the mount that is found there: another one may cover it.
std::optional<std::uint64_t> mount_id(const UniqueFd& fd) {
  struct statx sx;
  if (::statx(fd.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &sx) != 0) return std::nullopt;
  return sx.stx_mask & STATX_MNT_ID ? std::optional<std::uint64_t>(sx.stx_mnt_id) : std::nullopt;
}

std::uint64_t numbers_in(const UniqueFd& dir) {
  auto names = list_dir_at(dir.get(), ".");
  if (!names) return 0;
  return static_cast<std::uint64_t>(
      std::count_if(names->begin(), names->end(), [](const auto& n) { return parse_u64(n).has_value(); }));
}

}  // namespace

std::uint64_t sum_open_files(std::span<const pid_t> pids) {
  std::uint64_t sum = 0;
  for (pid_t pid : pids) sum += open_files(pid);
  return sum;
}

ProcessStatus parse_process_status(std::string_view text) {
  ProcessStatus out;
  out.name = line_value(text, "Name:");
  out.uid = static_cast<std::uint32_t>(leading_number(line_value(text, "Uid:")));
  out.private_kib = leading_number(line_value(text, "VmData:"));
  out.anonymous_kib = leading_number(line_value(text, "RssAnon:")) + leading_number(line_value(text, "VmSwap:"));
  out.signals = leading_number(line_value(text, "SigQ:"));  // "3/15000"
  auto pids = split_blank(line_value(text, "NSpid:"));
  if (!pids.empty()) out.innermost_pid = static_cast<pid_t>(parse_u64(pids.back()).value_or(0));
  return out;
}

Result<ProcessStatus> read_process_status(pid_t pid) {
  return parse_process_status(VZ_TRY(read_file(proc_path(pid, "status"))));
}

pid_t innermost_pid(pid_t task) {
  auto status = read_process_status(task);
  return status ? status->innermost_pid : 0;
}

StatusSums sum_status(std::span<const pid_t> pids) {
  StatusSums out;
  std::map<std::uint32_t, std::uint64_t> signals;  // the kernel counts them by user
  for (pid_t pid : pids) {
    auto status = read_process_status(pid);
    if (!status) continue;
    out.private_bytes += status->private_kib * 1024;
    auto& most = signals[status->uid];
    most = std::max(most, status->signals);
  }
  for (const auto& [uid, count] : signals) out.signals += count;
  return out;
}

// "12: POSIX  ADVISORY  WRITE 1234 fe:00:5678 0 EOF", "12: -> FLOCK …" for one that waits.
std::map<pid_t, std::uint64_t> parse_locks(std::string_view text) {
  std::map<pid_t, std::uint64_t> out;
  for (const auto& line : split(text, '\n')) {
    auto words = split_blank(line);
    const std::size_t at = words.size() > 1 && words[1] == "->" ? 5 : 4;
    auto pid = words.size() > at ? parse_u64(words[at]) : fail(Code::bad_value, "short");
    if (pid && *pid != 0) ++out[static_cast<pid_t>(*pid)];
  }
  return out;
}

std::map<pid_t, std::uint64_t> file_locks_by_process() {
  auto text = read_file("/proc/locks", 256u << 20);
  return parse_locks(text.value_or(""));
}

std::optional<std::uint64_t> count_ptys(pid_t pid) {
  auto mounts = read_file(proc_path(pid, "mountinfo"));
  auto root = open_file(proc_path(pid, "root"), O_PATH | O_DIRECTORY);
  if (!mounts || !root) return std::nullopt;
  cache_root(*root);
  std::uint64_t sum = 0;
  std::set<std::string> seen;  // devices: one instance may be mounted twice
  for (const auto& mount : parse_mounts(*mounts)) {
    // A file of an instance (ptmx, a console) may be mounted elsewhere: only its root holds all of them.
    if (mount.type != "devpts" || mount.root != "/" || !seen.insert(mount.device).second) continue;
    UniqueFd fd = open_cached(*root, mount.point);
    if (!fd || mount_id(fd) != mount.id) return std::nullopt;
    sum += numbers_in(fd);
  }
  return sum;
}

}  // namespace vz
