// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/rootfs.h"

#include <cerrno>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/dir_layout.h"
#include "libvz/container/image.h"
#include "libvz/container/mount_options.h"
#include "libvz/container/unpack.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint64_t kVersion = 1;

std::string layout_file(const std::string& private_path) { return private_path + "/layout"; }

}  // namespace

Result<Layout> parse_layout(const std::string& text) {
  // OpenVZ's names, with the ploop modes that its scripts pass: expanded, plain, raw.
  for (const char* name : {"image", "ploop", "ploop:expanded", "ploop:plain", "ploop:raw"})
    if (text == name) return Layout::image;
  for (const char* name : {"dir", "simfs"})
    if (text == name) return Layout::dir;
  return fail(Error(Code::bad_value, fmt::format("unknown layout '{}'", text)).with_hint("use image or dir"));
}

const char* layout_name(Layout l) { return l == Layout::image ? "image" : "dir"; }

namespace {

Result<> fill_private(const PrivateSpec& spec, Reporter& reporter) {
  // Others must not walk through the container's setuid programs.
  VZ_TRY(make_dirs(spec.dest, 0700));
  if (spec.layout == Layout::image)
    VZ_TRY(make_image(spec, reporter));
  else
    VZ_TRY(make_dir(spec, reporter));
  if (reporter.cancelled()) return fail(Code::create_private, "interrupted");
  return write_layout(spec.dest, spec.layout);
}

// Whichever step met it: a file system on a loop device turns ENOSPC of the file below into EIO, or becomes read-only.
bool met_full_disk(const Error& error, const std::string& dest) {
  if (error.sys_errno() == ENOSPC || error.sys_errno() == EDQUOT) return true;
  bool from_below = error.sys_errno() == EIO || error.sys_errno() == EROFS || error.code() == Code::create_image;
  if (!from_below) return false;
  auto dir = open_file(dest.substr(0, dest.rfind('/') + 1), O_RDONLY | O_DIRECTORY);
  auto left = dir ? free_space(dir->get()) : Result<FreeSpace>(fail(std::move(dir).error()));
  return left && left->bytes < (1u << 20);
}

}  // namespace

Result<> fill_tree(const PrivateSpec& spec, const UniqueFd& tree, bool own_disk, Reporter& reporter) {
  if (spec.source) return copy_tree(*spec.source, tree, own_disk, spec.idmap, spec.source_bytes, reporter);
  return unpack_archive(spec.archive, tree, own_disk, spec.idmap, reporter);
}

Result<> make_private(const PrivateSpec& spec, Reporter& reporter) {
  auto filled = fill_private(spec, reporter);
  if (filled || !met_full_disk(filled.error(), spec.dest)) return filled;
  return fail(std::move(filled)
                  .error()
                  .context("no space left on the host's file system with the private areas")
                  .with_code(Code::no_disk_space)
                  .with_hint("free some space there, or let VE_PRIVATE in vz.conf name another file system"));
}

Result<> write_layout(const std::string& private_path, Layout layout) {
  return replace_file(layout_file(private_path), fmt::format("{} {}\n", layout_name(layout), kVersion), 0644);
}

Result<> remove_private(const std::string& private_path) {
  VZ_TRY(drop_dir_quota(private_path));
  return remove_tree(private_path);
}

Result<Layout> private_layout(const std::string& private_path) {
  if (!exists(private_path))
    return fail(Code::no_private, fmt::format("Container private area {} does not exist", private_path));
  auto text = read_file(layout_file(private_path), 4096);
  if (!text) return fail(std::move(text).error().with_code(Code::no_private));
  auto words = split_blank(*text);
  auto version = words.size() == 2 ? parse_u64(words[1]).value_or(0) : 0;
  auto layout = parse_layout(words.empty() ? "" : words[0]);
  if (!layout || version != kVersion)
    return fail(Error(Code::no_private,
                      fmt::format("{} is not of this version of vz: '{}'", layout_file(private_path), trim(*text)))
                    .with_hint("a newer vz made this container, or the file is damaged"));
  return layout;
}

bool private_exists(const std::string& private_path) { return exists(layout_file(private_path)); }

Result<RootMount> mount_private(const std::string& private_path, IdMap idmap, const std::string& mount_opts,
                                bool host_view, bool fsck, Reporter& reporter) {
  Layout layout = VZ_TRY(private_layout(private_path));
  RootOptions options = VZ_TRY(parse_mount_opts(mount_opts, layout));
  if (layout == Layout::dir) return mount_dir(dir_path(private_path), idmap, options, host_view);
  return mount_image(image_path(private_path), idmap, options, host_view, fsck, reporter);
}

Result<std::uint64_t> compact_private(const std::string& private_path, const std::string& device, IdMap idmap,
                                      Reporter& reporter) {
  if (VZ_TRY(private_layout(private_path)) == Layout::dir) return 0;
  return compact_image(image_path(private_path), device, idmap, reporter);
}

Result<> resize_private(const std::string& private_path, const std::string& device, std::uint64_t disk_bytes,
                        Reporter& reporter) {
  if (VZ_TRY(private_layout(private_path)) == Layout::dir)
    return fail(Code::resize_image, "a directory has no size: its limits are set instead");
  auto image = image_path(private_path);
  if (device.empty()) return resize_image_offline(image, disk_bytes, reporter);
  return grow_image_online(image, device, disk_bytes, reporter);
}

}  // namespace vz
