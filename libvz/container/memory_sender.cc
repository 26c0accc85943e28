// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/memory_sender.h"

#include <fcntl.h>

#include <algorithm>

#include <fmt/format.h>

#include "libvz/base/byte_order.h"
#include "libvz/container/migration_message.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process_usage.h"
#include "libvz/kernel/remote_task.h"

namespace vz {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kPiece = 1u << 20;
constexpr std::size_t kHead = 12;

// Reads the memory of one process and sends it. It goes by its number in the container's own pid namespace: one that
// is nested in it CRIU refuses.
class Reader {
 public:
  static Result<Reader> open(pid_t pid, FrameChannel& channel) {
    const pid_t inside = innermost_pid(pid);
    if (inside <= 0) return fail(Code::not_running, fmt::format("process {} has ended", pid));
    return Reader(VZ_TRY(open_file(fmt::format("/proc/{}/mem", pid), O_RDONLY)), static_cast<std::uint32_t>(inside),
                  channel);
  }
  Result<> send(const PageRange& range) {
    for (std::uint64_t at = range.begin; at < range.end;) {
      const auto want = static_cast<std::size_t>(std::min(kPiece, range.end - at));
      // Unmapped meanwhile: nobody will ask for it.
      auto data = read_at(memory_.get(), at, want);
      if (!data || data->size() < kPage) {
        at += kPage;
        continue;
      }
      data->resize(data->size() / kPage * kPage);
      VZ_TRY(channel_.send(kPages, little_endian32(inside_) + little_endian(at), *data));
      sent_ += data->size();
      at += data->size();
    }
    return {};
  }
  std::uint64_t sent() const { return sent_; }

 private:
  Reader(UniqueFd memory, std::uint32_t inside, FrameChannel& channel)
      : memory_(std::move(memory)), inside_(inside), channel_(channel) {}
  UniqueFd memory_;
  std::uint32_t inside_;
  FrameChannel& channel_;
  std::uint64_t sent_ = 0;
};

Result<std::vector<pid_t>> sorted_pids(const Cgroups& cgroups) {
  auto pids = VZ_TRY(cgroups.pids());
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

}  // namespace

Result<> MemorySender::track_new(const std::vector<pid_t>& pids) {
  std::erase_if(tracked_, [](const auto& entry) { return !is_alive(entry.second.id); });
  std::vector<pid_t> fresh;
  for (pid_t pid : pids)
    if (!tracked_.contains(pid)) fresh.push_back(pid);
  if (fresh.empty()) return {};
  auto descriptors = VZ_TRY(take_userfaultfds(fresh));
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    auto id = identify(fresh[i]);
    if (!descriptors[i] || !id) continue;
    auto tracker = PageTracker::open(fresh[i], std::move(descriptors[i]));
    if (!tracker && tracker.error().code() == Code::unsupported) return fail(std::move(tracker).error());
    if (tracker) tracked_.emplace(fresh[i], Tracked{*id, *std::move(tracker)});
  }
  return {};
}

Result<std::uint64_t> MemorySender::send(FrameChannel& channel, const std::function<bool(std::uint64_t)>& go_on) {
  auto pids = VZ_TRY(sorted_pids(cgroups_));
  VZ_TRY(track_new(pids));
  std::uint64_t sent = 0;
  for (pid_t pid : pids) {
    auto found = tracked_.find(pid);
    if (found == tracked_.end()) continue;
    auto reader = Reader::open(pid, channel);
    if (!reader) continue;
    auto done = found->second.tracker.scan([&](const PageRange& range) -> Result<> {
      VZ_TRY(reader->send(range));
      return go_on(sent + reader->sent()) ? Result<>() : fail(Code::io, "interrupted");
    });
    sent += reader->sent();
    if (!done && is_alive(found->second.id)) return fail(std::move(done).error());
  }
  VZ_TRY(channel.send(kEnd, ""));
  return sent;
}

Result<std::uint64_t> MemorySender::send_rest(FrameChannel& channel) {
  std::uint64_t sent = 0;
  for (pid_t pid : VZ_TRY(sorted_pids(cgroups_))) {
    auto reader = Reader::open(pid, channel);
    if (!reader) continue;
    auto found = tracked_.find(pid);
    const PageVisitor visit = [&](const PageRange& range) { return reader->send(range); };
    if (found != tracked_.end() && is_alive(found->second.id))
      VZ_TRY(found->second.tracker.finish(visit));
    else
      VZ_TRY(visit_pages(pid, visit));
    sent += reader->sent();
  }
  tracked_.clear();
  VZ_TRY(channel.send(kEnd, ""));
  return sent;
}

std::uint64_t private_memory(const std::vector<pid_t>& pids) {
  std::uint64_t kib = 0;
  for (pid_t pid : pids)
    if (auto status = read_process_status(pid)) kib += status->anonymous_kib;
  return kib * 1024;
}

Result<PagesFrame> parse_pages(std::string_view payload) {
  if (payload.size() <= kHead || (payload.size() - kHead) % kPage != 0)
    return fail(Code::bad_value, fmt::format("a frame of {} bytes is no memory", payload.size()));
  PagesFrame out;
  out.pid = from_little_endian32(payload);
  out.address = from_little_endian(payload.substr(4));
  out.data = payload.substr(kHead);
  if (out.pid == 0 || out.address % kPage != 0 || out.address > (std::uint64_t{1} << 57) - kPiece)
    return fail(Code::bad_value, fmt::format("memory of process {} at {:#x} cannot be", out.pid, out.address));
  return out;
}

}  // namespace vz
