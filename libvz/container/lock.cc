// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/lock.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include <csignal>

#include <unistd.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/filelock.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/signal.h"

namespace vz {

namespace {

std::vector<std::string> lines_of(const std::string& path) { return split(read_file(path, 4096).value_or(""), '\n'); }

std::string command_line_of(const std::string& pid) {
  return read_file("/proc/" + pid + "/cmdline", 1 << 20).value_or("");
}

// What /proc tells about the holder; the file's first line is its pid.
std::string describe_holder(const std::string& path) {
  auto lines = lines_of(path);
  if (lines.empty() || !parse_u64(lines[0])) return "Locked by another process";
  auto cmdline = command_line_of(lines[0]);
  while (cmdline.ends_with('\0')) cmdline.pop_back();
  std::replace(cmdline.begin(), cmdline.end(), '\0', ' ');
  return "Locked by: pid " + lines[0] + ", cmdline " + printable(cmdline);
}

// vzd's, or another vzctl's, after a container that ended by itself. It takes a moment, and whoever comes meanwhile
// wants what is there afterwards.
constexpr const char* kRepairing = "repairing";
constexpr auto kRepairWait = std::chrono::seconds(10), kPlacingWait = std::chrono::seconds(60);
constexpr auto kLookAgain = std::chrono::milliseconds(10);

// What its holder does takes no longer. Also while the holder has not written yet, or has just gone.
std::chrono::milliseconds worth_waiting(const std::string& path) {
  auto lines = lines_of(path);
  if (lines.size() > 1 && lines[1] == kPlacing) return kPlacingWait;
  return lines.size() < 2 || lines[1] == kRepairing ? kRepairWait : std::chrono::seconds(0);
}

std::string lock_path(const Host& host, Ctid id) { return host.lock_dir() + "/" + id.str() + ".lck"; }

Error already_locked(const std::string& path) {
  return Error(Code::locked, "Container already locked").with_hint(describe_holder(path));
}

// Empty when the lock is held, and not only for what ends soon.
Result<std::optional<UniqueFd>> lock_after_others(const std::string& path, const std::string& status,
                                                  std::chrono::milliseconds patience) {
  const auto began = std::chrono::steady_clock::now();
  for (;;) {
    auto fd = VZ_TRY(try_lock_file(path, 0644));
    if (fd || status == kRepairing) return fd;
    if (std::chrono::steady_clock::now() - began > std::max(patience, worth_waiting(path))) return fd;
    std::this_thread::sleep_for(kLookAgain);
  }
}

std::string lock_text(const std::string& status) { return std::to_string(::getpid()) + "\n" + status + "\n"; }

}  // namespace

Result<CtLock> CtLock::take(const Host& host, Ctid id, const std::string& status, std::chrono::milliseconds patience) {
  VZ_TRY_CTX(make_dirs(host.lock_dir(), 0755), "Unable to lock container");
  CtLock lock;
  lock.path_ = lock_path(host, id);
  auto fd = VZ_TRY_CTX(lock_after_others(lock.path_, status, patience), "Unable to lock container");
  if (!fd) return fail(already_locked(lock.path_));
  VZ_TRY_CTX(rewrite_file(*fd, lock_text(status)), "Unable to lock container");
  lock.fd_ = *std::move(fd);
  return lock;
}

void CtLock::set_status(const std::string& status) const { (void)rewrite_file(fd_, lock_text(status)); }

CtLock::CtLock(CtLock&&) noexcept = default;

CtLock& CtLock::operator=(CtLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

CtLock::~CtLock() {
  if (fd_) unlink_locked(path_, std::move(fd_));
}

Result<> end_lock_holder(const Host& host, Ctid id, const std::string& command) {
  constexpr auto kPatience = std::chrono::seconds(10);
  const auto path = lock_path(host, id);
  const auto lines = lines_of(path);
  if (lines.empty()) return {};
  const auto pid = parse_u64(lines[0]);
  if (!pid) return {};
  auto identity = identify(static_cast<pid_t>(*pid));
  if (!identity) return {};
  auto process = open_process(*identity);
  if (!process) return {};
  const auto words = split(command_line_of(lines[0]), '\0');
  const bool expected = words.size() > 1 && (words[0] == "vzctl" || words[0].ends_with("/vzctl")) &&
                        std::find(words.begin() + 1, words.end(), command) != words.end();
  if (!expected) return fail(already_locked(path));
  VZ_TRY(send_signal(*process, SIGTERM));
  return wait_exit(*process, kPatience);
}

}  // namespace vz
