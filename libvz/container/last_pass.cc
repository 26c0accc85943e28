// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/last_pass.h"

#include "libvz/container/image_pass.h"
#include "libvz/kernel/loopdev.h"

namespace vz {

namespace {

std::optional<std::uint64_t> writes_of(const std::string& device) {
  auto writes = finished_writes(device);
  return writes ? std::optional(*writes) : std::nullopt;
}

}  // namespace

Result<MigratePass> LastPass::pass(std::future<bool> free, const ImageParts& parts) {
  PassOutbox outbox(channel_, std::move(free));
  return send_image_pass(
      outbox, *sender_, [this](std::uint64_t, std::uint64_t) { return go_on_(); }, parts);
}

Result<> LastPass::begin(const UniqueFd& images, ImageSender* sender) {
  if (lost_) return fail(Code::io, "the disk has to be sent from its beginning");
  sender_ = sender;
  feed_.emplace(VZ_TRY(DumpFeed::begin(channel_, images, late_)));
  stop_ = VZ_TRY(EventCounter::create());
  first_.reset();
  writes_ = writes_of(device_);
  // Now, and not beside CRIU, which writes, too.
  const ImageParts parts = sender_ ? sender_->next_parts(/*quiet=*/true) : std::nullopt;
  work_ = std::async(std::launch::async, [this, parts]() -> Result<> {
    if (sender_) first_ = VZ_TRY(pass({}, parts));
    return feed_->run(stop_);
  });
  return {};
}

Result<> LastPass::end_work() {
  if (!work_.valid()) return {};
  stop_.add();
  return work_.get();
}

Result<> LastPass::written() {
  VZ_TRY(end_work());
  if (!first_ || (writes_ && writes_of(device_) == writes_)) return {};
  clear_.emplace();
  second_ =
      std::async(std::launch::async, [this, parts = sender_->next_parts(/*quiet=*/true),
                                      free = clear_->get_future()]() mutable { return pass(std::move(free), parts); });
  return {};
}

Result<std::optional<MigratePass>> LastPass::second() {
  if (!second_.valid()) return std::nullopt;
  clear_->set_value(true);
  return VZ_TRY(second_.get());
}

void LastPass::drop() {
  (void)end_work();
  if (second_.valid()) {
    clear_->set_value(false);
    lost_ = !second_.get();
  }
  if (feed_) (void)feed_->drop();
  feed_.reset();
}

}  // namespace vz
