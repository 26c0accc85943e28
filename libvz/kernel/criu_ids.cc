// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/criu_ids.h"

#include <string>

#include <fcntl.h>

#include "criu_image.pb.h"
#include "libvz/kernel/criu_image.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint32_t kMagic = 0x55474906;
constexpr std::size_t kImageMax = 4096;

bool move(google::protobuf::RepeatedPtrField<criu_image::IdExtent>* map, IdMap from, IdMap to) {
  if (map->size() != 1) return false;
  auto* extent = map->Mutable(0);
  if (extent->first() != 0 || extent->lower_first() != from.base || extent->count() != from.count) return false;
  extent->set_lower_first(to.base);
  return true;
}

Result<> move_image(int images, const std::string& name, IdMap from, IdMap to) {
  const auto bytes = VZ_TRY(read_image(images, name, kImageMax));
  std::string_view image = bytes;
  criu_image::UserNamespace entry;
  if (!take_image_head(image, kMagic) || !take_message(image, kImageMax, &entry) || !image.empty() ||
      !move(entry.mutable_uid_map(), from, to) || !move(entry.mutable_gid_map(), from, to))
    return fail(Code::restore, "CRIU's image " + name + " is not of a container with these ids");
  auto out = image_head(kMagic);
  put_message(out, entry);
  return write_image(images, name, O_TRUNC, out);
}

}  // namespace

Result<> move_ids(int images, IdMap from, IdMap to) {
  if (from.count != to.count) return fail(Code::restore, "the container has another number of ids here");
  bool found = false;
  for (const auto& name : VZ_TRY(list_dir_at(images, "."))) {
    if (!name.starts_with("userns-") || !name.ends_with(".img")) continue;
    VZ_TRY(move_image(images, name, from, to));
    found = true;
  }
  return found ? Result<>() : fail(Code::restore, "CRIU's images say nothing of the container's ids");
}

}  // namespace vz
