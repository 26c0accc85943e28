// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/file.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libvz/base/text.h"

namespace vz {

namespace {

// Directories deeper than this below the one to remove are first moved up to it: a tree made by a container may be
// deeper than our descriptor limit and our stack.
constexpr int kMaxDepth = 64;

std::string parent_of(const std::string& path) {
  auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string base_of(const std::string& path) {
  auto slash = path.find_last_of('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

// Where a write through `path` ends: the target of a final symlink, also of a dangling one.
Result<std::string> follow_links(std::string path) {
  for (int hops = 0; hops < 40; ++hops) {
    char target[PATH_MAX];
    ssize_t n = ::readlink(path.c_str(), target, sizeof target);
    if (n < 0 && (errno == EINVAL || errno == ENOENT)) return path;
    if (n < 0) return fail_errno("read link " + path);
    std::string to(target, static_cast<std::size_t>(n));
    path = to.starts_with('/') ? to : parent_of(path) + "/" + to;
  }
  return fail(Error::from_errno(ELOOP, "open " + path));
}

Result<> fill_temp(int fd, std::string_view text, mode_t mode) {
  if (::fchmod(fd, mode) != 0) return fail_errno("set mode");
  VZ_TRY(write_all(fd, text));
  if (::fsync(fd) != 0) return fail_errno("fsync");
  return {};
}

Result<> fsync_dir(const std::string& path) {
  UniqueFd dir = VZ_TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(dir.get()) != 0) return fail_errno("fsync " + path);
  return {};
}

// A directory itself, neither through a symlink nor across a mount: a mount forgotten below must not be emptied.
int open_subdir(int dirfd, const char* name) {
  open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, dirfd, name, &how, sizeof how));
}

struct DirCloser {
  void operator()(DIR* d) const { (void)::closedir(d); }
};
using DirPtr = std::unique_ptr<DIR, DirCloser>;

Result<std::vector<std::string>> list_fd(UniqueFd fd, const std::string& path) {
  DirPtr dir(::fdopendir(fd.get()));
  if (!dir) return fail_errno("read directory " + path);
  (void)fd.release();  // the stream owns it now
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (!entry) break;
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return fail_errno("read directory " + path);
  std::sort(names.begin(), names.end());
  return names;
}

struct Removal {
  int top = -1;             // directory that takes what is too deep
  std::uint64_t moved = 0;  // names given there
};

Result<> remove_entry(Removal& job, int dirfd, const std::string& name, int depth);

Result<> remove_children(Removal& job, int dirfd, const std::string& label, int depth) {
  UniqueFd list(::openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!list) return fail_errno("open " + label);
  auto names = VZ_TRY(list_fd(std::move(list), label));
  for (const auto& name : names) VZ_TRY(remove_entry(job, dirfd, name, depth));
  return {};
}

// Moves dirfd/name up to the top under a fresh name.
Result<> move_up(Removal& job, int dirfd, const std::string& name) {
  for (;;) {
    std::string to = ".vz-remove-" + std::to_string(job.moved++);
    if (::syscall(SYS_renameat2, dirfd, name.c_str(), job.top, to.c_str(), 1u /* RENAME_NOREPLACE */) == 0) return {};
    if (errno != EEXIST) return fail_errno("remove " + name);
  }
}

Result<> remove_entry(Removal& job, int dirfd, const std::string& name, int depth) {
  if (::unlinkat(dirfd, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno("remove " + name);
  if (::unlinkat(dirfd, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  if (errno != ENOTEMPTY && errno != EEXIST) return fail_errno("remove " + name);
  if (depth >= kMaxDepth) return move_up(job, dirfd, name);
  UniqueFd sub(open_subdir(dirfd, name.c_str()));
  if (!sub) {
    if (errno == EXDEV) return fail(Error::from_errno(EBUSY, "remove " + name + " (something is mounted there)"));
    return fail_errno("remove " + name);
  }
  VZ_TRY(remove_children(job, sub.get(), name, depth + 1));
  sub.reset();
  if (::unlinkat(dirfd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return fail_errno("remove " + name);
  return {};
}

}  // namespace

Result<UniqueFd> open_at(int dirfd, const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(::openat(dirfd, path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return fail_errno("open " + path);
  return fd;
}

Result<std::string> read_fd(int fd, std::size_t max) {
  std::string text;
  char buffer[16384];
  for (;;) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read");
    if (n == 0) return text;
    if (text.size() + static_cast<std::size_t>(n) > max) return fail(Error::from_errno(EFBIG, "read"));
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

Result<std::string> read_file_at(int dirfd, const std::string& path, std::size_t max) {
  // Not to wait for a writer of what turns out to be a FIFO.
  UniqueFd fd = VZ_TRY(open_at(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat st = {};
  if (::fstat(fd.get(), &st) != 0) return fail_errno("look at " + path);
  if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))  // read(2) itself refuses a directory
    return fail(Error::from_errno(EINVAL, "read " + path + " (not a regular file)"));
  return VZ_TRY_CTX(read_fd(fd.get(), max), path);
}

Result<std::string> read_file(const std::string& path, std::size_t max) { return read_file_at(AT_FDCWD, path, max); }

namespace {

Result<> write_at_once(int dirfd, const std::string& path, std::string_view text, int flags) {
  UniqueFd fd = VZ_TRY(open_at(dirfd, path, O_WRONLY | flags));
  // Not repeated after a short write: the kernel parses each write(2) as one request.
  ssize_t n = ::write(fd.get(), text.data(), text.size());
  if (n < 0) return fail_errno("write '" + std::string(trim(text)) + "' to " + path);
  if (static_cast<std::size_t>(n) != text.size()) return fail(Error::from_errno(EIO, "write " + path));
  return {};
}

}  // namespace

Result<> write_kernel_file_at(int dirfd, const std::string& path, std::string_view text) {
  return write_at_once(dirfd, path, text, 0);
}

Result<> write_kernel_file_nonblocking_at(int dirfd, const std::string& path, std::string_view text) {
  return write_at_once(dirfd, path, text, O_NONBLOCK);
}

Result<> write_kernel_file(const std::string& path, std::string_view text) {
  return write_kernel_file_at(AT_FDCWD, path, text);
}

Result<> write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("write");
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<> replace_file(const std::string& path, std::string_view text, mode_t mode) {
  std::string target = VZ_TRY(follow_links(path));
  std::string dir = parent_of(target);
  std::string temp = dir + "/." + base_of(target) + ".XXXXXX";
  UniqueFd fd(::mkostemp(temp.data(), O_CLOEXEC));
  if (!fd) return fail_errno("create a temporary file for " + path);
  auto done = fill_temp(fd.get(), text, mode);
  if (done && ::rename(temp.c_str(), target.c_str()) != 0) done = fail_errno("rename");
  if (!done) {
    (void)::unlink(temp.c_str());
    return fail(std::move(done).error().context("write " + path));
  }
  return fsync_dir(dir);
}

bool exists(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0;
}

Result<> make_dirs(const std::string& path, mode_t mode) {
  for (std::size_t at = 0; at != std::string::npos;) {
    at = path.find('/', at + 1);
    std::string part = path.substr(0, at);
    if (part.empty() || ::mkdir(part.c_str(), mode) == 0 || errno == EEXIST) continue;
    // A parent on a read-only file system reports EROFS although it exists.
    if (int err = errno; !exists(part)) return fail(Error::from_errno(err, "create directory " + part));
  }
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return fail_errno("create directory " + path);
  if (!S_ISDIR(st.st_mode)) return fail(Error::from_errno(ENOTDIR, "create directory " + path));
  return {};
}

Result<> remove_tree(const std::string& path) { return remove_tree_at(AT_FDCWD, path); }

Result<> remove_tree_at(int dirfd, const std::string& name) {
  std::string path = name;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();  // "link/" would follow the link
  Removal job;
  if (::unlinkat(dirfd, path.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno("remove " + name);
  UniqueFd top(::openat(dirfd, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top) return fail_errno("remove " + name);
  job.top = top.get();
  std::uint64_t moved = 0;
  do {  // again as long as something was moved up
    moved = job.moved;
    VZ_TRY_CTX(remove_children(job, top.get(), name, 0), name);
  } while (job.moved != moved);
  if (::unlinkat(dirfd, path.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return fail_errno("remove " + name);
  return {};
}

Result<std::vector<std::string>> list_dir(const std::string& path) { return list_dir_at(AT_FDCWD, path); }

Result<std::vector<std::string>> list_dir_at(int dirfd, const std::string& path) {
  return list_fd(VZ_TRY(open_at(dirfd, path, O_RDONLY | O_DIRECTORY)), path);
}

Result<UniqueFd> lock_file(const std::string& path) {
  UniqueFd fd = VZ_TRY(open_file(path, O_RDWR | O_CREAT, 0600));
  while (::flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) return fail_errno("lock " + path);
  return fd;
}

Result<> set_file_size(int fd, std::uint64_t bytes) {
  if (bytes > static_cast<std::uint64_t>(LLONG_MAX)) return fail(Error::from_errno(EFBIG, "set size"));
  if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) return fail_errno("set size");
  return {};
}

Result<> set_owner(const std::string& path, uid_t uid, gid_t gid) {
  if (::lchown(path.c_str(), uid, gid) != 0) return fail_errno("change owner of " + path);
  return {};
}

Result<> set_mode(const std::string& path, mode_t mode) {
  if (::chmod(path.c_str(), mode) != 0) return fail_errno("set mode of " + path);
  return {};
}

Result<> make_symlink(const std::string& target, const std::string& path) {
  if (::symlink(target.c_str(), path.c_str()) != 0) return fail_errno("make symlink " + path);
  return {};
}

Result<std::int64_t> modification_time(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return fail_errno("stat");
  return static_cast<std::int64_t>(st.st_mtime);
}

Result<std::string> read_link_at(int dir, const std::string& name) {
  char target[PATH_MAX];
  ssize_t n = ::readlinkat(dir, name.c_str(), target, sizeof target);
  if (n < 0) return fail_errno("read link " + name);
  return std::string(target, static_cast<std::size_t>(n));
}

Result<std::string> read_link(const std::string& path) { return read_link_at(AT_FDCWD, path); }

Result<> set_mode_of(int fd, mode_t mode) {
  if (::fchmod(fd, mode) != 0) return fail_errno("chmod");
  return {};
}

Result<> check_own_file(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return fail_errno("stat");
  if (!S_ISREG(st.st_mode)) return fail(Code::no_access, "it is no regular file");
  if (st.st_uid != ::geteuid()) return fail(Code::no_access, "it belongs to user " + std::to_string(st.st_uid));
  if (st.st_mode & 022) return fail(Code::no_access, "others may write to it");
  if (st.st_nlink != 1) return fail(Code::no_access, "it has a second name elsewhere");
  return {};
}

Result<> check_own_private_dir(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return fail_errno("stat");
  if (!S_ISDIR(st.st_mode)) return fail(Code::no_access, "it is no directory");
  if (st.st_uid != ::geteuid()) return fail(Code::no_access, "it belongs to user " + std::to_string(st.st_uid));
  if (st.st_mode & 077) return fail(Code::no_access, "others may enter it");
  return {};
}

Result<uid_t> owner_of(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return fail_errno("stat");
  return st.st_uid;
}

Result<std::uint64_t> inode_of(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return fail_errno("stat");
  return st.st_ino;
}

Result<> sync_file(int fd) {
  if (::fsync(fd) != 0) return fail_errno("fsync");
  return {};
}

Result<> sync_file_system(int fd) {
  if (::syncfs(fd) != 0) return fail_errno("syncfs");
  return {};
}

Result<std::string> read_head(int fd, std::size_t bytes) { return read_at(fd, 0, bytes); }

Result<std::string> read_at(int fd, std::uint64_t offset, std::size_t bytes) {
  std::string text(bytes, '\0');
  ssize_t n = ::pread(fd, text.data(), text.size(), static_cast<off_t>(offset));
  if (n < 0) return fail_errno("read");
  text.resize(static_cast<std::size_t>(n));
  return text;
}

Result<std::uint64_t> file_size(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return fail_errno("stat");
  return static_cast<std::uint64_t>(st.st_size);
}

Result<std::uint64_t> file_offset(int fd) {
  off_t at = ::lseek(fd, 0, SEEK_CUR);
  if (at < 0) return fail_errno("lseek");
  return static_cast<std::uint64_t>(at);
}

Result<FreeSpace> free_space(int fd) {
  struct statvfs st;
  if (::fstatvfs(fd, &st) != 0) return fail_errno("statvfs");
  return FreeSpace{static_cast<std::uint64_t>(st.f_bavail) * st.f_frsize, st.f_favail};
}

}  // namespace vz
