// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/loopdev.h"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr unsigned kLoopMajor = 7;
// LOOP_CTL_GET_FREE reserves nothing: with N starters at a time each may lose N-1 times.
constexpr int kAttachRetries = 1024;

// devtmpfs makes the node before LOOP_CTL_GET_FREE returns; where /dev is something else nobody does, so we do.
Result<UniqueFd> open_device(int number, int flags) {
  std::string path = fmt::format("/dev/loop{}", number);
  auto fd = open_file(path, flags);
  if (fd || fd.error().sys_errno() != ENOENT) return fd;
  if (::mknod(path.c_str(), S_IFBLK | 0660, makedev(kLoopMajor, static_cast<unsigned>(number))) != 0 && errno != EEXIST)
    return fail_errno("create " + path);
  return open_file(path, flags);
}

// Binds device and file in one step. EBUSY: someone else was faster.
int configure(int device_fd, int image_fd, std::uint32_t flags) {
  loop_config config = {};
  config.fd = static_cast<std::uint32_t>(image_fd);
  config.info.lo_flags = flags;
  return ::ioctl(device_fd, LOOP_CONFIGURE, &config);
}

// Direct I/O keeps an image's data once in memory, charged to the container, instead of twice; file systems that
// cannot (tmpfs before 6.6, odd sector sizes) answer EINVAL.
int configure_best(int device_fd, int image_fd, bool read_only) {
  std::uint32_t flags = LO_FLAGS_AUTOCLEAR;
  if (read_only) flags |= LO_FLAGS_READ_ONLY;
  if (configure(device_fd, image_fd, flags | LO_FLAGS_DIRECT_IO) == 0) return 0;
  if (errno != EINVAL) return -1;
  return configure(device_fd, image_fd, flags);
}

bool backed_by(int device_fd, const struct stat& image) {
  loop_info64 info = {};
  return ::ioctl(device_fd, LOOP_GET_STATUS64, &info) == 0 && info.lo_inode == image.st_ino &&
         info.lo_device == image.st_dev;
}

}  // namespace

Result<LoopDevice> attach_loop(int image_fd, bool read_only) {
  auto control = open_file("/dev/loop-control", O_RDWR);
  if (!control)
    return fail(std::move(control).error().with_code(Code::unsupported).with_hint("load the module: modprobe loop"));
  for (int i = 0; i < kAttachRetries; ++i) {
    int number = ::ioctl(control->get(), LOOP_CTL_GET_FREE);
    if (number < 0) return fail_errno("find a free loop device", Code::mount_image);
    UniqueFd device = VZ_TRY(open_device(number, read_only ? O_RDONLY : O_RDWR));
    if (configure_best(device.get(), image_fd, read_only) == 0)
      return LoopDevice{std::move(device), fmt::format("/dev/loop{}", number)};
    if (errno != EBUSY && errno != EAGAIN)
      return fail_errno(fmt::format("attach the image to /dev/loop{}", number), Code::mount_image);
  }
  return fail(Error::from_errno(EBUSY, "attach the image to a loop device", Code::mount_image));
}

Result<> loop_set_capacity(const std::string& path) {
  UniqueFd device = VZ_TRY(open_file(path, O_RDWR));
  if (::ioctl(device.get(), LOOP_SET_CAPACITY, 0) != 0)
    return fail_errno("set the size of " + path, Code::resize_image);
  return {};
}

namespace {

// Whether anything has the image open for writing, as every loop device of ours does. Asked by a read lease, which the
// kernel refuses then: one call, however many devices there are. True when it cannot tell.
bool may_be_in_use(const std::string& image_path) {
  auto file = open_file(image_path, O_RDONLY);
  if (!file) return true;
  // Who opens it in this instant waits for us, and we get a signal; SIGIO, the default one, would kill.
  if (::fcntl(file->get(), F_SETSIG, SIGURG) < 0 || ::fcntl(file->get(), F_SETLEASE, F_RDLCK) < 0) return true;
  (void)::fcntl(file->get(), F_SETLEASE, F_UNLCK);
  return false;
}

}  // namespace

bool loop_serves(const std::string& device, const std::string& image_path) {
  struct stat image;
  auto fd = open_file(device, O_RDONLY);
  return fd && ::stat(image_path.c_str(), &image) == 0 && backed_by(fd->get(), image);
}

Result<std::string> find_loop(const std::string& image_path, bool read_only_too) {
  struct stat image;
  if (::stat(image_path.c_str(), &image) != 0) return fail_errno("stat " + image_path);
  if (!read_only_too && !may_be_in_use(image_path)) return std::string();
  auto blocks = list_dir("/sys/block");
  if (!blocks) return std::string();
  for (const auto& name : *blocks) {
    // An unbound device has no "loop" directory; opening each of them would be slow and wake udev.
    if (!name.starts_with("loop") || !exists("/sys/block/" + name + "/loop")) continue;
    auto device = open_file("/dev/" + name, O_RDONLY);
    if (device && backed_by(device->get(), image)) return "/dev/" + name;
  }
  return std::string();
}

namespace {

// The numbers of /sys/block/*/stat, by their place in it: Documentation/block/stat.rst.
enum Counted : std::size_t { writes = 4, sectors_written = 6, in_flight = 8, discards = 11, sectors_discarded = 13 };

Result<std::vector<std::uint64_t>> block_counts(const std::string& device) {
  const std::string dir = "/sys/class/block/" + device.substr(device.rfind('/') + 1);
  const auto counted = VZ_TRY(read_file(dir + "/queue/iostats"));
  std::vector<std::uint64_t> out;
  for (const auto& field : split_blank(VZ_TRY(read_file(dir + "/stat")))) out.push_back(VZ_TRY(parse_u64(field)));
  if (trim(counted) != "1" || out.size() <= sectors_discarded)
    return fail(Code::unsupported, "the writes of " + device + " are not counted");
  return out;
}

}  // namespace

Result<std::uint64_t> finished_writes(const std::string& device) {
  const auto counts = VZ_TRY(block_counts(device));
  if (counts[in_flight] != 0) return fail(Code::unsupported, "writes of " + device + " are under way");
  return counts[writes] + counts[discards];
}

Result<std::uint64_t> written_sectors(const std::string& device) {
  const auto counts = VZ_TRY(block_counts(device));
  return counts[sectors_written] + counts[sectors_discarded];
}

}  // namespace vz
