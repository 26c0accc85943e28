// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/seccomp_notify.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kAnswerMax = 256;

#if defined(__x86_64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_X86_64;
constexpr int kForeignAbi = 0x40000000;  // x32, __X32_SYSCALL_BIT
#elif defined(__aarch64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_AARCH64;
constexpr int kForeignAbi = 0;
#else
constexpr std::uint32_t kNativeArch = 0;  // nothing is native: nobody is served
constexpr int kForeignAbi = 0;
#endif

// A newer kernel's structures may be longer than ours; it writes all of them.
Result<> check_sizes() {
  seccomp_notif_sizes sizes{};
  if (::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
    return fail_errno("seccomp: sizes of notifications");
  if (sizes.seccomp_notif > kPage || sizes.seccomp_notif_resp > kAnswerMax)
    return fail(Code::bad_kernel, "seccomp: this kernel's notifications are longer than expected");
  return {};
}

seccomp_notif read_page(const void* page) {
  seccomp_notif notif;
  std::memcpy(&notif, page, sizeof notif);
  return notif;
}

SeccompCall to_call(const seccomp_notif& notif) {
  SeccompCall call;
  call.id = notif.id;
  call.thread = static_cast<pid_t>(notif.pid);
  call.native = notif.data.arch == kNativeArch && (notif.data.nr & kForeignAbi) == 0;
  call.number = notif.data.nr;
  std::copy(std::begin(notif.data.args), std::end(notif.data.args), call.args);
  return call;
}

}  // namespace

Result<SeccompListener> SeccompListener::open(UniqueFd listener, const std::string& pending) {
  VZ_TRY(check_sizes());
  UniqueFd file = VZ_TRY(open_file(pending, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  // Not sparse: a write to a page that a full file system cannot hold would kill us.
  if (int rc = ::posix_fallocate(file.get(), 0, kPage); rc != 0) return fail(Error::from_errno(rc, "make " + pending));
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (page == MAP_FAILED) return fail_errno("map " + pending);
  return SeccompListener(std::move(listener), page);
}

SeccompListener::SeccompListener(SeccompListener&& other) noexcept
    : fd_(std::move(other.fd_)), page_(std::exchange(other.page_, nullptr)) {}

SeccompListener::~SeccompListener() {
  if (page_) (void)::munmap(page_, kPage);
}

bool SeccompListener::has_unanswered() const { return read_page(page_).id != 0; }

Result<std::optional<SeccompCall>> SeccompListener::next() {
  if (auto left = read_page(page_); left.id != 0 && waits(left.id)) return std::optional(to_call(left));
  std::memset(page_, 0, kPage);  // the kernel wants it so
  if (::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_RECV, page_) < 0) {
    if (errno == ENOENT || errno == EINTR) return std::optional<SeccompCall>();
    return fail_errno("seccomp: take a call");
  }
  return std::optional(to_call(read_page(page_)));
}

bool SeccompListener::waits(std::uint64_t id) const {
  return ::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

void SeccompListener::answer(std::uint64_t id, int error) {
  alignas(seccomp_notif_resp) char buffer[kAnswerMax] = {};
  seccomp_notif_resp response{};
  response.id = id;
  response.error = -error;
  std::memcpy(buffer, &response, sizeof response);
  // ENOENT: a signal was faster.
  (void)::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_SEND, buffer);
  std::memset(page_, 0, sizeof(seccomp_notif));
}

bool is_seccomp_listener(int fd) {
  auto target = read_link("/proc/self/fd/" + std::to_string(fd));
  return target && *target == "anon_inode:seccomp notify";
}

Result<CallingThread> CallingThread::open(pid_t thread) {
  CallingThread out;
  out.directory_ = VZ_TRY(open_file("/proc/" + std::to_string(thread), O_PATH | O_DIRECTORY));
  out.memory_ = VZ_TRY(open_at(out.directory_.get(), "mem", O_RDWR));
  out.status_ = VZ_TRY(read_file_at(out.directory_.get(), "status"));
  struct stat st {};
  if (::fstatat(out.directory_.get(), "ns/user", &st, 0) < 0) return fail_errno("user namespace of a caller");
  out.user_namespace_ = st.st_ino;
  return out;
}

int CallingThread::read(std::uint64_t address, void* data, std::size_t size) const {
  if (address > INT64_MAX) return EFAULT;
  ssize_t n;
  do n = ::pread(memory_.get(), data, size, static_cast<off_t>(address));
  while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(size) ? 0 : EFAULT;
}

int CallingThread::write(std::uint64_t address, const void* data, std::size_t size) const {
  if (address > INT64_MAX) return EFAULT;
  ssize_t n;
  do n = ::pwrite(memory_.get(), data, size, static_cast<off_t>(address));
  while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(size) ? 0 : EFAULT;
}

int CallingThread::read_path(std::uint64_t address, std::string* out) const {
  out->clear();
  while (out->size() < PATH_MAX) {
    // Never across a page: the next one need not be there.
    char part[256];
    std::size_t size = std::min(sizeof part, kPage - static_cast<std::size_t>(address % kPage));
    if (int error = read(address, part, size)) return error;
    std::size_t length = ::strnlen(part, size);
    out->append(part, length);
    if (length < size) return out->size() < PATH_MAX ? 0 : ENAMETOOLONG;
    address += size;
  }
  return ENAMETOOLONG;
}

int CallingThread::device_of(int descriptor, dev_t* out) const {
  // O_PATH opens nothing: the link leads to the file as it is.
  auto fd = open_at(directory_.get(), "fd/" + std::to_string(descriptor), O_PATH);
  if (!fd) return EBADF;
  auto device = vz::device_of(fd->get());
  if (!device) return EBADF;
  *out = *device;
  return 0;
}

Result<std::uint64_t> user_namespace_of(pid_t pid) {
  struct stat st {};
  std::string path = "/proc/" + std::to_string(pid) + "/ns/user";
  if (::stat(path.c_str(), &st) < 0) return fail_errno(path);
  return std::uint64_t{st.st_ino};
}

Result<dev_t> device_of(int fd) {
  struct statx st {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0) return fail_errno("stat");
  return ::makedev(st.stx_dev_major, st.stx_dev_minor);
}

Result<dev_t> block_device_of(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) < 0) return fail_errno("stat");
  if (!S_ISBLK(st.st_mode)) return fail(Code::bad_value, "not a block device");
  return st.st_rdev;
}

}  // namespace vz
