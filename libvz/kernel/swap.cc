// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/swap.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

// union swap_header of the kernel (include/linux/swap.h), version 1: fields behind 1024 boot bytes, the signature in
// the last ten bytes of the page.
constexpr std::size_t kVersionAt = 1024, kLastPageAt = 1028, kUuidAt = 1036, kLabelAt = 1052, kLabelSize = 16;
constexpr std::string_view kSignature = "SWAPSPACE2";
constexpr std::size_t kUuidSize = 16;

std::optional<std::array<char, kUuidSize>> parse_uuid(std::string_view text) {
  std::array<char, kUuidSize> out{};
  std::size_t digits = 0;
  for (char c : text) {
    if (c == '-') continue;
    int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0 || digits == 2 * kUuidSize) return std::nullopt;
    out[digits / 2] = static_cast<char>(static_cast<unsigned char>(out[digits / 2]) << 4 | value);
    ++digits;
  }
  if (digits != 2 * kUuidSize) return std::nullopt;
  return out;
}

std::string format_uuid(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    auto byte = static_cast<unsigned char>(bytes[i]);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::size_t page_size() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

int parse_priority(std::string_view text) {
  bool negative = text.starts_with('-');
  auto value = parse_u64(negative ? text.substr(1) : text);
  int number = value ? static_cast<int>(std::min<std::uint64_t>(*value, 32767)) : 0;
  return negative ? -number : number;
}

}  // namespace

std::vector<SwapArea> parse_swaps(std::string_view text) {
  std::vector<SwapArea> out;
  for (const auto& line : split(text, '\n')) {
    auto fields = split_blank(line);
    // "PATH TYPE SIZE USED PRIORITY"; an area whose file was removed has "\040(deleted)" in its path.
    if (fields.size() != 5) continue;
    auto kib = parse_u64(fields[2]), used = parse_u64(fields[3]);
    if (!kib || !used) continue;  // the heading
    out.push_back({unescape_octal(fields[0]), *kib * 1024, *used * 1024, parse_priority(fields[4]), ""});
  }
  return out;
}

Result<std::vector<SwapArea>> swap_areas() {
  auto text = read_file("/proc/swaps");
  if (!text && text.error().sys_errno() == ENOENT) return std::vector<SwapArea>();  // a kernel without swap
  if (!text) return fail(std::move(text).error());
  auto out = parse_swaps(*text);
  for (auto& area : out) {
    struct stat st {};
    if (::stat(area.path.c_str(), &st) == 0 && S_ISBLK(st.st_mode))
      area.device = std::to_string(major(st.st_rdev)) + ":" + std::to_string(minor(st.st_rdev));
  }
  return out;
}

std::optional<std::string> make_swap_header(const SwapHeader& header, std::uint64_t bytes, std::size_t page) {
  auto uuid = parse_uuid(header.uuid);
  if (!uuid || header.label.size() >= kLabelSize || bytes < 2 * page) return std::nullopt;
  std::string out(page, '\0');
  auto put32 = [&](std::size_t at, std::uint64_t value) {
    auto v = static_cast<std::uint32_t>(value);  // in the byte order of the machine, as the kernel reads it
    std::memcpy(&out[at], &v, sizeof v);
  };
  put32(kVersionAt, 1);
  put32(kLastPageAt, std::min<std::uint64_t>(bytes / page - 1, UINT32_MAX));
  std::copy(uuid->begin(), uuid->end(), out.begin() + kUuidAt);
  std::copy(header.label.begin(), header.label.end(), out.begin() + kLabelAt);
  std::copy(kSignature.begin(), kSignature.end(), out.end() - kSignature.size());
  return out;
}

std::optional<SwapHeader> parse_swap_header(std::string_view page) {
  if (page.size() < kLabelAt + kLabelSize + kSignature.size() || !page.ends_with(kSignature)) return std::nullopt;
  SwapHeader out;
  out.uuid = format_uuid(page.substr(kUuidAt, kUuidSize));
  auto label = page.substr(kLabelAt, kLabelSize);
  out.label = label.substr(0, std::min(label.find('\0'), label.size()));
  return out;
}

Result<SwapContent> read_swap_content(const std::string& path) {
  UniqueFd fd = VZ_TRY(open_file(path, O_RDONLY | O_DIRECT));  // not what an earlier owner left in the page cache
  const std::size_t size = page_size();
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> buffer(std::aligned_alloc(size, size));
  if (!buffer) return fail(Error::from_errno(ENOMEM, "read " + path));
  ssize_t n = ::pread(fd.get(), buffer.get(), size, 0);
  if (n < 0) return fail_errno("read " + path);
  std::string_view page(static_cast<const char*>(buffer.get()), static_cast<std::size_t>(n));
  SwapContent out;
  out.blank = page.size() == size && page.find_first_not_of('\0') == page.npos;
  out.header = parse_swap_header(page);
  return out;
}

Result<> write_swap_header(const std::string& path, const SwapHeader& header, std::uint64_t bytes) {
  auto page = make_swap_header(header, bytes, page_size());
  if (!page) return fail(Code::bad_value, path + ": a swap area of " + std::to_string(bytes) + " bytes is too small");
  UniqueFd fd = VZ_TRY(open_file(path, O_WRONLY | O_EXCL));  // EBUSY when a file system or swap is on it
  VZ_TRY_CTX(write_all(fd.get(), *page), path);
  VZ_TRY_CTX(sync_file(fd.get()), path);
  return {};
}

Result<> swap_on(const std::string& path, int priority) {
  int flags = SWAP_FLAG_PREFER | ((priority << SWAP_FLAG_PRIO_SHIFT) & SWAP_FLAG_PRIO_MASK);
  if (::swapon(path.c_str(), flags) < 0) return fail_errno("swapon " + path);
  return {};
}

Result<> swap_off(const std::string& path) {
  if (::swapoff(path.c_str()) < 0) return fail_errno("swapoff " + path);
  return {};
}

bool zswap_enabled() {
  auto text = read_file("/sys/module/zswap/parameters/enabled");
  return text && trim(*text) == "Y";
}

}  // namespace vz
