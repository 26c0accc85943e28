// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/packet_keeper.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <cstring>

namespace vz {

namespace {

constexpr std::uint32_t kKeptMax = 16u << 20;
constexpr std::size_t kHeader = 10;  // struct virtio_net_hdr; its header is no C++
constexpr std::uint32_t kTypeAt = 2 * ETH_ALEN;
constexpr std::uint32_t kDestination4 = ETH_HLEN + 16, kDestination6 = ETH_HLEN + 24;

std::uint32_t word(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
}

sock_filter load(std::uint16_t size, std::uint32_t at) {
  return {static_cast<std::uint16_t>(BPF_LD | size | BPF_ABS), 0, 0, at};
}
sock_filter unless_equal(std::uint32_t value, std::size_t skip) {
  return {BPF_JMP | BPF_JEQ | BPF_K, 0, static_cast<std::uint8_t>(skip), value};
}
sock_filter answer(std::uint32_t bytes) { return {BPF_RET | BPF_K, 0, 0, bytes}; }

// Every address has its own piece of program, which accepts or goes on behind its end.
void add_address(std::vector<sock_filter>& out, const IpAddress& a) {
  const std::size_t words = a.v6 ? 4 : 1;
  std::size_t left = 2 + 2 * words + 1;
  auto push = [&](sock_filter f) {
    --left;
    if (f.code == (BPF_JMP | BPF_JEQ | BPF_K)) f.jf = static_cast<std::uint8_t>(left);
    out.push_back(f);
  };
  push(load(BPF_H, kTypeAt));
  push(unless_equal(a.v6 ? ETH_P_IPV6 : ETH_P_IP, 0));
  for (std::size_t i = 0; i < words; ++i) {
    push(load(BPF_W, (a.v6 ? kDestination6 : kDestination4) + static_cast<std::uint32_t>(4 * i)));
    push(unless_equal(word(a.bytes + 4 * i), 0));
  }
  push(answer(UINT32_MAX));
}

std::vector<sock_filter> filter_for(const std::vector<IpAddress>& addresses) {
  std::vector<sock_filter> out;
  // What this host itself sends out of the device would come back as a copy.
  out.push_back(load(BPF_W, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)));
  out.push_back(unless_equal(PACKET_OUTGOING, 1));
  out.push_back(answer(0));
  for (const auto& a : addresses) add_address(out, a);
  out.push_back(answer(0));
  return out;
}

}  // namespace

Result<PacketKeeper> PacketKeeper::open(const std::string& link, const std::vector<IpAddress>& addresses) {
  auto socket = VZ_TRY(PacketSocket::open(link));
  const auto filter = filter_for(addresses);
  if (filter.size() > BPF_MAXINSNS) return fail(Code::system, "too many addresses for one packet filter");
  VZ_TRY(socket.listen(filter.data(), filter.size(), kKeptMax));
  return PacketKeeper(std::move(socket));
}

Result<std::size_t> PacketKeeper::deliver(const std::string& link, const MacAddress& mac) {
  out_ = VZ_TRY(PacketSocket::open(link));
  VZ_TRY(out_->with_offload_header());
  std::size_t count = 0;
  for (;;) {
    auto frame = VZ_TRY(socket_.receive());
    if (!frame) return count;
    if (frame->size() < kHeader + ETH_HLEN) continue;
    std::memcpy(frame->data() + kHeader, mac.bytes, ETH_ALEN);
    std::memcpy(frame->data() + kHeader + ETH_ALEN, mac.bytes, ETH_ALEN);
    // One that cannot be sent is lost, as it can happen to any.
    if (out_->send(*frame)) ++count;
  }
}

}  // namespace vz
