// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/zram.h"

#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/module.h"

namespace vz {

namespace {

constexpr const char* kControl = "/sys/class/zram-control";

std::string dir_of(unsigned id) { return "/sys/block/zram" + std::to_string(id); }

std::string line_of(const std::string& path) {
  auto text = read_file(path);
  return text ? std::string(trim(*text)) : std::string();
}

std::uint64_t number_of(const std::string& path) {
  auto value = parse_u64(line_of(path));
  return value ? *value : 0;
}

// "lzo [lzo-rle] lz4": the one in brackets is on.
std::string chosen(const std::string& list) {
  auto open = list.find('['), close = list.find(']');
  if (open == list.npos || close == list.npos || close < open) return list;
  return list.substr(open + 1, close - open - 1);
}

Result<> set(unsigned id, const char* attribute, const std::string& value, std::string hint) {
  auto done = write_kernel_file(dir_of(id) + "/" + attribute, value);
  if (done) return {};
  return fail(std::move(done).error().with_hint(std::move(hint)));
}

}  // namespace

bool zram_available() { return exists(std::string(kControl) + "/hot_add"); }

Result<> need_zram() {
  if (zram_available()) return {};
  // Without the parameter the driver makes one device at once that nobody asked for.
  auto loaded = load_module("zram", {"num_devices=0"});
  if (loaded && zram_available()) return {};
  std::string why = loaded ? std::string("the driver offers no ") + kControl : loaded.error().message();
  return fail(Error(Code::unsupported, "no zram: " + why)
                  .with_hint("a kernel with CONFIG_ZRAM; without it add swap by swapon, which --swap uses as well"));
}

Result<unsigned> add_zram() {
  // Reading the file is what makes the device.
  auto text = VZ_TRY_CTX(read_file(std::string(kControl) + "/hot_add"), "make a zram device");
  auto id = VZ_TRY_CTX(parse_u64(trim(text)), "make a zram device");
  return static_cast<unsigned>(id);
}

Result<> remove_zram(unsigned id) {
  Result<> done;
  // udev looks into a device that changes: its open descriptor makes us EBUSY for a moment.
  for (int tries = 0; tries < 50; ++tries) {
    done = write_kernel_file(std::string(kControl) + "/hot_remove", std::to_string(id));
    if (done || done.error().sys_errno() != EBUSY) break;
    (void)::poll(nullptr, 0, 20);
  }
  if (!done) return fail(std::move(done).error().context("remove /dev/zram" + std::to_string(id)));
  return {};
}

Result<std::optional<Zram>> find_zram(unsigned id) {
  const std::string dir = dir_of(id);
  if (!exists(dir)) return std::optional<Zram>();
  Zram out;
  out.id = id;
  out.sequence = number_of(dir + "/diskseq");
  out.device = VZ_TRY(read_file(dir + "/dev"));
  out.device = std::string(trim(out.device));
  out.bytes = number_of(dir + "/disksize");
  out.compressor = chosen(line_of(dir + "/comp_algorithm"));
  out.backing = line_of(dir + "/backing_dev");
  if (out.backing == "none") out.backing.clear();
  return std::optional(std::move(out));
}

std::vector<unsigned> zram_numbers() {
  std::vector<unsigned> out;
  auto names = list_dir("/sys/block");
  for (const auto& name : names ? *names : std::vector<std::string>()) {
    auto id = name.starts_with("zram") ? parse_u64(std::string_view(name).substr(4)) : fail(Code::bad_value, name);
    if (id) out.push_back(static_cast<unsigned>(*id));
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<> set_zram_compressor(unsigned id, const std::string& name) {
  return set(id, "comp_algorithm", name, "this kernel offers: " + line_of(dir_of(id) + "/comp_algorithm"));
}

Result<> set_zram_backing(unsigned id, const std::string& block_device) {
  if (!exists(dir_of(id) + "/backing_dev"))
    return fail(Error(Code::unsupported, "zram write-back to " + block_device + ": this kernel cannot do it")
                    .with_hint("a kernel with CONFIG_ZRAM_WRITEBACK, or no VSWAP_BACKING"));
  return set(id, "backing_dev", block_device, "it must be a block device that nothing else uses");
}

Result<> set_zram_size(unsigned id, std::uint64_t bytes) {
  return set(id, "disksize", std::to_string(bytes), "is there enough free RAM for the device's table, 0.4 % of it?");
}

ZramUsage parse_zram_usage(const std::string& mm_stat, const std::string& bd_stat, std::uint64_t page_size) {
  auto field = [](const std::vector<std::string>& fields, std::size_t n) -> std::uint64_t {
    if (n >= fields.size()) return 0;
    auto value = parse_u64(fields[n]);
    return value ? *value : 0;
  };
  auto mm = split_blank(mm_stat), bd = split_blank(bd_stat);
  return {field(mm, 0), field(mm, 1), field(mm, 2), field(bd, 0) * page_size};
}

Result<ZramUsage> zram_usage(unsigned id) {
  auto mm = VZ_TRY(read_file(dir_of(id) + "/mm_stat"));
  return parse_zram_usage(mm, line_of(dir_of(id) + "/bd_stat"), 4096);  // counted in 4 KiB on every machine
}

}  // namespace vz
