// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/ub_ring.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/kernel/bpf_call.h"
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/filelock.h"

namespace vz {

namespace {

constexpr std::size_t kPage = 4096;  // x86-64
constexpr std::size_t kData = VZ_UB_RING_SIZE;
constexpr std::uint32_t kBusy = 1u << 31, kDiscarded = 1u << 30;  // BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT
constexpr std::size_t kHeader = 8;                                // BPF_RINGBUF_HDR_SZ

Result<UniqueFd> create_ring() {
  auto attr = empty_bpf_attr();
  attr.map_type = BPF_MAP_TYPE_RINGBUF;
  attr.max_entries = kData;
  std::memcpy(attr.map_name, "vz_ub_ring", sizeof "vz_ub_ring");
  UniqueFd fd(bpf(BPF_MAP_CREATE, attr));
  if (!fd) return fail_errno("make a BPF ring buffer");
  return fd;
}

Result<> put(const UniqueFd& slots, std::uint32_t slot, int ring) {
  auto attr = empty_bpf_attr();
  attr.map_fd = static_cast<__u32>(slots.get());
  attr.key = bpf_address(&slot);
  attr.value = bpf_address(&ring);
  if (bpf(BPF_MAP_UPDATE_ELEM, attr) != 0) return fail_errno("subscribe to events of beancounters");
  return {};
}

template <typename Number>
std::atomic_ref<Number> shared(void* at) {
  return std::atomic_ref<Number>(*static_cast<Number*>(at));
}

}  // namespace

UbRing::UbRing(UbRing&& other) noexcept
    : ring_(std::move(other.ring_)),
      slots_(std::move(other.slots_)),
      lock_(std::move(other.lock_)),
      slot_(std::exchange(other.slot_, VZ_UB_SUBSCRIBERS)),
      consumer_(std::exchange(other.consumer_, nullptr)),
      producer_(std::exchange(other.producer_, nullptr)) {}

UbRing::~UbRing() {
  if (slot_ < VZ_UB_SUBSCRIBERS) {
    std::uint32_t slot = slot_;
    auto attr = empty_bpf_attr();
    attr.map_fd = static_cast<__u32>(slots_.get());
    attr.key = bpf_address(&slot);
    (void)bpf(BPF_MAP_DELETE_ELEM, attr);
  }
  if (producer_) (void)::munmap(producer_, kPage + 2 * kData);
  if (consumer_) (void)::munmap(consumer_, kPage);
}

Result<> UbRing::map() {
  void* consumer = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, ring_.get(), 0);
  if (consumer == MAP_FAILED) return fail_errno("map a BPF ring buffer");
  consumer_ = consumer;
  void* producer = ::mmap(nullptr, kPage + 2 * kData, PROT_READ, MAP_SHARED, ring_.get(), kPage);
  if (producer == MAP_FAILED) return fail_errno("map a BPF ring buffer");
  producer_ = producer;
  return {};
}

Result<> UbRing::take_slot(const std::string& locks, const UniqueFd& slots) {
  VZ_TRY(make_dirs(locks, 0700));
  for (unsigned slot = 0; slot < VZ_UB_SUBSCRIBERS; ++slot) {
    auto lock = VZ_TRY(try_lock_file(fmt::format("{}/{}", locks, slot), 0600));
    if (!lock) continue;
    VZ_TRY(put(slots, slot, ring_.get()));
    lock_ = std::move(*lock);
    slot_ = slot;
    return {};
  }
  return fail(Error(Code::no_resources, fmt::format("{} programs wait for events of beancounters already, which is all "
                                                    "that can",
                                                    VZ_UB_SUBSCRIBERS)));
}

Result<UbRing> UbRing::subscribe(const std::string& locks, const std::string& pins) {
  UbRing out;
  out.slots_ = VZ_TRY(open_bpf_pin("BPF map", pins + "/vz_ub_rings"));
  out.ring_ = VZ_TRY(create_ring());
  VZ_TRY(out.map());
  VZ_TRY(out.take_slot(locks, out.slots_));
  return out;
}

std::vector<vz_ub_event> UbRing::drain() {
  std::vector<vz_ub_event> out;
  auto* data = static_cast<std::byte*>(producer_) + kPage;
  std::uint64_t at = shared<std::uint64_t>(consumer_).load(std::memory_order_relaxed);
  const std::uint64_t end = shared<std::uint64_t>(producer_).load(std::memory_order_acquire);
  while (at < end) {
    auto* record = data + at % kData;
    const std::uint32_t length = shared<std::uint32_t>(record).load(std::memory_order_acquire);
    if (length & kBusy) break;
    const std::uint32_t size = length & ~kDiscarded;
    if (!(length & kDiscarded) && size == sizeof(vz_ub_event)) {
      vz_ub_event event;
      std::memcpy(&event, record + kHeader, sizeof event);
      out.push_back(event);
    }
    at += (size + kHeader + 7) / 8 * 8;
    shared<std::uint64_t>(consumer_).store(at, std::memory_order_release);
  }
  return out;
}

}  // namespace vz
