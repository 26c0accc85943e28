// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/project_tree.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libvz/base/fd.h"
#include "libvz/kernel/project.h"

namespace vz {

namespace {

// What names a directory without a path and without holding it open: trees may be deeper than PATH_MAX and our
// descriptors, and wider than memory for names.
struct DirHandle {
  bool top = false;  // the tree itself, whose own id comes last
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> bytes = {};
  file_handle* get() { return reinterpret_cast<file_handle*>(bytes.data()); }
};

// Where the threads get their directories. Last in, first out: a wide tree is not all in memory at once.
class WorkList {
 public:
  void add(const DirHandle& dir) {
    std::lock_guard guard(mutex_);
    ++unfinished_;
    dirs_.push_back(dir);
    changed_.notify_one();
  }
  // nullopt: all is done, or somebody failed.
  std::optional<DirHandle> take() {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [&] { return !dirs_.empty() || unfinished_ == 0 || error_; });
    if (error_ || dirs_.empty()) return std::nullopt;
    DirHandle dir = dirs_.back();
    dirs_.pop_back();
    return dir;
  }
  void finished() {
    std::lock_guard guard(mutex_);
    if (--unfinished_ == 0) changed_.notify_all();
  }
  void stop(Error error) {
    std::lock_guard guard(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }
  // True when there is nothing left to wait for.
  bool wait(std::chrono::milliseconds time) {
    std::unique_lock guard(mutex_);
    return changed_.wait_for(guard, time, [&] { return unfinished_ == 0 || error_; });
  }
  std::optional<Error> error() {
    std::lock_guard guard(mutex_);
    return error_;
  }

 private:
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<DirHandle> dirs_;
  std::size_t unfinished_ = 0;  // in dirs_, or in some thread's hands
  std::optional<Error> error_;
};

struct Pass {
  const ProjectPass& spec;
  WorkList work;
  std::atomic<std::uint64_t> inodes{0};
  std::atomic<std::uint64_t> made{0};  // names in the scratch directory
};

struct DirCloser {
  void operator()(DIR* d) const { (void)::closedir(d); }
};
using DirPtr = std::unique_ptr<DIR, DirCloser>;

UniqueFd open_below(int dir, const char* name, int flags) {
  open_how how = {};
  how.flags = static_cast<std::uint64_t>(static_cast<unsigned>(flags | O_NOFOLLOW | O_CLOEXEC));
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, dir, name, &how, sizeof how)));
}

std::string printable(const char* name) {
  std::string out(name, ::strnlen(name, 64));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = '?';
  return "'" + out + "'";
}

// `name` empty: `dir` itself, the top of the tree.
Result<> queue_dir(Pass& pass, int dir, const char* name) {
  DirHandle handle;
  handle.top = *name == '\0';
  handle.get()->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(dir, name, handle.get(), &mount_id, handle.top ? AT_EMPTY_PATH : 0) != 0)
    return fail_errno("find directory " + printable(name), Code::quota_set);
  pass.work.add(handle);
  return {};
}

Result<> give_to_file(Pass& pass, int dir, const char* name) {
  // O_NONBLOCK: what was a file and is a FIFO now is not waited for.
  UniqueFd fd = open_below(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd) return fail_errno("open " + printable(name), Code::quota_set);
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return fail_errno("stat " + printable(name), Code::quota_set);
  if (!S_ISREG(st.st_mode)) return fail(Code::quota_set, printable(name) + " changed while it was worked on");
  VZ_TRY_CTX(set_project(fd.get(), {pass.spec.project, false}), printable(name));
  return {};
}

// A new inode of this kind in the scratch directory, whose project it gets.
Result<> make_like(int from, const char* name, const struct stat& st, int scratch, const char* as) {
  if (!S_ISLNK(st.st_mode)) {
    if (::mknodat(scratch, as, st.st_mode, st.st_rdev) != 0) return fail_errno("make anew " + printable(name));
    return {};
  }
  char target[PATH_MAX];
  const ssize_t n = ::readlinkat(from, name, target, sizeof target - 1);
  if (n < 0) return fail_errno("read link " + printable(name));
  target[n] = '\0';
  if (::symlinkat(target, scratch, as) != 0) return fail_errno("make anew " + printable(name));
  return {};
}

// The kernel gives project ids only to directories and regular files, but a new inode takes its directory's.
Result<> replace_special(Pass& pass, int dir, const char* name, const struct stat& st) {
  const std::string as = std::to_string(pass.made++);
  const int scratch = pass.spec.scratch;
  VZ_TRY(make_like(dir, name, st, scratch, as.c_str()));
  const timespec times[2] = {st.st_atim, st.st_mtim};
  bool done = ::fchownat(scratch, as.c_str(), st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) == 0;
  // chown takes setuid and setgid away; there is no way to change the mode of a link, and no need.
  if (done && !S_ISLNK(st.st_mode)) done = ::fchmodat(scratch, as.c_str(), st.st_mode & 07777, 0) == 0;
  done = done && ::utimensat(scratch, as.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0;
  done = done && ::renameat(scratch, as.c_str(), dir, name) == 0;
  if (done) return {};
  auto error = fail_errno("replace " + printable(name), Code::quota_set);
  (void)::unlinkat(scratch, as.c_str(), 0);
  return error;
}

Result<> give_to_entry(Pass& pass, int dir, const char* name) {
  struct stat st;
  if (::fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("stat " + printable(name), Code::quota_set);
  ++pass.inodes;
  if (S_ISDIR(st.st_mode)) return queue_dir(pass, dir, name);
  if (S_ISREG(st.st_mode)) return give_to_file(pass, dir, name);
  return replace_special(pass, dir, name, st);
}

// All names before the first change: replacing entries while reading would show some twice.
Result<std::vector<std::string>> names_of(int fd) {
  UniqueFd again(::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DirPtr dir(again ? ::fdopendir(again.get()) : nullptr);
  if (!dir) return fail_errno("read a directory", Code::quota_set);
  (void)again.release();
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get()))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      names.emplace_back(entry->d_name);
  if (errno != 0) return fail_errno("read a directory", Code::quota_set);
  return names;
}

Result<> give_to_entries(Pass& pass, int dir) {
  const auto names = VZ_TRY(names_of(dir));
  for (const auto& name : names) {
    if (pass.work.error()) return {};
    VZ_TRY(give_to_entry(pass, dir, name.c_str()));
  }
  return {};
}

Result<> give_to_dir(Pass& pass, DirHandle& handle) {
  UniqueFd dir(::open_by_handle_at(pass.spec.tree, handle.get(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return fail_errno("open a directory", Code::quota_set);
  if (!handle.top) VZ_TRY(set_project(dir.get(), {pass.spec.project, true}));
  return give_to_entries(pass, dir.get());
}

void work(Pass& pass) {
  while (auto dir = pass.work.take()) {
    if (auto done = give_to_dir(pass, *dir); !done) pass.work.stop(std::move(done).error());
    pass.work.finished();
  }
}

}  // namespace

Result<std::uint64_t> assign_project(const ProjectPass& spec, const PassProgress& progress) {
  Pass pass{spec, {}, {}, {}};
  VZ_TRY(set_project(spec.scratch, {spec.project, true}));
  // Of another project that entries inherit, of the container that this was copied from, say: no new entry could
  // replace an old one there (EXDEV).
  VZ_TRY(set_project(spec.tree, {0, false}));
  VZ_TRY(queue_dir(pass, spec.tree, ""));
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::max(1u, spec.threads); ++i) threads.emplace_back([&pass] { work(pass); });
  while (!pass.work.wait(std::chrono::milliseconds(100)))
    if (!progress(pass.inodes)) pass.work.stop(Error(Code::quota_set, "interrupted"));
  threads.clear();
  if (auto error = pass.work.error()) return fail(*std::move(error));
  (void)progress(pass.inodes);
  VZ_TRY(set_project(spec.tree, {spec.project, true}));
  return pass.inodes.load() + 1;
}

}  // namespace vz
