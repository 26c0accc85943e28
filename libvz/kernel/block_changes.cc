// SPDX-License-Identifier: LGPL-2.1-or-later
// Documentation/trace/events.rst; block/blk-mq.c: a request's sectors are traced just before they are counted.
#include "libvz/kernel/block_changes.h"

#include <algorithm>
#include <atomic>

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/bpf_call.h"
#include "libvz/kernel/bpf_code.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/loopdev.h"
#include "libvz/kernel/mount.h"

namespace vz {

namespace {

// Words of the map: how many sectors were seen, whether a request was too long to mark all its parts, the marks.
constexpr std::uint32_t kSeen = 0, kAll = 1, kMarks = 2;
constexpr int kSmallestShift = 9;              // 256 KiB
constexpr std::uint64_t kMostMarks = 1 << 18;  // 2 MiB of them
// Parts of one request. The longest write of a loop device is 4 MiB; discards may be longer.
constexpr int kMostParts = 18;

// Registers that survive calls, and what they hold.
enum Saved { first = 6, rest = 7, sectors = 8 };
constexpr int kKey = -4;  // below r10

Error no_layout(std::string_view what) {
  return Error(Code::unsupported, fmt::format("the tracepoint block_rq_complete has no {} that we know", what));
}

// "\tfield:sector_t sector;\toffset:16;\tsize:8;\tsigned:0;"
Result<int> field_offset(std::string_view format, std::string_view name, std::uint64_t size) {
  for (const auto& line : split(format, '\n')) {
    const auto parts = split(line, ';');
    if (parts.size() < 3) continue;
    const auto words = split_blank(parts[0]);
    if (words.size() < 2 || split(words.back(), '[')[0] != name) continue;
    const auto offset = trim(parts[1]), length = trim(parts[2]);
    constexpr std::string_view kOffset = "offset:", kSize = "size:";
    if (!offset.starts_with(kOffset) || !length.starts_with(kSize)) break;
    const auto at = VZ_TRY(parse_u64(offset.substr(kOffset.size())));
    const auto bytes = VZ_TRY(parse_u64(length.substr(kSize.size())));
    if (bytes < size || at % size != 0 || at > 4096) break;
    return static_cast<int>(at);
  }
  return fail(no_layout(name));
}

// r0: the word whose number is on the stack.
void look_up(BpfCode& c, int map, BpfCode::Label& otherwise) {
  c.load_map(1, map);
  c.move(2, 10);
  c.alu(BPF_ADD, 2, kKey);
  c.call(BPF_FUNC_map_lookup_elem);
  c.jump_if(BPF_JEQ, 0, 0, otherwise);
}

std::vector<bpf_insn> program_code(const BlockEventLayout& at, std::uint32_t device, int map, int shift) {
  BpfCode c;
  BpfCode::Label all, count, out;
  c.load(BPF_W, 2, 1, at.device);
  c.jump_if_word(BPF_JNE, 2, static_cast<std::int32_t>(device), out);
  c.load(BPF_B, 2, 1, at.operation);
  c.jump_if(BPF_JEQ, 2, 'R', out);
  c.load(BPF_W, sectors, 1, at.sectors);
  c.jump_if(BPF_JEQ, sectors, 0, out);  // a flush
  c.load(BPF_DW, first, 1, at.sector);
  c.move(rest, first);
  c.alu_reg(BPF_ADD, rest, sectors);
  c.alu(BPF_SUB, rest, 1);
  c.alu(BPF_RSH, rest, shift);
  c.alu(BPF_RSH, first, shift);
  c.alu_reg(BPF_SUB, rest, first);
  c.jump_if(BPF_JGE, rest, kMostParts, all);
  c.alu(BPF_ADD, first, kMarks);
  for (int i = 0; i < kMostParts; ++i) {
    c.store(BPF_W, 10, kKey, first);
    look_up(c, map, all);
    c.store_value(BPF_DW, 0, 0, 1);
    c.jump_if(BPF_JEQ, rest, i, count);
    c.alu(BPF_ADD, first, 1);
  }
  c.land(all);
  c.store_value(BPF_W, 10, kKey, kAll);
  look_up(c, map, out);
  c.store_value(BPF_DW, 0, 0, 1);
  // Last: who sees this count sees the marks.
  c.land(count);
  c.store_value(BPF_W, 10, kKey, kSeen);
  look_up(c, map, out);
  c.add_atomically(0, 0, sectors);
  c.land(out);
  c.set(0, 0);
  c.exit();
  return std::move(c).finish();
}

// As the kernel has it, which is not what stat(2) says: 12 bits, 20 bits.
Result<std::uint32_t> kernel_device_number(const std::string& name) {
  const auto text = VZ_TRY(read_file("/sys/block/" + name + "/dev"));
  const auto numbers = split(trim(text), ':');
  if (numbers.size() != 2) return fail(Code::unsupported, "/sys/block/" + name + "/dev is " + text);
  return static_cast<std::uint32_t>(VZ_TRY(parse_u64(numbers[0])) << 20 | VZ_TRY(parse_u64(numbers[1])));
}

std::atomic_ref<std::uint64_t> word(std::uint64_t* words, std::uint32_t index) {
  return std::atomic_ref<std::uint64_t>(words[index]);
}

}  // namespace

Result<BlockEventLayout> parse_block_event(std::string_view format) {
  BlockEventLayout out;
  out.device = VZ_TRY(field_offset(format, "dev", 4));
  out.sector = VZ_TRY(field_offset(format, "sector", 8));
  out.sectors = VZ_TRY(field_offset(format, "nr_sector", 4));
  out.operation = VZ_TRY(field_offset(format, "rwbs", 1));
  return out;
}

void BlockChanges::Unmap::operator()(std::uint64_t* words) const { ::munmap(words, bytes); }

Result<> BlockChanges::create_map() {
  auto attr = empty_bpf_attr();
  attr.map_type = BPF_MAP_TYPE_ARRAY;
  attr.key_size = sizeof(std::uint32_t);
  attr.value_size = sizeof(std::uint64_t);
  attr.max_entries = kMarks + marks_;
  attr.map_flags = BPF_F_MMAPABLE;
  map_.reset(bpf(BPF_MAP_CREATE, attr));
  if (!map_) return fail_errno("make a BPF array");
  const std::size_t bytes = attr.max_entries * sizeof(std::uint64_t);
  void* words = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_.get(), 0);
  if (words == MAP_FAILED) return fail_errno("map a BPF array");
  words_ = {static_cast<std::uint64_t*>(words), Unmap{bytes}};
  return {};
}

Result<> BlockChanges::attach(std::uint64_t device_number) {
  const UniqueFd tracefs = VZ_TRY(new_mount("tracefs", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  const std::string event = "events/block/block_rq_complete/";
  const auto layout = VZ_TRY(parse_block_event(VZ_TRY(read_file_at(tracefs.get(), event + "format"))));
  const auto id = VZ_TRY(read_file_at(tracefs.get(), event + "id"));

  const auto code = program_code(layout, static_cast<std::uint32_t>(device_number), map_.get(), shift_);
  auto attr = empty_bpf_attr();
  attr.prog_type = BPF_PROG_TYPE_TRACEPOINT;
  attr.insns = bpf_address(code.data());
  attr.insn_cnt = static_cast<__u32>(code.size());
  attr.license = bpf_address("GPL");
  program_.reset(bpf(BPF_PROG_LOAD, attr));
  if (!program_) return fail_errno("load a BPF program");

  perf_event_attr perf{};
  perf.size = sizeof perf;
  perf.type = PERF_TYPE_TRACEPOINT;
  perf.config = VZ_TRY(parse_u64(trim(id)));
  perf.sample_period = 1;
  // A program of a tracepoint runs on every CPU, whichever its event is for.
  event_.reset(static_cast<int>(::syscall(SYS_perf_event_open, &perf, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event_) return fail_errno("perf_event_open");
  if (::ioctl(event_.get(), PERF_EVENT_IOC_SET_BPF, program_.get()) != 0) return fail_errno("attach a BPF program");
  if (::ioctl(event_.get(), PERF_EVENT_IOC_ENABLE, 0) != 0) return fail_errno("enable a tracepoint");
  return {};
}

std::uint64_t BlockChanges::seen() const { return word(words_.get(), kSeen).load(std::memory_order_acquire); }

Result<BlockChanges> BlockChanges::watch(const std::string& device, std::uint64_t size) {
  BlockChanges out;
  out.device_ = device;
  out.size_ = size;
  const std::string name = device.substr(device.rfind('/') + 1);
  // A part of a file would be at other offsets.
  for (const char* file : {"offset", "sizelimit"}) {
    auto value = read_file("/sys/block/" + name + "/loop/" + file);
    if (!value || trim(*value) != "0") return fail(Code::unsupported, device + " is no loop device on a whole file");
  }
  const auto number = VZ_TRY(kernel_device_number(name));
  const std::uint64_t all_sectors = (size + 511) / 512;
  out.shift_ = kSmallestShift;
  while (all_sectors >> out.shift_ >= kMostMarks) ++out.shift_;
  out.marks_ = static_cast<std::uint32_t>((all_sectors >> out.shift_) + 1);
  VZ_TRY(out.create_map());
  VZ_TRY(out.attach(number));
  // A request is seen, then counted: between two equal looks at what was seen, the device has counted nothing that was
  // not seen before. What it counts later of what was seen before makes the sums differ, which is safe.
  for (int attempt = 0; attempt < 100; ++attempt) {
    const auto before = out.seen();
    const auto counted = VZ_TRY(written_sectors(device));
    if (out.seen() != before) continue;
    out.lead_ = counted - before;
    return out;
  }
  return fail(Code::unsupported, device + " is written all the time");
}

std::optional<std::vector<Extent>> BlockChanges::take() {
  // Cleared first, then the marks: a mark that comes later is one more reason to read, and no less.
  const bool all = word(words_.get(), kAll).exchange(0) != 0;
  std::vector<Extent> out;
  const std::uint64_t length = std::uint64_t{512} << shift_;
  for (std::uint32_t i = 0; i < marks_; ++i) {
    auto mark = word(words_.get(), kMarks + i);
    if (mark.load(std::memory_order_relaxed) == 0) continue;
    mark.exchange(0);
    const std::uint64_t begin = i * length;
    if (begin >= size_) break;
    if (!out.empty() && out.back().end == begin)
      out.back().end = std::min(begin + length, size_);
    else
      out.push_back({begin, std::min(begin + length, size_)});
  }
  if (all) return std::nullopt;
  return out;
}

bool BlockChanges::complete() const {
  const auto counted = written_sectors(device_);
  return counted && *counted == lead_ + seen();
}

}  // namespace vz
