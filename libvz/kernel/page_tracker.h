// SPDX-License-Identifier: LGPL-2.1-or-later
// Which pages of a process change, while it runs: write protection by userfaultfd(2) that the kernel itself takes away
// at the first write (UFFD_FEATURE_WP_ASYNC), and PAGEMAP_SCAN (Documentation/admin-guide/mm/pagemap.rst), which finds
// the pages without it and protects them again. Linux 6.7 and later; soft-dirty bits, which other tools use, are not in
// Debian's kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

struct PageRange {
  std::uint64_t begin = 0, end = 0;  // addresses, whole pages
};
using PageVisitor = std::function<Result<>(const PageRange&)>;

// Private anonymous memory of one process. Dropped, it leaves nothing behind in it.
class PageTracker {
 public:
  // `uffd` of take_userfaultfds(). Code::unsupported on an older kernel.
  static Result<PageTracker> open(pid_t pid, UniqueFd uffd);

  // Pages with contents that were written since the last call, or whose past is not known: new mappings, those that
  // moved. Ascending. From here on their next write counts again.
  Result<> scan(const PageVisitor& visit);
  // The same for the last time, of a process that stands still.
  Result<> finish(const PageVisitor& visit);

 private:
  PageTracker(pid_t pid, UniqueFd uffd, UniqueFd pagemap)
      : pid_(pid), uffd_(std::move(uffd)), pagemap_(std::move(pagemap)) {}
  Result<> scan_range(const PageRange& range, std::uint64_t mask, const PageVisitor& visit);
  Result<> walk_known(const PageRange& range, std::uint64_t mask, std::uint64_t flags, const PageVisitor& visit);
  pid_t pid_;
  UniqueFd uffd_, pagemap_;
  // Of these a call may have protected pages without telling which, when it met a mapping that is not tracked.
  std::vector<PageRange> untold_;
};

// All pages with contents, of a process that nobody tracks and that stands still.
Result<> visit_pages(pid_t pid, const PageVisitor& visit);
// Pages of `range` that something is mapped at or swapped out from, be it the page of zeros, in a process that stands
// still.
Result<> visit_populated(pid_t pid, const PageRange& range, const PageVisitor& visit);
// Code::unsupported with the reason why nothing can be tracked on this host.
Result<> check_page_tracking();
// Private anonymous mappings, ascending.
Result<std::vector<PageRange>> anonymous_memory(pid_t pid);

struct PagePart : PageRange {
  bool inside = false;
};
// `range`, cut where one of `others` (in any order) begins or ends, and which parts lie in one of them.
std::vector<PagePart> cut(const PageRange& range, const std::vector<PageRange>& others);

}  // namespace vz
