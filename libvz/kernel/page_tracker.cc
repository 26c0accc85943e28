// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/page_tracker.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

// linux/fs.h of 6.7; Debian 12's has not got them.
struct ScanRequest {
  std::uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  std::uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct ScanRegion {
  std::uint64_t start, end, categories;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanRequest);
constexpr std::uint64_t kWritten = 1 << 1, kPresent = 1 << 3, kSwapped = 1 << 4, kZeroPage = 1 << 5;
constexpr std::uint64_t kProtectMatching = 1 << 0, kOnlyProtected = 1 << 1;
constexpr std::uint64_t kAsyncProtection = 1 << 15;  // UFFD_FEATURE_WP_ASYNC
constexpr std::size_t kRegions = 512;
constexpr int kLargePipe = 4 << 20;
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

Result<UniqueFd> open_pagemap(pid_t pid) { return open_file(fmt::format("/proc/{}/pagemap", pid), O_RDONLY); }

// `reached`: all before it was visited.
Result<> walk(int pagemap, const PageRange& range, ScanRequest request, const PageVisitor& visit,
              std::uint64_t* reached = nullptr) {
  std::array<ScanRegion, kRegions> regions;
  request.size = sizeof request;
  request.start = range.begin;
  request.end = range.end;
  request.vec = reinterpret_cast<std::uint64_t>(regions.data());
  request.vec_len = regions.size();
  request.category_anyof_mask = kPresent | kSwapped;
  request.return_mask = kPresent;
  while (request.start < request.end) {
    const int count = ioctl(pagemap, kPagemapScan, &request);
    if (count < 0) return fail_errno("PAGEMAP_SCAN");
    for (int i = 0; i < count; ++i) {
      const auto& region = regions[static_cast<std::size_t>(i)];
      VZ_TRY(visit({region.start, region.end}));
    }
    if (request.walk_end <= request.start) return fail(Code::system, "PAGEMAP_SCAN makes no progress");
    request.start = request.walk_end;
    if (reached) *reached = request.start;
  }
  return {};
}

// Pages with contents in `range`; `mask`: those of them that have these, too.
Result<> scan(int pagemap, const PageRange& range, std::uint64_t mask, std::uint64_t flags, const PageVisitor& visit,
              std::uint64_t* reached = nullptr) {
  ScanRequest request{};
  request.flags = flags;
  request.category_inverted = kZeroPage;
  request.category_mask = mask | kZeroPage;
  return walk(pagemap, range, request, visit, reached);
}

bool is_gone(const Error& e) { return e.sys_errno() == ESRCH || e.sys_errno() == ENOENT; }

}  // namespace

Result<std::vector<PageRange>> anonymous_memory(pid_t pid) {
  std::vector<PageRange> out;
  auto maps = VZ_TRY(read_file(fmt::format("/proc/{}/maps", pid)));
  for (const auto& line : split(maps, '\n')) {
    unsigned long begin = 0, end = 0, inode = 0;
    char mode[5] = {}, name[16] = {};
    const int fields = std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %lu %15s", &begin, &end, mode, &inode, name);
    if (fields < 4 || mode[3] != 'p' || inode != 0) continue;
    const std::string_view what = name;
    if (what.starts_with("[v") || what.starts_with("[uprobes")) continue;
    out.push_back({begin, end});
  }
  return out;
}

Result<PageTracker> PageTracker::open(pid_t pid, UniqueFd uffd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kAsyncProtection;
  if (ioctl(uffd.get(), UFFDIO_API, &api) != 0)
    return fail(Error::from_errno(errno, "tracking of written pages").with_code(Code::unsupported));
  return PageTracker(pid, std::move(uffd), VZ_TRY(open_pagemap(pid)));
}

// A call that fails may have protected pages before, and does not tell of them: what was written to them by then would
// never be seen. It fails when the process changes its mappings meanwhile.
Result<> PageTracker::walk_known(const PageRange& range, std::uint64_t mask, std::uint64_t flags,
                                 const PageVisitor& visit) {
  std::uint64_t reached = range.begin;
  auto done = vz::scan(pagemap_.get(), range, mask, flags, visit, &reached);
  if (!done) untold_.push_back({reached, range.end});
  return done;
}

Result<> PageTracker::scan_range(const PageRange& range, std::uint64_t mask, const PageVisitor& visit) {
  const auto flags = kProtectMatching | kOnlyProtected;
  auto known = walk_known(range, mask, flags, visit);
  if (known || known.error().sys_errno() != EPERM) return known;
  // A mapping that is new here, or parts of it. What of it was visited already is visited again, which does no harm.
  uffdio_register request{};
  request.range = {range.begin, range.end - range.begin};
  request.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(uffd_.get(), UFFDIO_REGISTER, &request) != 0) return {};  // cannot be tracked: finish() takes all of it
  auto done = walk_known(range, 0, flags, visit);
  if (done) std::erase_if(untold_, [&](const PageRange& r) { return r.begin >= range.begin && r.end <= range.end; });
  return done;
}

Result<> PageTracker::scan(const PageVisitor& visit) {
  const auto untold = std::exchange(untold_, {});
  for (const auto& mapping : VZ_TRY(anonymous_memory(pid_))) {
    for (const auto& part : cut(mapping, untold)) {
      auto done = scan_range(part, part.inside ? 0 : kWritten, visit);
      // Changed meanwhile: the next time tells.
      const int error = done ? 0 : done.error().sys_errno();
      if (error != 0 && error != EPERM && error != EINVAL) return done;
      if (!done && error == 0) return done;
    }
  }
  return {};
}

Result<> PageTracker::finish(const PageVisitor& visit) {
  for (const auto& mapping : VZ_TRY(anonymous_memory(pid_))) {
    for (const auto& part : cut(mapping, untold_)) {
      if (part.inside) {
        VZ_TRY(vz::scan(pagemap_.get(), part, 0, 0, visit));
        continue;
      }
      auto known = vz::scan(pagemap_.get(), part, kWritten, kOnlyProtected, visit);
      if (!known && known.error().sys_errno() == EPERM) known = vz::scan(pagemap_.get(), part, 0, 0, visit);
      VZ_TRY(std::move(known));
    }
  }
  uffd_.reset();
  return {};
}

std::vector<PagePart> cut(const PageRange& range, const std::vector<PageRange>& others) {
  std::vector<std::uint64_t> edges{range.begin, range.end};
  for (const auto& other : others)
    for (auto edge : {other.begin, other.end})
      if (edge > range.begin && edge < range.end) edges.push_back(edge);
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  std::vector<PagePart> out;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
    const PageRange part{edges[i], edges[i + 1]};
    const bool inside = std::any_of(others.begin(), others.end(), [&](const PageRange& other) {
      return other.begin <= part.begin && other.end >= part.end;
    });
    if (!out.empty() && out.back().inside == inside)
      out.back().end = part.end;
    else
      out.push_back({part, inside});
  }
  return out;
}

Result<> check_page_tracking() {
  auto unsupported = [](Error e) {
    return fail(std::move(e).with_code(Code::unsupported).context("written pages cannot be tracked"));
  };
  UniqueFd uffd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY)));
  if (!uffd) return unsupported(Error::from_errno(errno, "userfaultfd"));
  auto tracker = PageTracker::open(getpid(), std::move(uffd));
  if (!tracker) return tl::unexpected(std::move(tracker).error());
  std::uint64_t here = 0;
  const auto page = reinterpret_cast<std::uint64_t>(&here) & ~std::uint64_t{4095};
  auto pagemap = VZ_TRY(open_pagemap(getpid()));
  auto scanned = vz::scan(pagemap.get(), {page, page + 4096}, 0, 0, [](const PageRange&) { return Result<>(); });
  if (!scanned) return unsupported(std::move(scanned).error());
  // CRIU keeps pages in pipes even when nobody asks for them.
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe");
  const UniqueFd reader(ends[0]), writer(ends[1]);
  if (fcntl(reader.get(), F_SETPIPE_SZ, kLargePipe) < 0)
    return unsupported(Error::from_errno(errno, fmt::format("a pipe of {} MiB", kLargePipe >> 20))
                           .with_hint(fmt::format("sysctl fs.pipe-max-size={}", kLargePipe)));
  return {};
}

Result<> visit_populated(pid_t pid, const PageRange& range, const PageVisitor& visit) {
  auto pagemap = VZ_TRY(open_pagemap(pid));
  return walk(pagemap.get(), range, {}, visit);
}

Result<> visit_pages(pid_t pid, const PageVisitor& visit) {
  auto pagemap = open_pagemap(pid);
  if (!pagemap) return is_gone(pagemap.error()) ? Result<>() : fail(std::move(pagemap).error());
  for (const auto& range : VZ_TRY(anonymous_memory(pid))) VZ_TRY(vz::scan(pagemap->get(), range, 0, 0, visit));
  return {};
}

}  // namespace vz
