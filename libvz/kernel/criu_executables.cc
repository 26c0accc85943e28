// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/criu_executables.h"

#include <algorithm>
#include <map>
#include <string>

#include <fcntl.h>

#include "criu_image.pb.h"
#include "libvz/kernel/criu_image.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr const char* kFiles = "files.img";
constexpr std::uint32_t kFilesMagic = 0x56303138, kMemoryMagic = 0x57492820;
constexpr std::uint32_t kRegular = 1;  // fd_types.REG
constexpr std::size_t kImageMax = 256u << 20;

tl::unexpected<Error> damaged(const std::string& name) {
  return fail(Code::checkpoint, "CRIU's image " + name + " is not as vz knows it");
}

// The files that were open, and those that get an entry more.
struct Files {
  std::map<std::uint32_t, criu_image::FileEntry> paths;  // regular, with O_PATH
  std::map<std::uint32_t, std::uint32_t> parted;         // id of one of `paths` -> id of the new entry
  std::uint32_t last = 0;
  std::string added;
};

Result<Files> read_files(int images) {
  const auto bytes = VZ_TRY(read_image(images, kFiles, kImageMax));
  std::string_view image = bytes;
  if (!take_image_head(image, kFilesMagic)) return damaged(kFiles);
  Files out;
  while (!image.empty()) {
    criu_image::FileEntry entry;
    if (!take_message(image, kImageMax, &entry)) return damaged(kFiles);
    out.last = std::max(out.last, entry.id());
    if (entry.type() == kRegular && entry.has_reg() && entry.reg().flags() & O_PATH) out.paths[entry.id()] = entry;
  }
  return out;
}

std::uint32_t part(Files& files, std::uint32_t id) {
  auto [known, fresh] = files.parted.emplace(id, files.last + 1);
  if (!fresh) return known->second;
  auto entry = files.paths.at(id);
  entry.set_id(++files.last);
  entry.mutable_reg()->set_id(files.last);
  entry.mutable_reg()->set_flags(O_RDONLY);
  put_message(files.added, entry);
  return files.last;
}

Result<> part_executable(int images, const std::string& name, Files& files) {
  const auto bytes = VZ_TRY(read_image(images, name, kImageMax));
  std::string_view image = bytes;
  criu_image::MemoryEntry memory;
  if (!take_image_head(image, kMemoryMagic) || !take_message(image, kImageMax, &memory)) return damaged(name);
  if (!files.paths.contains(memory.exe_file_id())) return {};
  memory.set_exe_file_id(part(files, memory.exe_file_id()));
  auto out = image_head(kMemoryMagic);
  put_message(out, memory);
  return write_image(images, name, O_TRUNC, out);
}

}  // namespace

Result<> part_executables(int images) {
  auto files = VZ_TRY(read_files(images));
  if (files.paths.empty()) return {};
  for (const auto& name : VZ_TRY(list_dir_at(images, ".")))
    if (name.starts_with("mm-") && name.ends_with(".img")) VZ_TRY(part_executable(images, name, files));
  return files.added.empty() ? Result<>() : write_image(images, kFiles, O_APPEND, files.added);
}

}  // namespace vz
