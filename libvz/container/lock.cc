// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/lock.h"

#include <algorithm>
#include <utility>

#include <unistd.h>

#include "libvz/base/text.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/filelock.h"

namespace vz {

namespace {

// What /proc tells about the holder; the file's first line is its pid.
std::string describe_holder(const std::string& path) {
  auto text = read_file(path, 4096);
  auto lines = split(text.value_or(""), '\n');
  if (lines.empty() || !parse_u64(lines[0])) return "Locked by another process";
  auto cmdline = read_file("/proc/" + lines[0] + "/cmdline", 1 << 20).value_or("");
  while (cmdline.ends_with('\0')) cmdline.pop_back();
  std::replace(cmdline.begin(), cmdline.end(), '\0', ' ');
  return "Locked by: pid " + lines[0] + ", cmdline " + printable(cmdline);
}

}  // namespace

Result<CtLock> CtLock::take(const Host& host, Ctid id, const std::string& status) {
  VZ_TRY_CTX(make_dirs(host.lock_dir(), 0755), "Unable to lock container");
  CtLock lock;
  lock.path_ = host.lock_dir() + "/" + id.str() + ".lck";
  auto fd = VZ_TRY_CTX(try_lock_file(lock.path_, 0644), "Unable to lock container");
  if (!fd) return fail(Error(Code::locked, "Container already locked").with_hint(describe_holder(lock.path_)));
  VZ_TRY_CTX(rewrite_file(*fd, std::to_string(::getpid()) + "\n" + status + "\n"), "Unable to lock container");
  lock.fd_ = fd->release();
  return lock;
}

CtLock::CtLock(CtLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

CtLock& CtLock::operator=(CtLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

CtLock::~CtLock() {
  if (fd_ >= 0) unlink_locked(path_, UniqueFd(fd_));
}

}  // namespace vz
