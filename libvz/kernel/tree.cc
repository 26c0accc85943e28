// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/tree.h"

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libvz/base/random.h"
#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

// A container that renames directories all the time makes the kernel answer EAGAIN to `..`; give up some day.
constexpr int kRaceRetries = 64;
constexpr int kMaxLinks = 40;

UniqueFd open_in_root(int root, const std::string& path, int flags, mode_t mode) {
  open_how how = {};
  how.flags = static_cast<std::uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC));
  how.mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  int fd = -1;
  for (int i = 0; i < kRaceRetries; ++i) {
    fd = static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how));
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return UniqueFd(fd);
}

struct Location {
  UniqueFd dir;
  std::string name;  // one component, not a symlink when looked at
};

// Directory and last component of `path`, with symlinks at the end followed by hand inside the tree: openat2(2) gives
// the file, but a replacement needs its directory. Races only choose another place in the same tree.
Result<Location> locate(const Tree& tree, std::string path, bool follow) {
  const std::string asked = path;
  for (int hops = 0; hops < kMaxLinks; ++hops) {
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    auto slash = path.find_last_of('/');
    std::string dir = slash == std::string::npos ? "" : path.substr(0, slash);
    std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    if (name.empty() || name == "." || name == "..") return fail(Error::from_errno(EINVAL, "open " + asked));
    UniqueFd parent = VZ_TRY(tree.open(dir.empty() ? "/" : dir, O_PATH | O_DIRECTORY));
    char target[PATH_MAX];
    ssize_t n = ::readlinkat(parent.get(), name.c_str(), target, sizeof target);
    if (!follow || (n < 0 && (errno == EINVAL || errno == ENOENT))) return Location{std::move(parent), std::move(name)};
    if (n < 0) return fail_errno("open " + asked);
    if (static_cast<std::size_t>(n) == sizeof target) return fail(Error::from_errno(ENAMETOOLONG, "open " + asked));
    std::string to(target, static_cast<std::size_t>(n));
    path = to.starts_with('/') ? to : dir + "/" + to;
  }
  return fail(Error::from_errno(ELOOP, "open " + asked));
}

Result<> set_owner(int fd, uid_t uid, gid_t gid, const std::string& path) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return fail_errno("stat " + path);
  if (st.st_uid == uid && st.st_gid == gid) return {};  // the caller may run without CAP_CHOWN
  if (::fchown(fd, uid, gid) != 0) return fail_errno("change owner of " + path);
  return {};
}

// Refuses to replace what is not a regular file; missing is fine.
Result<> check_replaceable(const Location& at, const std::string& path) {
  struct stat st;
  if (::fstatat(at.dir.get(), at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno("stat " + path);
  }
  if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
    return fail(Error::from_errno(EINVAL, "write " + path + " (not a regular file)"));
  return {};
}

Result<> fill(int fd, std::string_view text, mode_t mode, uid_t uid, gid_t gid, const std::string& path) {
  VZ_TRY(set_owner(fd, uid, gid, path));
  if (::fchmod(fd, mode) != 0) return fail_errno("set mode of " + path);
  VZ_TRY_CTX(write_all(fd, text), path);
  if (::fsync(fd) != 0) return fail_errno("fsync " + path);
  return {};
}

// Temp file beside the place, then rename(2) over it: the old or the new content, never a mix.
Result<> put(const Location& at, const std::string& path, std::string_view text, mode_t mode, uid_t uid, gid_t gid) {
  VZ_TRY(check_replaceable(at, path));
  std::string temp = ".vz-" + random_hex(8);
  UniqueFd fd(::openat(at.dir.get(), temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("create " + path);
  auto done = fill(fd.get(), text, mode, uid, gid, path);
  if (done && ::renameat(at.dir.get(), temp.c_str(), at.dir.get(), at.name.c_str()) != 0)
    done = fail_errno("replace " + path);
  if (!done) (void)::unlinkat(at.dir.get(), temp.c_str(), 0);
  return done;
}

}  // namespace

Result<Tree> Tree::open(const std::string& host_path) {
  return Tree(VZ_TRY(open_file(host_path, O_PATH | O_DIRECTORY)));
}

Result<UniqueFd> Tree::open(const std::string& path, int flags, mode_t mode) const {
  UniqueFd fd = open_in_root(root_.get(), path, flags, mode);
  if (!fd) return fail_errno("open " + path + " in the container's tree");
  return fd;
}

Result<std::string> Tree::read(const std::string& path, std::size_t max) const {
  // First only a handle: opening a device or a FIFO has effects.
  UniqueFd handle = VZ_TRY(open(path, O_PATH));
  struct stat st;
  if (::fstat(handle.get(), &st) != 0) return fail_errno("stat " + path);
  if (!S_ISREG(st.st_mode)) return fail(Error::from_errno(EINVAL, "read " + path + " (not a regular file)"));
  UniqueFd fd(
      ::open(("/proc/self/fd/" + std::to_string(handle.get())).c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return fail_errno("open " + path);
  return VZ_TRY_CTX(read_fd(fd.get(), max), path);
}

Result<> Tree::write(const std::string& path, std::string_view text, mode_t mode, uid_t uid, gid_t gid) const {
  Location at = VZ_TRY(locate(*this, path, /*follow=*/true));
  return put(at, path, text, mode, uid, gid);
}

Result<> Tree::replace(const std::string& path, std::string_view text, mode_t mode, uid_t uid, gid_t gid) const {
  Location at = VZ_TRY(locate(*this, path, /*follow=*/false));
  return put(at, path, text, mode, uid, gid);
}

Result<> Tree::make_dirs(const std::string& path, mode_t mode, uid_t uid, gid_t gid) const {
  std::string done = "/";
  for (const auto& part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    std::string next = done == "/" ? done + part : done + "/" + part;
    if (exists(next)) {
      done = next;
      continue;
    }
    UniqueFd parent = VZ_TRY(open(done, O_PATH | O_DIRECTORY));
    bool made = ::mkdirat(parent.get(), part.c_str(), mode) == 0;
    if (!made && errno != EEXIST) return fail_errno("create directory " + next);
    if (made) {
      UniqueFd dir(::openat(parent.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!dir) return fail_errno("open directory " + next);
      VZ_TRY(set_owner(dir.get(), uid, gid, next));
      if (::fchmod(dir.get(), mode) != 0) return fail_errno("set mode of " + next);
    }
    done = next;
  }
  VZ_TRY(open(done, O_PATH | O_DIRECTORY));
  return {};
}

bool Tree::exists(const std::string& path) const { return open_in_root(root_.get(), path, O_PATH, 0).valid(); }

}  // namespace vz
