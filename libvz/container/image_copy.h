// SPDX-License-Identifier: LGPL-2.1-or-later
// A copy of an image as it is at one moment. Where the file system shares blocks between files (XFS, btrfs) that is one
// system call; elsewhere all is copied while the container runs, and in the moment itself only what has changed since.
#pragma once

#include <string>

#include <vz/error.h>
#include <vz/reporter.h>
#include "libvz/base/fd.h"
#include "libvz/container/image_scan.h"

namespace vz {

class ImageCopy {
 public:
  // Makes `dest`. Code::no_disk_space when it would not fit.
  static Result<ImageCopy> begin(const std::string& image, const std::string& dest);
  // While the image may change.
  Result<> prepare(Reporter& reporter);
  // While nobody writes to it. `dest` is not on disk yet.
  Result<> finish(Reporter& reporter);
  Result<> sync();
  bool shared() const { return shared_; }

 private:
  ImageCopy(UniqueFd from, UniqueFd to, ImageScan scan, std::string dest, bool shared)
      : from_(std::move(from)), to_(std::move(to)), scan_(std::move(scan)), dest_(std::move(dest)), shared_(shared) {}
  Result<> pass(Reporter& reporter);

  UniqueFd from_, to_;
  ImageScan scan_;
  std::string dest_;
  bool shared_;
};

// Of an image that nobody writes to; `dest` is on disk when it returns.
Result<> copy_image(const std::string& image, const std::string& dest, Reporter& reporter);

}  // namespace vz
