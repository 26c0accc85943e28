// SPDX-License-Identifier: LGPL-2.1-or-later
// What goes to the other host while CRIU saves the processes: the last pass over an image, then CRIU's own images, each
// as soon as it is written. Nothing changes in the container's image then but by CRIU itself, which gives names to open
// files that have none; whether anything did is seen by what its device has written. Then it is looked through once
// more, while the rest of CRIU's images are sent.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <string>

#include <vz/error.h>
#include <vz/migrate.h>
#include "libvz/base/fd.h"
#include "libvz/container/dump_feed.h"
#include "libvz/container/image_delta.h"
#include "libvz/kernel/event_counter.h"
#include "libvz/kernel/frame_channel.h"

namespace vz {

class LastPass {
 public:
  // `device`: the image's. `go_on`: false ends a pass; it is called in another thread.
  LastPass(FrameChannel& channel, std::string device, bool late, std::function<bool()> go_on)
      : channel_(channel), device_(std::move(device)), late_(late), go_on_(std::move(go_on)) {}

  // It stands still and was synced. CRIU is about to write into `images`. `sender`: of its image, nullptr when it has
  // none.
  Result<> begin(const UniqueFd& images, ImageSender* sender);
  // CRIU is done, and the file system is synced. Until then nobody else speaks through the channel.
  Result<> written();
  // After that: the pass, of an image, and what is known of CRIU's images.
  const std::optional<MigratePass>& first() const { return first_; }
  Result<KnownFiles> known() { return feed_->known(); }
  // The rest of the dump that was committed as `dump`. Returns bytes.
  Result<std::uint64_t> send_dump(const std::string& dump) { return feed_->finish(dump); }
  // Then: the second pass, if there was a reason for one.
  Result<std::optional<MigratePass>> second();
  // For a dump that was given up.
  void drop();

 private:
  Result<MigratePass> pass(std::future<bool> free, const ImageParts& parts);
  Result<> end_work();

  FrameChannel& channel_;
  std::string device_;
  bool late_;
  std::function<bool()> go_on_;
  ImageSender* sender_ = nullptr;
  std::optional<std::uint64_t> writes_;  // of the device, before the first pass
  std::optional<DumpFeed> feed_;
  EventCounter stop_;
  std::optional<MigratePass> first_;
  std::optional<std::promise<bool>> clear_;  // the channel is the second pass's
  bool lost_ = false;                        // changes that the second pass has found, and that were not sent
  std::future<Result<>> work_;
  std::future<Result<MigratePass>> second_;
};

}  // namespace vz
