// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/criu_pagemap.h"

#include "criu_image.pb.h"
#include "libvz/kernel/criu_image.h"

namespace vz {

namespace {

constexpr std::uint32_t kPagemapMagic = 0x56084025;
constexpr std::size_t kMessageMax = 4096;
constexpr std::uint64_t kPageSize = 4096, kAddressMax = std::uint64_t{1} << 57;

tl::unexpected<Error> damaged(const char* why) {
  return fail(Code::restore, std::string("a table of pages is damaged: ") + why);
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
  if (!take_image_head(image, kPagemapMagic)) return damaged("its head is another one's");
  criu_image::PagemapHead head;
  if (!take_message(image, kMessageMax, &head)) return damaged("it has no head");
  Pagemap out{head.pages_id(), {}};
  std::uint64_t last = 0;
  while (!image.empty()) {
    criu_image::PagemapEntry entry;
    if (!take_message(image, kMessageMax, &entry)) return damaged("an entry is cut");
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
  std::string image = image_head(kPagemapMagic);
  criu_image::PagemapHead head;
  head.set_pages_id(pagemap.pages_id);
  put_message(image, head);
  for (const auto& run : pagemap.runs) {
    criu_image::PagemapEntry entry;
    entry.set_vaddr(run.address);
    entry.set_compat_nr_pages(static_cast<std::uint32_t>(run.pages));
    entry.set_flags(run.flags);
    entry.set_nr_pages(run.pages);
    put_message(image, entry);
  }
  return image;
}

}  // namespace vz
