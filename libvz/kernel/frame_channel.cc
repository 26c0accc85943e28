// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/frame_channel.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <fmt/format.h>

namespace vz {

namespace {

// "vzm", the type, and the payload's length, little-endian.
constexpr std::size_t kHeader = 8;
constexpr std::string_view kMagic = "vzm";

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

Result<> FrameChannel::send(std::uint8_t type, std::string_view head, std::string_view data) {
  const std::size_t size = head.size() + data.size();
  if (size > kMaxPayload) return fail(Code::bad_value, fmt::format("a frame of {} bytes is too long", size));
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
  sent_ += kHeader + size;
  return {};
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
  return frame;
}

}  // namespace vz
