// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory that a restored process gets after it has begun to run: userfaultfd(2) makes a thread that touches a page
// which is not there wait, and a process of ours puts it there, these pages first and in the meantime all others.
// Everything is on this host already; what is late is only to put it into place, which costs more than to read it.
//
// If that process is killed before it is done, the pages that are missing must not be taken for zeros: a second one,
// which keeps the descriptors, ends the container then.
#pragma once

#include <vector>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/pending_pages.h"

namespace vz {

struct LateProcess {
  pid_t pid = 0;              // on this host
  std::vector<LateRun> runs;  // ascending; in private anonymous mappings of it
};

// Code::unsupported with the reason why this host cannot do it: Linux 6.1 and later have /dev/userfaultfd.
Result<> check_page_placing();

class PagePlacer {
 public:
  // `processes` exist and run none of their own code yet. From the success on they may: what they touch comes out of
  // `files`. `init`: a pidfd, whose end is everybody's. `lock` stays held as long as pages are missing. Forks: the
  // caller must have one thread. An error leaves processes that must not run.
  static Result<PagePlacer> start(const std::vector<UniqueFd>& files, const std::vector<LateProcess>& processes,
                                  const UniqueFd& init, int lock);
  PagePlacer(PagePlacer&&) noexcept = default;
  PagePlacer& operator=(PagePlacer&&) = delete;
  // Waits until everything is in its place, or everybody has ended.
  ~PagePlacer();

 private:
  explicit PagePlacer(UniqueFd job) : job_(std::move(job)) {}
  UniqueFd job_;
};

}  // namespace vz
