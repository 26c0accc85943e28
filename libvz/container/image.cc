// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/image.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/ext4.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/loopdev.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kMinBytes = 16u << 20;  // below, the journal leaves no room for anything

// How long a container may have to wait for its disk. Hung-task warnings of the kernel begin at 120 s.
constexpr std::chrono::seconds kMostFrozen{100};

// e2fsck(8), exit status bits.
constexpr int kFsckFixed = 1 | 2;

const char* const kFeatures =
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum";

// On a sparse file mkfs knows that inode tables read as zero, so that no lazy initialisation follows at mount.
// No space is reserved for root: the limit is exactly what the container gets. -e: not panic.
std::vector<std::string> mkfs_command(const std::string& image, std::uint64_t inodes, bool quota) {
  std::vector<std::string> argv = {"mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-I", "256", "-e", "remount-ro"};
  std::string features = kFeatures, extended = "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0";
  if (quota) {
    features += ",quota";  // of users and groups inside; a project quota would be of no use there
    extended += ",quotatype=usrquota:grpquota";
  }
  argv.insert(argv.end(), {"-O", features, "-E", extended});
  if (inodes > 0)
    argv.insert(argv.end(), {"-N", std::to_string(inodes)});
  else
    argv.insert(argv.end(), {"-i", "16384"});
  argv.push_back(image);
  return argv;
}

Result<UniqueFd> make_file(const std::string& image, std::uint64_t bytes) {
  if (bytes < kMinBytes)
    return fail(Error(Code::bad_value, fmt::format("a disk of {} bytes is too small", bytes))
                    .with_hint(fmt::format("give --diskspace {}M or more", kMinBytes >> 20)));
  UniqueFd fd = VZ_TRY(open_file(image, O_RDWR | O_CREAT | O_EXCL, 0600));
  auto sized = set_file_size(fd.get(), bytes / kBlock * kBlock);
  if (!sized) {
    auto error = std::move(sized).error().context(fmt::format("make {} with {} bytes", image, bytes));
    if (error.sys_errno() == EFBIG)
      return fail(
          std::move(error).with_code(Code::create_image).with_hint("the host's file system has no files that large"));
    return fail(std::move(error).with_code(Code::no_disk_space));
  }
  return fd;
}

Result<> make_file_system(const std::string& image, std::uint64_t inodes, bool quota) {
  Command mkfs;
  mkfs.argv = mkfs_command(image, inodes, quota);
  mkfs.env = {"MKE2FS_CONFIG=/dev/null"};
  VZ_TRY_CTX(run_checked(mkfs, Code::create_image), "make a file system in " + image);
  return {};
}

Result<UniqueFd> mount_device(const std::string& device, MountOptions options, std::uint64_t attrs) {
  bool errors_given = false;
  for (const auto& [key, value] : options) errors_given |= key == "errors";
  options.emplace(options.begin(), "source", device);
  if (!errors_given) options.emplace_back("errors", "remount-ro");  // whatever an image from elsewhere says
  return new_mount("ext4", options, attrs | MOUNT_ATTR_NODEV);
}

struct FirstMount {
  LoopDevice loop;
  UniqueFd mount;
};

// A mount of a new file system, with quota features when this kernel mounts them: the superblock cannot get them
// later without being taken offline.
Result<FirstMount> first_mount(const std::string& image, int image_fd, std::uint64_t inodes) {
  // Nothing of this run survives a crash anyway, one fsync at the end replaces all barriers.
  const MountOptions fast = {{"nobarrier", ""}};
  for (bool quota : {true, false}) {
    VZ_TRY(make_file_system(image, inodes, quota));
    LoopDevice loop = VZ_TRY(attach_loop(image_fd, false));
    auto mount = mount_device(loop.path, fast, 0);
    if (mount) return FirstMount{std::move(loop), *std::move(mount)};
    if (!quota) return fail(std::move(mount).error());
  }
  return fail(Code::create_image, "unreachable");
}

// Exclusively ours for the moment: not mounted anywhere.
Result<> check_file_system(const std::string& image, bool force, Reporter& reporter) {
  reporter.info("Checking the container's file system");
  Command fsck;
  fsck.argv = {"e2fsck", "-p"};
  if (force) fsck.argv.push_back("-f");
  fsck.argv.push_back(image);
  CommandResult result = VZ_TRY(run_command(fsck));
  if ((result.status & ~kFsckFixed) == 0) return {};
  return fail(Error(Code::mount_image, fmt::format("file system in {} is damaged: {}", image, trim(result.output)))
                  .with_hint(fmt::format("make a copy, then repair it by hand: e2fsck -f {}", image)));
}

Result<> check_if_needed(const std::string& image, bool fsck, Reporter& reporter) {
  UniqueFd fd = VZ_TRY(open_file(image, O_RDONLY | O_NONBLOCK));  // a FIFO is refused, not waited for
  Ext4State state = VZ_TRY_CTX(read_ext4_state(fd.get()), image);
  if (!state.needs_check()) return {};  // a mere crash: the kernel replays the journal
  if (fsck) return check_file_system(image, false, reporter);
  reporter.warn(fmt::format("Warning: file system in {} has errors and is not checked", image));
  return {};
}

std::string mount_hint(const std::string& image) {
  auto file = open_file(image, O_RDONLY | O_NONBLOCK);
  auto state = file ? read_ext4_state(file->get()) : Result<Ext4State>(fail(std::move(file).error()));
  if (state && state->quota && !state->errors)
    return fmt::format(
        "see dmesg; the image's quotas need quota_v2: modprobe quota_v2, or do without them: "
        "tune2fs -O ^quota,^project {}",
        image);
  return fmt::format("see dmesg; check it with: e2fsck -f -n {}", image);
}

// A loop device on the image: the one that serves another mount of it, or a new one. Holding its descriptor keeps it.
Result<LoopDevice> hold_loop(const std::string& image, bool fsck, Reporter& reporter) {
  if (auto path = VZ_TRY(find_loop(image)); !path.empty()) {
    auto fd = open_file(path, O_RDONLY);
    if (fd && VZ_TRY(find_loop(image)) == path) return LoopDevice{std::move(*fd), path};
  }
  VZ_TRY(check_if_needed(image, fsck, reporter));
  UniqueFd file = VZ_TRY(open_file(image, O_RDWR));
  return attach_loop(file.get(), false);
}

Result<std::uint64_t> minimum_bytes(const std::string& image) {
  Command command;
  command.argv = {"resize2fs", "-P", image};
  auto output = VZ_TRY(run_checked(command, Code::resize_image));
  return VZ_TRY(parse_minimum_blocks(output)) * kBlock;
}

Result<> run_resize2fs(const std::string& image, std::uint64_t bytes) {
  Command command;
  command.argv = {"resize2fs", image, fmt::format("{}K", bytes / 1024)};
  VZ_TRY_CTX(run_checked(command, Code::resize_image), "resize the file system in " + image);
  return {};
}

Result<> shrink(const std::string& image, int fd, std::uint64_t bytes) {
  auto minimum = VZ_TRY(minimum_bytes(image));
  if (bytes < minimum)
    return fail(Error(Code::resize_image, fmt::format("cannot shrink {} to {} KiB: its files need {} KiB", image,
                                                      bytes >> 10, minimum >> 10))
                    .with_hint("delete files in the container, or give a larger --diskspace"));
  VZ_TRY(run_resize2fs(image, bytes));
  // Only after the file system has left the tail. Killed in between, the file is merely too long.
  VZ_TRY(set_file_size(fd, bytes));
  return sync_file(fd);
}

}  // namespace

std::string image_path(const std::string& private_path) { return private_path + "/root.img"; }

Result<> make_image(const PrivateSpec& spec, Reporter& reporter) {
  auto image = image_path(spec.dest);
  reporter.step("create.image");
  UniqueFd file = VZ_TRY(make_file(image, spec.disk_bytes));
  {
    FirstMount first = VZ_TRY_CTX(first_mount(image, file.get(), spec.inodes), "mount the new " + image);
    UniqueFd userns = VZ_TRY(make_userns(spec.idmap));
    VZ_TRY(set_idmap(first.mount.get(), userns));
    reporter.step("create.unpack");
    VZ_TRY(fill_tree(spec, first.mount, true, reporter));
    first.mount.reset();
    // Unmounting wrote what had only been in the journal. A full host lets that fail, and only the device knows.
    VZ_TRY_CTX(sync_file(first.loop.fd.get()), "write to " + image);
  }
  VZ_TRY_CTX(sync_file(file.get()), image);
  return {};
}

Result<RootMount> mount_image(const std::string& image, IdMap idmap, const RootOptions& options, bool host_view,
                              bool fsck, Reporter& reporter) {
  LoopDevice loop = VZ_TRY_CTX(hold_loop(image, fsck, reporter), "mount " + image);
  std::uint64_t attrs = options.attrs;
  if (host_view) attrs |= MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  auto mount = mount_device(loop.path, options.ext4, attrs);
  if (!mount)
    return fail(
        std::move(mount).error().context("mount " + image).with_code(Code::mount_image).with_hint(mount_hint(image)));
  if (!host_view) {
    UniqueFd userns = VZ_TRY(make_userns(idmap));
    VZ_TRY_CTX(set_idmap(mount->get(), userns), "mount " + image);
  }
  return RootMount{std::move(*mount), std::move(loop.path)};
}

Result<> grow_image_online(const std::string& image, const std::string& device, std::uint64_t bytes,
                           Reporter& reporter) {
  bytes = bytes / kBlock * kBlock;
  UniqueFd file = VZ_TRY(open_file(image, O_RDWR));
  Ext4State state = VZ_TRY_CTX(read_ext4_state(file.get()), image);
  if (bytes < state.bytes)
    return fail(Error(Code::resize_image, fmt::format("a running container's disk cannot shrink ({} KiB to {} KiB)",
                                                      state.bytes >> 10, bytes >> 10))
                    .with_hint("stop the container, set --diskspace then"));
  if (bytes == state.bytes) return {};
  reporter.step("resize.grow");
  // A second mount of the same superblock: resizing must not go through the container's own mount namespace.
  UniqueFd mount = VZ_TRY_CTX(mount_device(device, {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), "mount " + device);
  if (bytes > VZ_TRY(file_size(file.get()))) VZ_TRY_CTX(set_file_size(file.get(), bytes), image);
  VZ_TRY(sync_file(file.get()));
  VZ_TRY(loop_set_capacity(device));
  VZ_TRY_CTX(grow_mounted_ext4(mount.get(), bytes), image);
  return {};
}

Result<std::uint64_t> compact_image(const std::string& image, const std::string& device, IdMap idmap,
                                    Reporter& reporter) {
  UniqueFd file = VZ_TRY(open_file(image, O_RDONLY | O_NONBLOCK));
  const auto before = VZ_TRY(allocated_bytes(file.get()));
  reporter.step("compact.mount");
  RootMount root;
  if (device.empty())
    root = VZ_TRY(mount_image(image, idmap, {}, /*host_view=*/true, /*fsck=*/true, reporter));
  else
    root.mount = VZ_TRY_CTX(mount_device(device, {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), "mount " + device);
  reporter.step("compact.trim");
  if (auto trimmed = trim_mounted(root.mount.get()); !trimmed)
    return fail(std::move(trimmed).error().context(image).with_hint(
        "the host's file system must be able to punch holes into files, as ext4 and XFS are"));
  UniqueFd top = VZ_TRY(open_at(root.mount.get(), ".", O_RDONLY | O_DIRECTORY));
  VZ_TRY(sync_file_system(top.get()));
  const auto after = VZ_TRY(allocated_bytes(file.get()));
  return before - std::min(before, after);
}

Result<std::optional<FrozenFs>> freeze_image(const std::string& image) {
  const auto device = VZ_TRY(find_loop(image));
  if (device.empty()) return std::optional<FrozenFs>();
  UniqueFd mount = VZ_TRY_CTX(mount_device(device, {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), "mount " + device);
  return std::optional(VZ_TRY_CTX(FrozenFs::freeze(mount.get(), kMostFrozen), image));
}

Result<> check_image(const std::string& image, Reporter& reporter) { return check_file_system(image, true, reporter); }

Result<RootMount> mount_image_read_only(const std::string& image) {
  UniqueFd file = VZ_TRY(open_file(image, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  LoopDevice loop = VZ_TRY(attach_loop(file.get(), true));
  auto mount = mount_device(loop.path, {{"ro", ""}, {"norecovery", ""}},
                            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  if (!mount) return fail(std::move(mount).error().context("mount " + image).with_code(Code::mount_image));
  return RootMount{std::move(*mount), std::move(loop.path)};
}

Result<> resize_image_offline(const std::string& image, std::uint64_t bytes, Reporter& reporter) {
  bytes = bytes / kBlock * kBlock;
  if (bytes < kMinBytes) return fail(Code::bad_value, fmt::format("a disk of {} bytes is too small", bytes));
  if (auto device = VZ_TRY(find_loop(image)); !device.empty())
    return fail(Error(Code::resize_image, fmt::format("{} is in use on {}", image, device))
                    .with_hint("unmount the container first: vzctl umount ID"));
  UniqueFd file = VZ_TRY(open_file(image, O_RDWR));
  Ext4State state = VZ_TRY_CTX(read_ext4_state(file.get()), image);
  if (bytes == state.bytes) return {};
  reporter.step("resize.check");
  VZ_TRY(check_file_system(image, true, reporter));
  reporter.step("resize.offline");
  if (bytes < state.bytes) return shrink(image, file.get(), bytes);
  VZ_TRY_CTX(set_file_size(file.get(), bytes), image);
  VZ_TRY(run_resize2fs(image, bytes));
  return sync_file(file.get());
}

Result<std::uint64_t> parse_minimum_blocks(const std::string& output) {
  for (const auto& line : split(output, '\n')) {
    if (line.find("minimum size") == std::string::npos) continue;
    return parse_u64(trim(line.substr(line.rfind(':') + 1)));
  }
  return fail(Code::resize_image, "resize2fs -P did not tell the smallest size");
}

}  // namespace vz
