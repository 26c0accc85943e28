// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/map_size.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

namespace vzbpf {

namespace {

// One object per so much memory. The kernel's own bound of open files (fs.file-max) is one per 10 KiB, where nobody has
// raised it.
struct Size {
  const char* map;
  unsigned long long bytes;
};
constexpr Size kSizes[] = {{"vz_ub_file", 8192}, {"vz_ub_sock", 32768}, {"vz_ub_flock", 65536}, {"vz_ub_shm", 65536}};
constexpr unsigned long long kLeast = 16384, kMost = 1 << 22;

unsigned entries_for(unsigned long long bytes) {
  auto memory = static_cast<unsigned long long>(::sysconf(_SC_PHYS_PAGES)) * static_cast<unsigned>(::getpagesize());
  return static_cast<unsigned>(std::bit_ceil(std::clamp(memory / bytes, kLeast, kMost)));
}

// 0: not pinned.
unsigned pinned_entries(const std::string& path) {
  int fd = bpf_obj_get(path.c_str());
  if (fd < 0) return 0;
  bpf_map_info info{};
  __u32 size = sizeof info;
  bool known = bpf_obj_get_info_by_fd(fd, &info, &size) == 0;
  (void)::close(fd);
  return known ? info.max_entries : 0;
}

}  // namespace

void size_maps(const Pins& pins, bpf_object* object) {
  for (const auto& size : kSizes) {
    auto* map = bpf_object__find_map_by_name(object, size.map);
    if (!map) continue;
    auto entries = pinned_entries(pins.path(size.map));
    (void)bpf_map__set_max_entries(map, entries ? entries : entries_for(size.bytes));
  }
}

}  // namespace vzbpf
