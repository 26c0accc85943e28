// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/image_pass.h"

#include <chrono>

#include "libvz/container/migration_message.h"
#include "libvz/kernel/clock.h"

namespace vz {

namespace {

constexpr std::size_t kKept = 16u << 20;
constexpr const char* kRequestName = "pass";

}  // namespace

Result<> PassOutbox::open() {
  if (asked_) return {};
  if (free_.valid() && !free_.get()) return fail(Code::io, "the pass was given up");
  VZ_TRY(ask(channel_, {kRequestName, {}}));
  asked_ = true;
  for (const auto& frame : kept_) VZ_TRY(channel_.send(frame.type, frame.payload));
  kept_.clear();
  return {};
}

Result<> PassOutbox::send(std::uint8_t type, std::string_view head, std::string_view data) {
  const bool busy = !asked_ && free_.valid() && free_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
  if (busy && kept_bytes_ + head.size() + data.size() <= kKept) {
    kept_.push_back({type, std::string(head).append(data)});
    kept_bytes_ += head.size() + data.size();
    return {};
  }
  VZ_TRY(open());
  return channel_.send(type, head, data);
}

Result<> PassOutbox::finish() {
  VZ_TRY(open());
  VZ_TRY(channel_.send(kEnd, ""));
  VZ_TRY(receive_answer(channel_, kRequestName));
  return {};
}

Result<MigratePass> send_image_pass(PassOutbox& outbox, ImageSender& sender, const ImageProgress& progress,
                                    const ImageParts& parts) {
  const auto began = monotonic_ns();
  const auto through = [&](std::uint8_t type, std::string_view head, std::string_view data) {
    return outbox.send(type, head, data);
  };
  MigratePass pass;
  auto delta = VZ_TRY(sender.send(through, progress, parts));
  VZ_TRY(outbox.finish());
  pass.read = delta.read;
  pass.sent = delta.sent;
  pass.took_ms = (monotonic_ns() - began) / 1'000'000;
  return pass;
}

}  // namespace vz
