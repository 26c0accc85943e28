// SPDX-License-Identifier: LGPL-2.1-or-later
// System calls that a seccomp filter hands to us (seccomp_unotify(2)), and the process that waits for the answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

struct SeccompCall {
  std::uint64_t id = 0;  // of this call; valid as long as the caller waits for it
  pid_t thread = 0;      // 0: in no pid namespace of ours
  bool native = false;   // of this machine's own ABI, not of its 32-bit ones
  int number = 0;
  std::uint64_t args[6] = {};
};

// A filter's listener. The call that was taken from it last lies in a file until it is answered, put there by the
// kernel: whoever takes the listener over after us, answers it.
class SeccompListener {
 public:
  // `pending` is made when missing, and kept.
  static Result<SeccompListener> open(UniqueFd listener, const std::string& pending);
  SeccompListener(SeccompListener&& other) noexcept;
  SeccompListener& operator=(SeccompListener&&) = delete;
  ~SeccompListener();

  int fd() const { return fd_.get(); }
  // The call left unanswered, or the next one. Blocks when there is none: poll before. nullopt: its caller is gone.
  Result<std::optional<SeccompCall>> next();
  bool has_unanswered() const;
  // Does the caller still wait? What was read of it before is of it then, and of no other process with its number.
  bool waits(std::uint64_t id) const;
  // `error`: 0 for a success, which returns 0, or an errno.
  void answer(std::uint64_t id, int error);
  // Also while another thread uses it: for a child process of ours.
  void close() { fd_.reset(); }

 private:
  SeccompListener(UniqueFd fd, void* page) : fd_(std::move(fd)), page_(page) {}
  UniqueFd fd_;
  void* page_ = nullptr;
};

bool is_seccomp_listener(int fd);

// The thread that waits. Everything is opened once and stays the same process's; ask waits() after open().
class CallingThread {
 public:
  static Result<CallingThread> open(pid_t thread);
  const std::string& status() const { return status_; }             // /proc/PID/status
  std::uint64_t user_namespace() const { return user_namespace_; }  // inode number
  // Its memory: 0 or errno (EFAULT).
  int read(std::uint64_t address, void* data, std::size_t size) const;
  int write(std::uint64_t address, const void* data, std::size_t size) const;
  // A path of at most PATH_MAX bytes; ENAMETOOLONG.
  int read_path(std::uint64_t address, std::string* out) const;
  // The device number of the file system that its descriptor is on. Never asks a FUSE server. 0 or errno (EBADF).
  int device_of(int descriptor, dev_t* out) const;

 private:
  UniqueFd directory_, memory_;
  std::string status_;
  std::uint64_t user_namespace_ = 0;
};

// Inode number of a process's user namespace.
Result<std::uint64_t> user_namespace_of(pid_t pid);
Result<dev_t> device_of(int fd);        // of the file system that it is on
Result<dev_t> block_device_of(int fd);  // that it is

}  // namespace vz
