// SPDX-License-Identifier: LGPL-2.1-or-later
// Writing limits. All or nothing: the first failure puts the earlier values back.
#include "libvz/kernel/cgroup.h"

#include <algorithm>
#include <cerrno>
#include <limits>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/systemd.h"

namespace vz {

namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kMiB = 1u << 20;
constexpr int kReclaimRounds = 16;

// "max" or a number of bytes; what cannot be read counts as unlimited.
std::uint64_t bytes_at(int fd, const std::string& file) {
  auto text = read_file_at(fd, file);
  auto value = text ? parse_u64(trim(*text)) : fail(Code::system, "unreadable");
  return value ? *value : kMax;
}

std::uint64_t parse_bytes(const std::string& value) {
  auto parsed = parse_u64(value);
  return parsed ? *parsed : kMax;
}

tl::unexpected<Error> does_not_fit(const char* what, std::uint64_t used, std::uint64_t wanted) {
  std::uint64_t fits = (used + kMiB - 1) / kMiB;
  return fail(
      Error(Code::set_ubc, fmt::format("{} cannot be lowered to {} MiB: the container uses {} MiB that cannot be "
                                       "reclaimed; the old limits stay",
                                       what, wanted / kMiB, fits))
          .with_hint(fmt::format("at least {}M would fit now; or stop something in the container first", fits)));
}

// What was charged between the last look and this write is over the limit: a kernel that knows O_NONBLOCK here leaves
// it there for later charges to reclaim, an older one reclaims in the write.
Result<> lower_memory_max(int fd, std::uint64_t wanted) {
  return write_kernel_file_nonblocking_at(fd, "memory.max", std::to_string(wanted));
}

// Writing memory.max below the usage makes the kernel OOM-kill until it fits. So usage is brought down first, with
// memory.high holding it down meanwhile (it slows allocations, it never kills).
Result<> cut_memory_v2(int fd, std::uint64_t wanted) {
  const auto old_high = read_file_at(fd, "memory.high");
  bool fits = bytes_at(fd, "memory.current") <= wanted;
  if (!fits && old_high) (void)write_kernel_file_at(fd, "memory.high", std::to_string(wanted));
  for (int round = 0; !fits && round < kReclaimRounds; ++round) {
    auto used = bytes_at(fd, "memory.current");
    if (used > wanted) (void)write_kernel_file_at(fd, "memory.reclaim", std::to_string(used - wanted));
    auto now = bytes_at(fd, "memory.current");
    fits = now <= wanted;
    if (!fits && now >= used) break;  // no progress
  }
  Result<> done;
  if (fits)
    done = lower_memory_max(fd, wanted);
  else
    done = does_not_fit("RAM", bytes_at(fd, "memory.current"), wanted);
  if (old_high) (void)write_kernel_file_at(fd, "memory.high", trim(*old_high));
  return done;
}

// Even with enough RAM: no interface of the kernel moves a container's pages in but their use, and what swapoff(2) does
// to the whole host.
tl::unexpected<Error> swap_is_in_use(std::uint64_t used, std::uint64_t wanted) {
  std::uint64_t fits = (used + kMiB - 1) / kMiB;
  return fail(Error(Code::set_ubc, fmt::format("swap cannot be lowered to {} MiB: {} MiB of the container are in swap, "
                                               "and the kernel brings pages back only when they are used; the old "
                                               "limits stay",
                                               wanted / kMiB, fits))
                  .with_hint(fmt::format("--swap {}M fits now; raise --ram first and lower --swap once the pages were "
                                         "used, or restart the container",
                                         fits)));
}

// Lowering memory.swap.max does not bring anything back in; it would only break the promise silently.
Result<> cut_swap_v2(int fd, std::uint64_t wanted) {
  auto used = bytes_at(fd, "memory.swap.current");
  if (used != kMax && used > wanted) return swap_is_in_use(used, wanted);
  return write_kernel_file_at(fd, "memory.swap.max", std::to_string(wanted));
}

// The kernel itself reclaims and answers EBUSY when that is not enough; nothing is killed.
Result<> set_memory_v1(int fd, const CgroupWrite& w) {
  auto done = write_kernel_file_at(fd, w.file, w.value);
  if (done || done.error().sys_errno() != EBUSY) return done;
  bool memsw = w.file == "memory.memsw.limit_in_bytes";
  auto used = bytes_at(fd, memsw ? "memory.memsw.usage_in_bytes" : "memory.usage_in_bytes");
  return does_not_fit(memsw ? "RAM+swap" : "RAM", used, parse_bytes(w.value));
}

Result<> write_one(int fd, const CgroupWrite& w) {
  if (w.file == "memory.max" && parse_bytes(w.value) != kMax) return cut_memory_v2(fd, parse_bytes(w.value));
  if (w.file == "memory.swap.max" && parse_bytes(w.value) != kMax) return cut_swap_v2(fd, parse_bytes(w.value));
  if (w.file == "memory.limit_in_bytes" || w.file == "memory.memsw.limit_in_bytes") return set_memory_v1(fd, w);
  // Nothing to write is no write(2) at all; a newline is how an empty cpuset is said.
  return write_kernel_file_at(fd, w.file, w.value.empty() ? "\n" : w.value);
}

// The line of a per-device file ("254:0 rbps=…") that concerns the same device; without one, its unlimited value.
std::string old_device_value(const std::string& text, const CgroupWrite& w) {
  const std::string device = w.value.substr(0, w.value.find(' '));
  for (const auto& line : split(text, '\n'))
    if (line.starts_with(device + " ")) return line;
  return device + (w.file == "io.max" ? " rbps=max wbps=max riops=max wiops=max" : " 0");
}

std::string old_value(int fd, const CgroupWrite& w) {
  auto text = read_file_at(fd, w.file);
  if (!text) return {};
  if (w.file == "io.max" || w.file.starts_with("blkio.throttle.")) return old_device_value(*text, w);
  // A v2 cpuset that was never set is empty and inherits; with processes in it, it cannot be emptied again.
  if (w.file.starts_with("cpuset.") && trim(*text).empty())
    if (auto effective = read_file_at(fd, w.file + ".effective")) text = std::move(effective);
  auto lines = split(*text, '\n');
  return lines.empty() ? std::string() : lines.front();
}

Error explain(Error e, const CgroupWrite& w, const std::string& path) {
  if (e.code() == Code::set_ubc) return e;
  std::string what = fmt::format("set {}/{} to '{}'", path, w.file, w.value);
  if (e.sys_errno() == ENOENT)
    return std::move(Error::from_errno(ENOENT, what, Code::not_enforced))
        .with_hint("this kernel or the parent group does not offer the file; `vzctl check` names what is missing");
  return std::move(e).context(what).with_code(Code::set_ubc);
}

// P has what P/ct has, no more: where cgroup2 is mounted with memory_recursiveprot, as systemd does, a group gets all
// that its parent has to share out and nobody claims. With more in P, all containers would be spared alike.
void share_protection(int ct, const std::string& ct_path, const CgroupWrite& w) {
  const bool low = w.file == "memory.low";
  if (!low && w.file != "memory.min") return;
  (void)write_kernel_file_at(ct, "../" + w.file, w.value);
  if (!exists("/run/systemd/system")) return;
  auto scope = ct_path.substr(0, ct_path.rfind('/'));  // a daemon-reload undoes the write
  (void)set_unit_bytes(scope.substr(scope.rfind('/') + 1), low ? "MemoryLow" : "MemoryMin", parse_bytes(w.value));
}

}  // namespace

Result<> Cgroups::apply(const std::vector<CgroupWrite>& writes, std::vector<std::string>* warnings) const {
  std::vector<CgroupWrite> undo;
  for (const auto& w : writes) {
    const int fd = ct_fd(w.controller);
    Result<> done;
    if (fd < 0) {
      done = fail(Code::not_enforced,
                  fmt::format("{}={}: this host has no {} controller", w.file, w.value, controller_name(w.controller)));
    } else {
      undo.push_back({w.controller, w.file, old_value(fd, w), true});
      done = write_one(fd, w);
    }
    if (done) share_protection(fd, ct_path(w.controller), w);
    if (done) continue;
    Error e = explain(std::move(done).error(), w, ct_path(w.controller));
    if (fd >= 0) undo.pop_back();
    if (w.optional) {
      if (warnings) warnings->push_back(e.message());
      continue;
    }
    for (auto old = undo.rbegin(); old != undo.rend(); ++old)
      if (write_one(ct_fd(old->controller), *old))
        share_protection(ct_fd(old->controller), ct_path(old->controller), *old);
    return fail(std::move(e));
  }
  return {};
}

}  // namespace vz
