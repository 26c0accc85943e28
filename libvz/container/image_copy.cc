// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/image_copy.h"

#include <cerrno>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

constexpr std::uint64_t kMargin = 16u << 20;  // what a host's file system needs for itself

Result<> check_room(int image, int copy, const std::string& dest) {
  const auto needed = VZ_TRY(allocated_bytes(image)) + kMargin;
  const auto left = VZ_TRY(free_space(copy)).bytes;
  if (needed <= left) return {};
  return fail(Error(Code::no_disk_space, fmt::format("{}: a copy of the image takes {} MiB, and {} MiB are free there",
                                                     dest, needed >> 20, left >> 20))
                  .with_hint("free some space; where VE_PRIVATE is on XFS or btrfs, copies share their blocks"));
}

Error as_no_space(Error error) {
  return error.sys_errno() == ENOSPC || error.sys_errno() == EDQUOT ? std::move(error).with_code(Code::no_disk_space)
                                                                    : std::move(error);
}

}  // namespace

Result<ImageCopy> ImageCopy::begin(const std::string& image, const std::string& dest) {
  UniqueFd from = VZ_TRY(open_file(image, O_RDONLY | O_NONBLOCK | O_NOFOLLOW));
  UniqueFd to = VZ_TRY(open_file(dest, O_RDWR | O_CREAT | O_EXCL, 0600));
  const bool shared = VZ_TRY_CTX(clone_file(from.get(), to.get()), dest);
  if (!shared) {
    VZ_TRY(check_room(from.get(), to.get(), dest));
    VZ_TRY_CTX(set_file_size(to.get(), VZ_TRY(file_size(from.get()))), dest);
  }
  auto scan = VZ_TRY(ImageScan::open(from.get()));
  return ImageCopy(std::move(from), std::move(to), std::move(scan), dest, shared);
}

Result<> ImageCopy::pass(Reporter& reporter) {
  const ImageSink sink{
      [&](std::uint64_t offset, std::string_view data) { return write_at(to_.get(), offset, data); },
      [&](std::uint64_t offset, std::uint64_t length) { return punch_hole(to_.get(), offset, length); }};
  auto passed = scan_.pass(sink, [&](std::uint64_t done, std::uint64_t all) {
    reporter.progress("copy", done, all);
    return !reporter.cancelled();
  });
  if (!passed) return fail(as_no_space(std::move(passed).error().context(dest_)));
  return {};
}

Result<> ImageCopy::prepare(Reporter& reporter) {
  if (shared_) return {};
  VZ_TRY(pass(reporter));
  // What is written out now is not waited for later, in the moment itself.
  return sync();
}

Result<> ImageCopy::finish(Reporter& reporter) {
  if (!shared_) return pass(reporter);
  const bool again = VZ_TRY_CTX(clone_file(from_.get(), to_.get()), dest_);
  return again ? Result<>() : fail(Code::io, dest_ + ": its blocks cannot be shared any more");
}

Result<> ImageCopy::sync() {
  auto synced = sync_file(to_.get());
  return synced ? std::move(synced) : fail(as_no_space(std::move(synced).error().context(dest_)));
}

Result<> copy_image(const std::string& image, const std::string& dest, Reporter& reporter) {
  auto copy = VZ_TRY(ImageCopy::begin(image, dest));
  VZ_TRY(copy.finish(reporter));
  return copy.sync();
}

}  // namespace vz
