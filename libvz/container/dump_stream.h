// SPDX-License-Identifier: LGPL-2.1-or-later
// A dump as frames: one file after the other. What it is worth is the manifest's to say, which is among them and has
// the size and the hash of each.
#pragma once

#include <cstdint>
#include <string>

#include <vz/error.h>
#include "libvz/container/dump.h"
#include "libvz/kernel/frame_channel.h"

namespace vz {

// Where a dump grows until the container that it belongs to is here.
std::string incoming_dump_path(const std::string& dump_path);

// As an image is called on the way: "images/core-7.img".
std::string image_name(const std::string& file);
// From the file's beginning. `as`: image_name() of an image.
Result<DumpFile> send_dump_file(FrameChannel& channel, const UniqueFd& fd, const std::string& name,
                                const std::string& as);
// Of the dump `path`. It comes last: with it, a dump is whole. Returns bytes.
Result<std::uint64_t> send_manifest(FrameChannel& channel, const std::string& path);
// All of `path`, then kEnd. Returns bytes.
Result<std::uint64_t> send_dump(FrameChannel& channel, const std::string& path);

struct ReceivedDump {
  std::uint64_t bytes = 0;
  bool whole = false;  // the manifest has come; without it the source has given the dump up
  KnownFiles images;   // as they came
};
// Fills `path`, which is made when missing; `durable`: everything is on disk afterwards. A file that comes once more
// takes the place of the one before; names that no dump has, and those of others that are there, are refused.
Result<ReceivedDump> receive_dump(FrameChannel& channel, const std::string& path, bool durable);
// Removes from `images` what came and is not in the manifest: CRIU had thought better of it. nullptr: all that came.
Result<> drop_images(const UniqueFd& images, const KnownFiles& received, const DumpManifest* manifest);

}  // namespace vz
