// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/vswap_device.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libvz/kernel/boot_id.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hostinfo.h"

namespace vz {

namespace {

using Json = nlohmann::json;

std::string record_path(const std::string& run_dir) { return run_dir + "/vswap.json"; }

tl::unexpected<Error> bad_record(const std::string& path, const std::string& why) {
  return fail(Error(Code::bad_config, path + ": " + why)
                  .with_hint("it is written by vzctl only; `zramctl` and `swapon --show` tell which device it was, "
                             "then remove the file"));
}

template <class T>
T member(const Json& json, const char* name, T otherwise) {
  auto at = json.find(name);
  if (at == json.end()) return otherwise;
  if constexpr (std::is_same_v<T, std::string>)
    return at->is_string() ? at->template get<T>() : otherwise;
  else
    return at->is_number_unsigned() ? at->template get<T>() : otherwise;
}

Result<VswapDevice> look_at(VswapRecord record, Zram zram, const std::vector<SwapArea>& areas) {
  VswapDevice out;
  out.record = std::move(record);
  out.zram = std::move(zram);
  if (out.zram.bytes == 0) return out;
  auto content = VZ_TRY(read_swap_content(out.zram.path()));
  bool ours = content.header && content.header->uuid == out.record.uuid && content.header->label == kVswapLabel;
  if (!ours && !content.blank)
    return fail(Error(Code::system, out.zram.path() + " was made by vzctl and now holds something else")
                    .with_hint("whoever wrote to it must give it up: `zramctl --reset " + out.zram.path() + "`"));
  out.stage = ours ? VswapDevice::Stage::formatted : VswapDevice::Stage::sized;
  auto area = std::find_if(areas.begin(), areas.end(), [&](const SwapArea& a) { return a.device == out.zram.device; });
  if (area == areas.end()) return out;
  out.area = *area;
  out.stage = VswapDevice::Stage::on;
  return out;
}

Result<VswapDevice> make_device(const std::string& run_dir, Reporter& reporter) {
  reporter.step("vswap.add");
  // Killed between the next two statements, an empty device stays that nothing proves to be ours: it costs some KiB,
  // and nobody touches it.
  unsigned id = VZ_TRY(add_zram());
  auto zram = VZ_TRY(find_zram(id));
  if (!zram) return fail(Code::system, fmt::format("/dev/zram{} is gone right after it was made", id));
  VswapRecord record{id, zram->sequence, {}, read_boot_id()};
  auto uuid = new_uuid();
  if (uuid) record.uuid = *uuid;
  auto saved = uuid ? save_vswap_record(run_dir, record) : fail(std::move(uuid).error());
  if (!saved) {
    (void)remove_zram(id);
    return fail(std::move(saved).error());
  }
  VswapDevice out;
  out.record = std::move(record);
  out.zram = std::move(*zram);
  return out;
}

Result<> set_up(const VswapDevice& device, const VswapDeviceSpec& spec, Reporter& reporter) {
  const unsigned id = device.zram.id;
  reporter.step("vswap.size");
  if (!spec.compressor.empty()) VZ_TRY(set_zram_compressor(id, spec.compressor));
  // Before the size; of a call that was killed after it, the device is set already.
  if (!spec.backing.empty() && device.zram.backing.empty()) VZ_TRY(set_zram_backing(id, spec.backing));
  return set_zram_size(id, spec.bytes);
}

}  // namespace

Result<std::optional<VswapRecord>> load_vswap_record(const std::string& run_dir) {
  auto path = record_path(run_dir);
  auto text = read_file(path);
  if (!text && text.error().sys_errno() == ENOENT) return std::optional<VswapRecord>();
  if (!text) return fail(std::move(text).error());
  auto json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return bad_record(path, "not a JSON object");
  auto version = member<std::uint64_t>(json, "version", 0);
  if (version != VswapRecord::kVersion)
    return bad_record(path, fmt::format("version {} is not one that this vzctl knows", version));
  VswapRecord out;
  auto id = member<std::uint64_t>(json, "zram", UINT32_MAX);
  out.sequence = member<std::uint64_t>(json, "diskseq", 0);
  out.uuid = member<std::string>(json, "uuid", "");
  out.boot_id = member<std::string>(json, "boot_id", "");
  if (id >= UINT32_MAX || out.uuid.empty() || out.boot_id.empty()) return bad_record(path, "a field is missing");
  out.id = static_cast<unsigned>(id);
  return std::optional(std::move(out));
}

Result<> save_vswap_record(const std::string& run_dir, const VswapRecord& record) {
  VZ_TRY(make_dirs(run_dir, 0755));
  Json json{{"version", VswapRecord::kVersion},
            {"zram", record.id},
            {"diskseq", record.sequence},
            {"uuid", record.uuid},
            {"boot_id", record.boot_id}};
  return replace_file(record_path(run_dir), json.dump(1) + "\n", 0600);
}

Result<> remove_vswap_record(const std::string& run_dir) { return remove_tree(record_path(run_dir)); }

Result<std::optional<VswapDevice>> find_vswap_device(const std::string& run_dir) {
  auto record = VZ_TRY(load_vswap_record(run_dir));
  if (!record || record->boot_id != read_boot_id()) return std::optional<VswapDevice>();
  auto zram = VZ_TRY(find_zram(record->id));
  // The number may have been given up and be somebody else's now.
  if (!zram || zram->sequence != record->sequence) return std::optional<VswapDevice>();
  auto areas = VZ_TRY(swap_areas());
  return std::optional(VZ_TRY(look_at(std::move(*record), std::move(*zram), areas)));
}

Result<VswapDevice> bring_up_vswap(const std::string& run_dir, const VswapDeviceSpec& spec, Reporter& reporter) {
  using Stage = VswapDevice::Stage;
  auto found = VZ_TRY(find_vswap_device(run_dir));
  VswapDevice device = found ? std::move(*found) : VZ_TRY(make_device(run_dir, reporter));
  if (device.stage == Stage::made) {
    if (auto done = set_up(device, spec, reporter); !done) {
      // A compressor that the kernel has not, no memory: nothing is in it yet.
      (void)remove_zram(device.zram.id);
      (void)remove_vswap_record(run_dir);
      return fail(std::move(done).error());
    }
    device.stage = Stage::sized;
  }
  auto zram = VZ_TRY(find_zram(device.zram.id));
  if (!zram) return fail(Code::system, device.zram.path() + " is gone");
  device.zram = std::move(*zram);
  if (device.stage == Stage::sized) {
    reporter.step("vswap.format");
    VZ_TRY(write_swap_header(device.zram.path(), {kVswapLabel, device.record.uuid}, device.zram.bytes));
    device.stage = Stage::formatted;
  }
  if (device.stage == Stage::formatted) {
    reporter.step("vswap.on");
    VZ_TRY(swap_on(device.zram.path(), spec.priority));
    reporter.step("vswap.done");
  }
  auto up = VZ_TRY(find_vswap_device(run_dir));
  if (!up || up->stage != Stage::on) return fail(Code::system, device.zram.path() + " did not become a swap device");
  return std::move(*up);
}

Result<> take_down_vswap(const std::string& run_dir, const VswapDevice& device, Reporter& reporter) {
  if (device.stage == VswapDevice::Stage::on) {
    reporter.step("vswap.off");
    VZ_TRY(swap_off(device.zram.path()));
  }
  reporter.step("vswap.remove");
  VZ_TRY(remove_zram(device.zram.id));
  reporter.step("vswap.forget");
  return remove_vswap_record(run_dir);
}

int vswap_priority(const std::vector<SwapArea>& areas) {
  int highest = 99;
  for (const auto& area : areas) highest = std::max(highest, area.priority);
  return std::min(highest + 1, 32767);
}

SwapKind classify_swap(const std::vector<SwapArea>& areas, const std::string& own_device, bool zswap) {
  if (areas.empty()) return SwapKind::none;
  auto first = std::max_element(areas.begin(), areas.end(),
                                [](const SwapArea& a, const SwapArea& b) { return a.priority < b.priority; });
  if (!own_device.empty() && first->device == own_device) return SwapKind::vz;
  if (first->path.starts_with("/dev/zram")) return SwapKind::zram;
  return zswap ? SwapKind::zswap : SwapKind::disk;
}

}  // namespace vz
