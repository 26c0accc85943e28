// SPDX-License-Identifier: LGPL-2.1-or-later
// Counted is what the wire carries: a packet that the kernel hands on in one piece to be cut up later (GSO, GRO) counts
// as the packets that it stands for, each with its headers. So the sums do not depend on offloads.
#include "libvz/kernel/traffic_program.h"

#include <cstddef>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

#include "libvz/kernel/bpf_code.h"

namespace vz {

namespace {

// Registers that survive calls, and what they hold.
enum Saved { context = 6, headers = 7, bytes = 8, packets = 9 };

// The stack frame, below r10.
constexpr int kContainer = -4;  // key of "vz_net"
constexpr int kIndex = -8;      // key of "vz_net_classes"
constexpr int kField = -12;     // up to four bytes of the packet
constexpr int kPlace = -16;     // offset of the family's and direction's counts in struct vz_net
constexpr int kNetwork = -40;   // key of the trie

constexpr int kHeader6 = 40;  // without extension headers

int place_of(vz_net_family family, vz_net_direction direction) {
  return static_cast<int>(offsetof(vz_net, ip) +
                          sizeof(vz_net_count) * VZ_NET_CLASSES *
                              static_cast<std::size_t>(int{family} * int{VZ_NET_DIRECTIONS} + int{direction}));
}

void load_context(BpfCode& c, int dst, std::size_t field) { c.load(BPF_W, dst, context, static_cast<int>(field)); }

// bpf_skb_load_bytes(offset, size) to the stack. A packet that is too short goes to `otherwise`.
void copy(BpfCode& c, int offset, int to, int size, BpfCode::Label& otherwise) {
  c.move(1, context);
  c.set(2, offset);
  c.move(3, 10);
  c.alu(BPF_ADD, 3, to);
  c.set(4, size);
  c.call(BPF_FUNC_skb_load_bytes);
  c.jump_if(BPF_JNE, 0, 0, otherwise);
}

// r2: a byte of the transport header, which begins behind the Ethernet header and `headers` bytes.
void copy_transport_byte(BpfCode& c, int offset, BpfCode::Label& otherwise) {
  c.move(1, context);
  c.move(2, headers);
  c.alu(BPF_ADD, 2, ETH_HLEN + offset);
  c.move(3, 10);
  c.alu(BPF_ADD, 3, kField);
  c.set(4, 1);
  c.call(BPF_FUNC_skb_load_bytes);
  c.jump_if(BPF_JNE, 0, 0, otherwise);
  c.load(BPF_B, 2, 10, kField);
}

// `headers`: bytes of the IP and the transport header, for packets that stand for several.
void measure_headers(BpfCode& c, vz_net_family family, BpfCode::Label& otherwise) {
  BpfCode::Label udp, known;
  if (family == VZ_NET_IP4) {
    copy(c, ETH_HLEN, kField, 1, otherwise);
    c.load(BPF_B, headers, 10, kField);
    c.alu(BPF_AND, headers, 15);
    c.alu(BPF_LSH, headers, 2);
    copy(c, ETH_HLEN + 9, kField, 1, otherwise);
  } else {
    c.set(headers, kHeader6);
    copy(c, ETH_HLEN + 6, kField, 1, otherwise);
  }
  c.load(BPF_B, 2, 10, kField);
  c.jump_if(BPF_JEQ, 2, IPPROTO_UDP, udp);
  c.jump_if(BPF_JNE, 2, IPPROTO_TCP, known);
  copy_transport_byte(c, 12, otherwise);
  c.alu(BPF_RSH, 2, 4);
  c.alu(BPF_LSH, 2, 2);
  c.alu_reg(BPF_ADD, headers, 2);
  c.jump(known);
  c.land(udp);
  c.alu(BPF_ADD, headers, 8);
  c.land(known);
}

// With r2 = gso_size: packets = (bytes - headers) / r2, rounded up; bytes grow by a header for each but the first.
void multiply(BpfCode& c) {
  BpfCode::Label single;
  load_context(c, 2, offsetof(__sk_buff, gso_size));
  c.jump_if(BPF_JEQ, 2, 0, single);
  c.move(3, bytes);
  c.alu_reg(BPF_SUB, 3, headers);
  c.jump_if(BPF_JSLE, 3, 0, single);
  c.alu_reg(BPF_ADD, 3, 2);
  c.alu(BPF_SUB, 3, 1);
  c.alu_reg(BPF_DIV, 3, 2);
  c.move(packets, 3);
  c.alu(BPF_SUB, 3, 1);
  c.alu_reg(BPF_MUL, 3, headers);
  c.alu_reg(BPF_ADD, bytes, 3);
  c.land(single);
}

// Link-local multicast (224.0.0.0/24, ff02::/16) is what ARP is: neither routed nor anybody's network. The kernel sends
// it by itself, MLD reports above all, so a class of networks would grow by what nobody sent.
void leave_out_link_local_multicast(BpfCode& c, vz_net_family family, BpfCode::Label& otherwise) {
  const bool ip4 = family == VZ_NET_IP4;
  copy(c, ETH_HLEN + (ip4 ? 16 : 24), kField, 4, otherwise);
  c.load(BPF_W, 2, 10, kField);
  c.alu(BPF_AND, 2, static_cast<std::int32_t>(htonl(ip4 ? 0xffffff00 : 0xffff0000)));
  c.jump_if_word(BPF_JEQ, 2, static_cast<std::int32_t>(htonl(ip4 ? 0xe0000000 : 0xff020000)), otherwise);
}

// The peer's address as a key of the trie, and the family's place.
void classify_by(BpfCode& c, vz_net_family family, vz_net_direction direction, BpfCode::Label& otherwise) {
  const int size = family == VZ_NET_IP4 ? 4 : 16;
  const int source = family == VZ_NET_IP4 ? 12 : 8;
  leave_out_link_local_multicast(c, family, otherwise);
  copy(c, ETH_HLEN + source + (direction == VZ_NET_OUT ? size : 0),
       kNetwork + static_cast<int>(offsetof(vz_net_key, address)), size, otherwise);
  c.store_value(BPF_W, 10, kNetwork + static_cast<int>(offsetof(vz_net_key, prefixlen)), 32 + 8 * size);
  c.store_value(BPF_W, 10, kNetwork + static_cast<int>(offsetof(vz_net_key, family)), family);
  c.store_value(BPF_W, 10, kPlace, place_of(family, direction));
  BpfCode::Label single;
  load_context(c, 2, offsetof(__sk_buff, gso_size));
  c.jump_if(BPF_JEQ, 2, 0, single);
  measure_headers(c, family, single);
  multiply(c);
  c.land(single);
}

// r0 = pointer to the value, or the label.
void look_up(BpfCode& c, int key, BpfCode::Label& otherwise) {
  c.move(2, 10);
  c.alu(BPF_ADD, 2, key);
  c.call(BPF_FUNC_map_lookup_elem);
  c.jump_if(BPF_JEQ, 0, 0, otherwise);
}

// kPlace becomes the offset of the one count that this packet is for.
void add_class(BpfCode& c, int classes) {
  BpfCode::Label none;
  c.load_map(1, classes);
  look_up(c, kIndex, none);
  c.move(1, 0);
  look_up(c, kNetwork, none);
  c.load(BPF_W, 2, 0, 0);
  c.alu(BPF_AND, 2, VZ_NET_CLASSES - 1);
  c.op(BPF_ALU64 | BPF_MUL | BPF_K, 2, 0, 0, sizeof(vz_net_count));
  c.load(BPF_W, 3, 10, kPlace);
  c.alu_reg(BPF_ADD, 3, 2);
  c.store(BPF_W, 10, kPlace, 3);
  c.land(none);
}

void count(BpfCode& c, int counts) {
  BpfCode::Label end;
  c.load_map(1, counts);
  look_up(c, kContainer, end);
  c.load(BPF_W, 2, 10, kPlace);
  // For the verifier, which does not follow the sums above: in bounds and aligned.
  c.alu(BPF_AND, 2, ~15);
  c.jump_if(BPF_JGT, 2, static_cast<int>(sizeof(vz_net) - sizeof(vz_net_count)), end);
  c.alu_reg(BPF_ADD, 0, 2);
  c.add_atomically(0, offsetof(vz_net_count, bytes), bytes);
  c.add_atomically(0, offsetof(vz_net_count, packets), packets);
  c.land(end);
  c.set(0, -1);  // TCX_NEXT: the administrator's own programs and filters come after this one
  c.exit();
}

}  // namespace

std::vector<bpf_insn> build_traffic_program(std::uint32_t ctid, vz_net_direction direction, int counts, int classes) {
  BpfCode c;
  BpfCode::Label other, not_ip4, find_class, add;
  c.move(context, 1);
  c.set(headers, 0);
  c.set(packets, 1);
  c.store_value(BPF_W, 10, kContainer, static_cast<std::int32_t>(ctid));
  c.store_value(BPF_W, 10, kIndex, 0);
  c.store_value(BPF_DW, 10, kNetwork, 0);
  c.store_value(BPF_DW, 10, kNetwork + 8, 0);
  c.store_value(BPF_DW, 10, kNetwork + 16, 0);
  load_context(c, bytes, offsetof(__sk_buff, len));
  c.alu(BPF_SUB, bytes, ETH_HLEN);
  load_context(c, 2, offsetof(__sk_buff, protocol));
  c.jump_if(BPF_JNE, 2, htons(ETH_P_IP), not_ip4);
  classify_by(c, VZ_NET_IP4, direction, other);
  c.jump(find_class);
  c.land(not_ip4);
  c.jump_if(BPF_JNE, 2, htons(ETH_P_IPV6), other);
  classify_by(c, VZ_NET_IP6, direction, other);
  c.land(find_class);
  add_class(c, classes);
  c.jump(add);
  c.land(other);
  c.store_value(BPF_W, 10, kPlace,
                static_cast<int>(offsetof(vz_net, other) + sizeof(vz_net_count) * static_cast<std::size_t>(direction)));
  c.land(add);
  count(c, counts);
  return std::move(c).finish();
}

}  // namespace vz
