// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/dir_quota.h"

#include <algorithm>
#include <ctime>
#include <limits>
#include <set>
#include <thread>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/dir_layout.h"
#include "libvz/container/user_limits.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/project.h"
#include "libvz/kernel/project_tree.h"

namespace vz {

namespace {

constexpr unsigned kMaxThreads = 8;      // more only wait for the journal
constexpr std::uint32_t kIdsToTry = 64;  // of a container's 65536
constexpr std::uint64_t kKib = 1024;

Result<UniqueFd> open_dir(const std::string& path) { return open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW); }

std::uint64_t bounded(std::uint64_t value) { return value == Limit::kUnlimited ? 0 : value; }

std::uint64_t in_bytes(std::uint64_t kib) {
  if (kib == Limit::kUnlimited) return 0;
  return std::min(kib, std::numeric_limits<std::int64_t>::max() / kKib) * kKib;
}

bool owns(IdMap map, Project project) {
  return project.inherit && project.id >= map.base && project.id - map.base < map.count;
}

// Project ids that the admin gave away: "ID:PATH" in /etc/projects, "NAME:ID" in /etc/projid.
std::set<std::uint64_t> foreign_projects() {
  std::set<std::uint64_t> out;
  for (const char* path : {"/etc/projects", "/etc/projid"}) {
    auto text = read_file(path);
    if (!text) continue;
    for (const auto& line : split(*text, '\n'))
      for (const auto& field : split(trim(line), ':'))
        if (auto id = parse_u64(field)) out.insert(*id);
  }
  return out;
}

Error refusal(const QuotaSupport& support, const std::string& private_path) {
  return Error(Code::unsupported,
               fmt::format("disk limits of the dir layout cannot be enforced at {}: {}", private_path, support.why))
      .with_hint(support.remedy + ", or use --layout image");
}

Result<> set_limits(int fd, std::uint32_t project, const DiskLimits& disk) {
  return set_quota(fd, QuotaType::project, project, disk.limits);
}

// The kernel started the file system's grace when it was told limits that are exceeded already.
Result<> shorten_grace(int fd, const Quota& now, const DiskLimits& disk) {
  if (!disk.grace) return {};
  const auto until = static_cast<std::int64_t>(std::time(nullptr)) + static_cast<std::int64_t>(*disk.grace);
  auto shorter = [&](std::int64_t have) { return have > until ? std::optional(until) : std::nullopt; };
  auto bytes = shorter(now.bytes_until), inodes = shorter(now.inodes_until);
  if (!bytes && !inodes) return {};
  return set_quota_until(fd, QuotaType::project, now.id, bytes, inodes);
}

void say_if_exceeded(const Quota& now, Reporter& reporter) {
  const auto& l = now.limits;
  if (l.hard_bytes && now.bytes > l.hard_bytes)
    reporter.warn(
        fmt::format("Warning: the container uses {} KiB, more than --diskspace: it can only delete", now.bytes / kKib));
  if (l.hard_inodes && now.inodes > l.hard_inodes)
    reporter.warn(
        fmt::format("Warning: the container has {} files, more than --diskinodes: it can only delete", now.inodes));
}

Result<std::uint32_t> assign_tree(const std::string& private_path, IdMap map, Reporter& reporter) {
  const auto scratch_path = private_path + "/scratch";
  VZ_TRY(remove_tree(scratch_path));
  VZ_TRY(make_dirs(scratch_path, 0700));
  // On a mount of its own: nothing that is mounted below is met, and no device is opened.
  UniqueFd mount = VZ_TRY(clone_mount(AT_FDCWD, private_path, false));
  VZ_TRY(set_attrs(mount.get(), MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, MOUNT_ATTR_RDONLY, false));
  UniqueFd tree = VZ_TRY(open_at(mount.get(), "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  UniqueFd scratch = VZ_TRY(open_at(mount.get(), "scratch", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ProjectPass pass;
  pass.tree = tree.get();
  pass.scratch = scratch.get();
  pass.project = VZ_TRY(choose_project(tree.get(), map));
  pass.threads = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads);
  // Limits of a time before must not stand in the way.
  VZ_TRY(set_quota(tree.get(), QuotaType::project, pass.project, {}));
  reporter.info("Counting the container's files");
  VZ_TRY_CTX(assign_project(pass,
                            [&](std::uint64_t inodes) {
                              reporter.progress("files", inodes, 0);
                              return !reporter.cancelled();
                            }),
             "give the files in " + private_path + " their project");
  scratch.reset();
  VZ_TRY(remove_tree(scratch_path));
  return pass.project;
}

Result<> mark_private(const std::string& private_path) {
  UniqueFd dir = VZ_TRY(open_dir(private_path));
  return set_project(dir.get(), {kPrivateProject, true});
}

}  // namespace

DiskLimits disk_limits(const Config& merged) {
  DiskLimits out;
  if (!merged.yes_no("DISK_QUOTA").value_or(true)) return out;
  if (auto space = merged.limit("DISKSPACE")) {
    out.limits.soft_bytes = in_bytes(space->barrier);
    out.limits.hard_bytes = in_bytes(space->limit);
  }
  if (auto inodes = merged.limit("DISKINODES")) {
    out.limits.soft_inodes = bounded(inodes->barrier);
    out.limits.hard_inodes = bounded(inodes->limit);
  }
  out.grace = merged.number("QUOTATIME");
  auto fold = [&](std::uint64_t* soft, std::uint64_t* hard) {
    if (out.grace == 0 && *soft != 0) *hard = *soft;
    if (*soft == *hard) *soft = 0;  // says nothing more
  };
  fold(&out.limits.soft_bytes, &out.limits.hard_bytes);
  fold(&out.limits.soft_inodes, &out.limits.hard_inodes);
  return out;
}

QuotaSupport judge_quota(const MountedOn& mount, QuotaState state) {
  QuotaSupport out{state.counted, state.enforced, {}, {}, false};
  if (state.enforced) return out;
  const bool ext4 = mount.type == "ext4", xfs = mount.type == "xfs", root = mount.point == "/";
  if (!ext4 && !xfs) {
    out.why = fmt::format("{} has no project quota", mount.type.empty() ? "this file system" : mount.type);
    out.remedy = "put the private areas (VE_PRIVATE in vz.conf) on ext4 or XFS";
  } else if (state.counted) {
    out.online = true;
    out.why = fmt::format("{} on {} counts, but was mounted without prjquota", mount.type, mount.point);
    out.remedy = "vzctl check --fix, and prjquota in /etc/fstab for the next boot";
  } else if (ext4) {
    out.why = fmt::format(
        "ext4 on {} has no project quota (features quota and project), or this kernel has no "
        "quota_v2",
        mount.point);
    out.remedy = fmt::format("modprobe quota_v2; {}tune2fs -O quota,project -Q prjquota {}; mount -o prjquota {} {}",
                             root ? "from a rescue system: " : fmt::format("umount {}; ", mount.point), mount.source,
                             mount.source, mount.point);
  } else {
    out.why = fmt::format("XFS on {} was mounted without prjquota", mount.point);
    out.remedy = root ? "boot with rootflags=prjquota"
                      : fmt::format("umount {}; mount -o prjquota {} {}", mount.point, mount.source, mount.point);
  }
  return out;
}

std::string existing_dir(std::string path) {
  while (path.size() > 1 && !exists(path)) path.resize(std::max<std::size_t>(1, path.rfind('/')));
  return path;
}

QuotaSupport quota_support(const std::string& dir) {
  QuotaSupport out;
  auto fd = open_file(existing_dir(dir), O_RDONLY | O_DIRECTORY);
  if (!fd) {
    out.why = fd.error().message();
    return out;
  }
  auto mount = mounted_on(fd->get());
  auto state = quota_state(fd->get(), QuotaType::project);
  if (!state) {
    out.why = state.error().message();
    return out;
  }
  return judge_quota(mount ? *mount : MountedOn{}, *state);
}

Result<> check_dir_quota(const std::string& private_path, const DiskLimits& disk) {
  if (!disk.any()) return {};
  auto support = quota_support(private_path);
  return support.enforced ? Result<>() : fail(refusal(support, private_path));
}

Result<std::uint32_t> choose_project(int fs_fd, IdMap map) {
  const auto foreign = foreign_projects();
  for (std::uint32_t id = map.base; id < map.base + std::min(map.count, kIdsToTry); ++id) {
    if (foreign.contains(id)) continue;
    Quota now = VZ_TRY(get_quota(fs_fd, QuotaType::project, id));
    if (now.bytes == 0 && now.inodes == 0) return id;
  }
  return fail(Error(Code::no_resources, fmt::format("the project ids {}..{} of the container are all in use by files "
                                                    "of something else",
                                                    map.base, map.base + kIdsToTry - 1))
                  .with_hint("repquota -P (ext4) or xfs_quota -x -c report (XFS) shows them"));
}

Result<> start_dir_quota(const std::string& private_path, IdMap map, const DiskLimits& disk) {
  VZ_TRY(check_dir_quota(private_path, disk));
  VZ_TRY(write_user_limits(private_path, map, ""));  // whose ids these were had users with limits, maybe
  if (!quota_support(private_path).counted) return {};
  VZ_TRY(mark_private(private_path));
  UniqueFd tree = VZ_TRY(open_dir(dir_path(private_path)));
  auto project = VZ_TRY(choose_project(tree.get(), map));
  VZ_TRY(set_limits(tree.get(), project, disk));
  return set_project(tree.get(), {project, true});
}

Result<> put_dir_quota(const std::string& private_path, IdMap map, const DiskLimits& disk, Reporter& reporter) {
  VZ_TRY(check_dir_quota(private_path, disk));
  if (!quota_support(private_path).counted) return {};
  UniqueFd tree = VZ_TRY(open_dir(dir_path(private_path)));
  Project now = VZ_TRY(project_of(tree.get()));
  if (!owns(map, now)) {
    reporter.step("quota.assign");
    VZ_TRY(mark_private(private_path));
    VZ_TRY(assign_tree(private_path, map, reporter));
    reporter.step("quota.assigned");
  }
  return change_dir_limits(private_path, disk, reporter);
}

Result<> change_dir_limits(const std::string& private_path, const DiskLimits& disk, Reporter& reporter) {
  VZ_TRY(check_dir_quota(private_path, disk));
  if (!quota_support(private_path).counted) return {};
  UniqueFd tree = VZ_TRY(open_dir(dir_path(private_path)));
  Project project = VZ_TRY(project_of(tree.get()));
  if (project.id < kFirstContainerId || !project.inherit) {
    if (!disk.any()) return {};
    return fail(Error(Code::quota_set, fmt::format("the files in {} are not counted yet", private_path))
                    .with_hint("stop and start the container: that gives them their project"));
  }
  Quota now = VZ_TRY(get_quota(tree.get(), QuotaType::project, project.id));
  if (now.limits != disk.limits) {
    reporter.step("quota.limits");
    VZ_TRY(set_limits(tree.get(), project.id, disk));
    now = VZ_TRY(get_quota(tree.get(), QuotaType::project, project.id));
    say_if_exceeded(now, reporter);
  }
  return shorten_grace(tree.get(), now, disk);
}

Result<> drop_dir_quota(const std::string& private_path) {
  auto tree = open_dir(dir_path(private_path));
  if (!tree) return {};
  auto project = project_of(tree->get());
  if (!project || project->id < kFirstContainerId || !project->inherit) return {};
  auto done = set_quota(tree->get(), QuotaType::project, project->id, {});
  // The files remember their project also where nobody counts any more.
  return done || done.error().code() == Code::unsupported ? Result<>() : done;
}

Result<> agree_on_grace(const Host& host, const std::string& private_path, const DiskLimits& disk) {
  if (!disk.any() || !disk.grace || *disk.grace == 0) return {};
  std::uint64_t longest = *disk.grace;
  for (Ctid id : VZ_TRY(host.containers()))
    if (auto config = host.load(id)) longest = std::max(longest, disk_limits(*config).grace.value_or(0));
  UniqueFd dir = VZ_TRY(open_dir(private_path));
  const QuotaGrace wanted{longest, longest};
  if (VZ_TRY(get_grace(dir.get(), QuotaType::project)) == wanted) return {};
  return set_grace(dir.get(), QuotaType::project, wanted);
}

std::optional<Quota> dir_usage(const std::string& private_path) {
  auto tree = open_dir(dir_path(private_path));
  auto project = tree ? project_of(tree->get()) : Result<Project>(fail(std::move(tree).error()));
  if (!project || project->id < kFirstContainerId || !project->inherit) return std::nullopt;
  auto now = get_quota(tree->get(), QuotaType::project, project->id);
  return now ? std::optional(*now) : std::nullopt;
}

}  // namespace vz
