// SPDX-License-Identifier: LGPL-2.1-or-later
// Answers quotactl(2) for containers on kernels that do not do it themselves. One thread at most works for a container
// at a time, and there are never more threads than containers that wait: one whose memory or file system lets a thread
// wait for ever holds up nobody else, least of all vzd.
#pragma once

#include <memory>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/container/quota_scope.h"
#include "libvz/kernel/seccomp_notify.h"

namespace vz {

// Answers one call, which is waiting, or was left unanswered. What the container could have changed since is not
// trusted.
void serve_quota_call(SeccompListener& listener, const QuotaScope& scope);
void refuse_quota_call(SeccompListener& listener, int error);

class QuotaBroker {
 public:
  static Result<QuotaBroker> create();
  QuotaBroker(QuotaBroker&&) noexcept = default;
  QuotaBroker& operator=(QuotaBroker&&) = delete;
  ~QuotaBroker();

  // Readable when finished() has something.
  int fd() const;
  // serve_quota_call() in a thread. Not again for the same container before finished() has told its id.
  void submit(Ctid id, std::shared_ptr<SeccompListener> listener, std::shared_ptr<const QuotaScope> scope);
  std::vector<Ctid> finished();
  // In a child process of ours, where none of the threads is.
  void abandon();

 private:
  struct Shared;
  explicit QuotaBroker(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  static void work(std::shared_ptr<Shared> shared);
  std::shared_ptr<Shared> shared_;
};

}  // namespace vz
