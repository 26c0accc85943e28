// SPDX-License-Identifier: LGPL-2.1-or-later
// A dump that is on its way while CRIU still writes it: what CRIU has closed is read, hashed and sent at once, so that
// little is left to do when it is complete, and a container waits. Files that CRIU changes after that are sent again.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/container/dump.h"
#include "libvz/kernel/event_counter.h"
#include "libvz/kernel/frame_channel.h"
#include "libvz/kernel/written_files.h"

namespace vz {

class DumpFeed {
 public:
  // From now on it is watched what CRIU writes into `images`. `late`: the request's field of this name. When the host
  // has no watches left (fs.inotify.max_user_instances), all is sent in the end.
  static Result<DumpFeed> begin(FrameChannel& channel, const UniqueFd& images, bool late);
  // Sends until it is told to stop; may be in another thread, and nobody else uses the channel meanwhile.
  Result<> run(const EventCounter& stop);
  // What is sent, and was not changed since.
  Result<KnownFiles> known();
  // The rest of what was made of it, and the answer of the other end. Returns bytes: of all of it.
  Result<std::uint64_t> finish(const std::string& dump);
  // There will be none: the other end forgets what it got. After finish() nothing is done.
  Result<> drop();

 private:
  DumpFeed(FrameChannel& channel, UniqueFd images, bool late)
      : channel_(&channel), images_(std::move(images)), late_(late) {}
  Result<> note();
  Result<> send(const std::string& name);
  Result<> end();
  Error reason(Error lost) const;

  FrameChannel* channel_;
  UniqueFd images_;
  bool late_;
  std::optional<WrittenFiles> written_;
  std::set<std::string> closed_;  // and not sent
  KnownFiles sent_;
  std::uint64_t bytes_ = 0;
  bool open_ = false;  // the other end waits for files
};

}  // namespace vz
