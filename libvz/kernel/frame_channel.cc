// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/frame_channel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/kernel/clock.h"
#include "libvz/kernel/zstd.h"

namespace vz {

namespace {

// "vzm", the type, and the payload's length, little-endian.
constexpr std::size_t kHeader = 8;
constexpr std::string_view kMagic = "vzm";
// Of the type: the payload is a zstd frame.
constexpr std::uint8_t kCompressed = 0x80;
// Shorter ones hardly shrink.
constexpr std::size_t kWorthCompressing = 1024;
// The fastest: it has to keep up with a network.
constexpr int kLevel = 1;
// What was not used of the rate for longer than this is lost.
constexpr std::uint64_t kBurstNs = 50'000'000;

std::array<char, kHeader> header_of(std::uint8_t type, std::size_t size) {
  std::array<char, kHeader> out{};
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  out[3] = static_cast<char>(type);
  for (unsigned i = 0; i < 4; ++i) out[4 + i] = static_cast<char>(size >> (8 * i));
  return out;
}

// A pipe knows no flags and its reader's death is a signal: the programs that talk ignore SIGPIPE.
ssize_t write_some(int fd, std::array<iovec, 3>& parts) {
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  ssize_t n = ::sendmsg(fd, &message, MSG_NOSIGNAL);
  if (n < 0 && errno == ENOTSOCK) n = ::writev(fd, parts.data(), static_cast<int>(parts.size()));
  return n;
}

void advance(std::array<iovec, 3>& parts, std::size_t n) {
  for (auto& part : parts) {
    const std::size_t step = std::min(n, part.iov_len);
    part.iov_base = static_cast<char*>(part.iov_base) + step;
    part.iov_len -= step;
    n -= step;
  }
}

Error gone(const std::string& peer, const char* doing) {
  return Error(Code::connect, fmt::format("connection to {} was lost while {}", peer, doing));
}

Result<> read_exactly(int fd, char* to, std::size_t size, const std::string& peer) {
  while (size > 0) {
    ssize_t n = ::read(fd, to, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read from " + peer, Code::connect);
    if (n == 0) return fail(gone(peer, "waiting for its answer"));
    to += n;
    size -= static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace

void FrameChannel::keep_to_rate(std::size_t size) {
  if (rate_ == 0) return;
  const std::uint64_t now = monotonic_ns();
  free_at_ns_ = std::max(free_at_ns_, now > kBurstNs ? now - kBurstNs : 0);
  if (free_at_ns_ > now) {
    const std::uint64_t wait = free_at_ns_ - now;
    const timespec pause{static_cast<time_t>(wait / 1'000'000'000), static_cast<long>(wait % 1'000'000'000)};
    (void)::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
    waited_ns_ += monotonic_ns() - now;
  }
  free_at_ns_ += static_cast<std::uint64_t>(static_cast<double>(size) * 1e9 / static_cast<double>(rate_));
}

// Empty: it is to go as it is.
std::string FrameChannel::compressed(std::string_view head, std::string_view data) {
  const std::size_t size = head.size() + data.size();
  if (size < kWorthCompressing || !compress_.value_or(gain_.worth_trying())) return {};
  const std::uint64_t began = monotonic_ns();
  std::string out = head.empty() ? zstd_compress(data, kLevel) : zstd_compress(std::string(head).append(data), kLevel);
  gain_.compressed(size, out.empty() ? size : out.size(), monotonic_ns() - began);
  return out;
}

Result<> FrameChannel::send(std::uint8_t type, std::string_view head, std::string_view data) {
  std::size_t size = head.size() + data.size();
  if (size > kMaxPayload) return fail(Code::bad_value, fmt::format("a frame of {} bytes is too long", size));
  carried_ += kHeader + size;
  const std::string smaller = compressed(head, data);
  if (!smaller.empty()) {
    type |= kCompressed;
    head = {};
    data = smaller;
    size = smaller.size();
  }
  const std::uint64_t began = monotonic_ns();
  keep_to_rate(kHeader + size);
  auto header = header_of(type, size);
  std::array<iovec, 3> parts = {iovec{header.data(), header.size()}, iovec{const_cast<char*>(head.data()), head.size()},
                                iovec{const_cast<char*>(data.data()), data.size()}};
  for (std::size_t left = kHeader + size; left > 0;) {
    ssize_t n = write_some(out_.get(), parts);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) return fail(gone(peer_, "sending"));
    if (n < 0) return fail_errno("write to " + peer_, Code::connect);
    advance(parts, static_cast<std::size_t>(n));
    left -= static_cast<std::size_t>(n);
  }
  gain_.wrote(kHeader + size, monotonic_ns() - began);
  sent_ += kHeader + size;
  return {};
}

bool FrameChannel::has_more(std::chrono::milliseconds patience) const {
  pollfd in{in_.get(), POLLIN, 0};
  return ::poll(&in, 1, static_cast<int>(patience.count())) > 0;
}

Result<Frame> FrameChannel::receive() {
  std::array<char, kHeader> header;
  VZ_TRY(read_exactly(in_.get(), header.data(), header.size(), peer_));
  if (std::string_view(header.data(), kMagic.size()) != kMagic)
    return fail(Error(Code::bad_value, fmt::format("{} does not speak vz's protocol", peer_))
                    .with_hint("a login script there may print something before vzctl runs; it must not"));
  std::size_t size = 0;
  for (unsigned i = 0; i < 4; ++i) size |= std::size_t{static_cast<unsigned char>(header[4 + i])} << (8 * i);
  if (size > kMaxPayload) return fail(Code::bad_value, fmt::format("{} sends a frame of {} bytes", peer_, size));
  Frame frame{static_cast<std::uint8_t>(header[3]), std::string(size, '\0')};
  VZ_TRY(read_exactly(in_.get(), frame.payload.data(), size, peer_));
  if (!(frame.type & kCompressed)) return frame;
  auto plain = zstd_decompress(frame.payload, kMaxPayload);
  if (!plain) return fail(Code::bad_value, fmt::format("{} sends a compressed frame that is damaged", peer_));
  frame.type &= static_cast<std::uint8_t>(~kCompressed);
  frame.payload = *std::move(plain);
  return frame;
}

}  // namespace vz
