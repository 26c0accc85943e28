// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/criu_processes.h"

#include <algorithm>
#include <string>

#include <sys/mman.h>

#include <fmt/format.h>

#include "criu_image.pb.h"
#include "libvz/kernel/criu_image.h"

namespace vz {

namespace {

constexpr std::uint32_t kTreeMagic = 0x50273030, kMemoryMagic = 0x57492820, kCoreMagic = 0x55053847;
constexpr std::size_t kImageMax = 256u << 20;
constexpr std::uint32_t kAnonymousPrivate = 1 << 9;  // VMA_ANON_PRIVATE of criu/include/image.h
constexpr std::uint64_t kPage = 4096;
// Advice that says nothing about what a page has in it, or who gets it.
constexpr std::uint64_t kHarmless =
    1u << MADV_MERGEABLE | 1u << MADV_HUGEPAGE | 1u << MADV_NOHUGEPAGE | 1u << MADV_DONTDUMP;

tl::unexpected<Error> damaged(const std::string& name) {
  return fail(Code::restore, "CRIU's image " + name + " is not as vz knows it");
}

template <class Message>
Result<Message> read_only_message(int images, const std::string& name, std::uint32_t magic) {
  const auto bytes = VZ_TRY(read_image(images, name, kImageMax));
  std::string_view image = bytes;
  Message out;
  if (!take_image_head(image, magic) || !take_message(image, kImageMax, &out)) return damaged(name);
  return out;
}

Result<std::vector<PageRange>> plain_mappings(int images, std::uint32_t pid) {
  std::vector<PageRange> out;
  auto memory = VZ_TRY(read_only_message<criu_image::Mappings>(images, fmt::format("mm-{}.img", pid), kMemoryMagic));
  for (const auto& vma : memory.vmas()) {
    const bool plain = vma.status() & kAnonymousPrivate && !(vma.flags() & (MAP_LOCKED | MAP_GROWSDOWN)) &&
                       (vma.madv() & ~kHarmless) == 0;
    if (plain) out.push_back({vma.start(), vma.end()});
  }
  std::sort(out.begin(), out.end(), [](const PageRange& a, const PageRange& b) { return a.begin < b.begin; });
  return out;
}

Result<> add_written_pages(int images, std::uint32_t thread, std::vector<PageRange>* out) {
  auto core = VZ_TRY(read_only_message<criu_image::CoreEntry>(images, fmt::format("core-{}.img", thread), kCoreMagic));
  if (!core.thread_core().has_rseq_entry()) return {};
  const auto& area = core.thread_core().rseq_entry();
  const auto begin = area.rseq_abi_pointer();
  if (begin == 0) return {};
  out->push_back({begin / kPage * kPage, (begin + area.rseq_abi_size() + kPage - 1) / kPage * kPage});
  return {};
}

}  // namespace

Result<std::vector<CriuProcess>> read_processes(int images) {
  const std::string name = "pstree.img";
  const auto bytes = VZ_TRY(read_image(images, name, kImageMax));
  std::string_view image = bytes;
  if (!take_image_head(image, kTreeMagic)) return damaged(name);
  std::vector<CriuProcess> out;
  while (!image.empty()) {
    criu_image::ProcessTreeEntry entry;
    if (!take_message(image, kImageMax, &entry)) return damaged(name);
    CriuProcess process;
    process.pid = entry.pid();
    process.parent = entry.ppid();
    // One that has ended and waits for its parent has no memory.
    auto plain = plain_mappings(images, entry.pid());
    if (!plain && plain.error().sys_errno() == ENOENT) continue;
    process.plain = VZ_TRY(std::move(plain));
    for (auto thread : entry.threads()) VZ_TRY(add_written_pages(images, thread, &process.kernel_written));
    out.push_back(std::move(process));
  }
  return out;
}

}  // namespace vz
