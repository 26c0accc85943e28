// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/dump_feed.h"

#include <cerrno>
#include <chrono>

#include <fcntl.h>
#include <poll.h>

#include "libvz/container/dump_stream.h"
#include "libvz/container/migration_message.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr const char* kRequestName = "dump";
// For the reason of an end that has come already.
constexpr std::chrono::milliseconds kReason{1000};

}  // namespace

Result<DumpFeed> DumpFeed::begin(FrameChannel& channel, const UniqueFd& images, bool late) {
  UniqueFd own = images.dup();
  if (!own) return fail_errno("dup");
  DumpFeed out(channel, std::move(own), late);
  if (auto watch = WrittenFiles::watch(images.get())) out.written_.emplace(*std::move(watch));
  return out;
}

// The other end says why it hangs up, and that may be there to be read when nothing can be sent any more.
Error DumpFeed::reason(Error lost) const {
  if (lost.code() != Code::connect || !channel_->has_more(kReason)) return lost;
  auto said = receive_answer(*channel_, kRequestName);
  return said || said.error().code() == Code::connect ? lost : std::move(said).error();
}

// A change that comes with a file's closing, or before it, is in what is read then: only who reads the events first,
// and the file after that, may believe that nothing has changed as long as no other event comes.
Result<> DumpFeed::note() {
  if (!written_) return {};
  for (const auto& event : VZ_TRY(written_->take())) {
    if (event.name.empty()) {
      sent_.clear();
      closed_.clear();
    } else if (event.closed && !sent_.contains(event.name)) {
      closed_.insert(event.name);
    } else if (!event.closed) {
      sent_.erase(event.name);
      closed_.erase(event.name);
    }
  }
  return {};
}

Result<> DumpFeed::send(const std::string& name) {
  UniqueFd fd = VZ_TRY(open_written_image(images_.get(), name));
  auto file = VZ_TRY(send_dump_file(*channel_, fd, name, image_name(name)));
  bytes_ += file.size;
  sent_[name] = std::move(file);
  return {};
}

Result<> DumpFeed::run(const EventCounter& stop) {
  VZ_TRY(ask(*channel_, {kRequestName, {{"durable", "no"}, {"late", late_ ? "yes" : "no"}}}));
  open_ = true;
  for (;;) {
    pollfd both[] = {{stop.fd(), POLLIN, 0}, {written_ ? written_->fd() : -1, POLLIN, 0}};
    // Not all at once: who waits for the end sends what is left himself.
    if (::poll(both, 2, closed_.empty() ? -1 : 0) < 0 && errno != EINTR) return fail_errno("poll");
    if (both[0].revents) return {};
    VZ_TRY(note());
    if (closed_.empty()) continue;
    const auto name = *closed_.begin();
    closed_.erase(closed_.begin());
    // What could not be read, since it is gone again or being written anew, is looked at again in the end.
    if (auto sent = send(name); !sent && sent.error().code() == Code::connect)
      return fail(reason(std::move(sent).error()));
  }
}

Result<KnownFiles> DumpFeed::known() {
  VZ_TRY(note());
  return sent_;
}

Result<> DumpFeed::end() {
  open_ = false;
  VZ_TRY(channel_->send(kEnd, ""));
  VZ_TRY(receive_answer(*channel_, kRequestName));
  return {};
}

Result<std::uint64_t> DumpFeed::finish(const std::string& dump) {
  auto rest = [&]() -> Result<> {
    Dump whole = VZ_TRY(open_dump(dump));
    for (const auto& file : whole.manifest.files) {
      auto at = sent_.find(file.name);
      if (at == sent_.end() || at->second != file) VZ_TRY(send(file.name));
    }
    bytes_ += VZ_TRY(send_manifest(*channel_, dump));
    return end();
  };
  if (auto done = rest(); !done) return fail(reason(std::move(done).error()));
  return bytes_;
}

Result<> DumpFeed::drop() {
  closed_.clear();
  return open_ ? end() : Result<>();
}

}  // namespace vz
