// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/criu_pagemap.h"

#include "criu_image.pb.h"
#include "libvz/base/byte_order.h"

namespace vz {

namespace {

constexpr std::uint32_t kCommonMagic = 0x54564319, kPagemapMagic = 0x56084025;
constexpr std::size_t kMessageMax = 4096;
constexpr std::uint64_t kPageSize = 4096, kAddressMax = std::uint64_t{1} << 57;

tl::unexpected<Error> damaged(const char* why) {
  return fail(Code::restore, std::string("a table of pages is damaged: ") + why);
}

// Takes the next message off the front.
template <class Message>
bool take(std::string_view& image, Message* message) {
  if (image.size() < 4) return false;
  const std::size_t size = from_little_endian32(image);
  if (size > kMessageMax || size > image.size() - 4) return false;
  // Partial: the other form writes to standard error when a field is missing.
  if (!message->ParsePartialFromArray(image.data() + 4, static_cast<int>(size)) || !message->IsInitialized())
    return false;
  image.remove_prefix(4 + size);
  return true;
}

template <class Message>
void put(std::string& image, const Message& message) {
  std::string bytes;
  (void)message.SerializeToString(&bytes);
  image += little_endian32(static_cast<std::uint32_t>(bytes.size())) + bytes;
}

// Older writers have only the first two fields.
PageRun run_of(const criu_image::PagemapEntry& entry) {
  PageRun run{entry.vaddr(), entry.has_nr_pages() ? entry.nr_pages() : entry.compat_nr_pages(), entry.flags()};
  if (entry.in_parent()) run.flags |= PageRun::kInParent;
  if (!entry.has_flags() && !entry.in_parent()) run.flags = PageRun::kPresent;
  return run;
}

}  // namespace

Result<Pagemap> parse_pagemap(std::string_view image) {
  if (image.size() < 8 || from_little_endian32(image) != kCommonMagic ||
      from_little_endian32(image.substr(4)) != kPagemapMagic)
    return damaged("its head is another one's");
  image.remove_prefix(8);
  criu_image::PagemapHead head;
  if (!take(image, &head)) return damaged("it has no head");
  Pagemap out{head.pages_id(), {}};
  std::uint64_t last = 0;
  while (!image.empty()) {
    criu_image::PagemapEntry entry;
    if (!take(image, &entry)) return damaged("an entry is cut");
    const PageRun run = run_of(entry);
    if (run.address % kPageSize != 0 || run.address < last || run.address > kAddressMax ||
        run.pages > (kAddressMax - run.address) / kPageSize)
      return damaged("an entry is out of place");
    last = run.end();
    out.runs.push_back(run);
  }
  return out;
}

std::string pagemap_image(const Pagemap& pagemap) {
  std::string image = little_endian32(kCommonMagic) + little_endian32(kPagemapMagic);
  criu_image::PagemapHead head;
  head.set_pages_id(pagemap.pages_id);
  put(image, head);
  for (const auto& run : pagemap.runs) {
    criu_image::PagemapEntry entry;
    entry.set_vaddr(run.address);
    entry.set_compat_nr_pages(static_cast<std::uint32_t>(run.pages));
    entry.set_flags(run.flags);
    entry.set_nr_pages(run.pages);
    put(image, entry);
  }
  return image;
}

}  // namespace vz
