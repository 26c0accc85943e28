// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/beancounter_limits.h"

#include <algorithm>

#include <fmt/format.h>

#include <vz/memory_report.h>
#include "libvz/base/text.h"
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

static_assert(VZ_UB_UNLIMITED == Limit::kUnlimited);

std::string note_path(const Host& host, Ctid id) { return host.run_dir(id) + "/ub"; }

bool is_limited(const Limit& l) { return l.barrier < Limit::kUnlimited || l.limit < Limit::kUnlimited; }

bool is_planned_elsewhere(const UbResource& r) {
  return r.limiter == UbLimiter::control_group || r.id == Ub::privvmpages;
}

}  // namespace

std::array<Limit, kUbRows> ub_limits(const Config& config) {
  UbLimits out;
  for (const auto& r : ub_resources())
    if (auto limit = r.key ? effective_limit(config, r.key) : std::nullopt)
      out[static_cast<std::size_t>(r.id)] = *limit;
  return out;
}

vz_ub_conf ub_conf_of(const UbLimits& limits) {
  vz_ub_conf out{};
  for (std::size_t i = 0; i < kUbRows; ++i) {
    out.barrier[i] = limits[i].barrier;
    out.limit[i] = limits[i].limit;
  }
  return out;
}

UbLimits limits_of(const vz_ub_conf& conf) {
  UbLimits out;
  for (std::size_t i = 0; i < kUbRows; ++i) out[i] = {conf.barrier[i], conf.limit[i]};
  return out;
}

Result<> set_ub_limits(const Host& host, Ctid id, const Cgroups& cgroups, const Config& config) {
  const UbLimits limits = ub_limits(config);
  VZ_TRY(replace_file(note_path(host, id), format_ub_limits(limits), 0600));
  if (!UbMaps::present()) return {};
  auto group = cgroups.unified_id();
  if (!group) return fail(std::move(group).error());
  auto maps = VZ_TRY(UbMaps::open());
  VZ_TRY(maps.set_conf(*group, ub_conf_of(limits)));
  return maps.make(*group);
}

std::optional<UbLimits> noted_ub_limits(const Host& host, Ctid id) {
  auto text = read_file(note_path(host, id));
  return text ? std::optional(parse_ub_limits(*text)) : std::nullopt;
}

std::string format_ub_limits(const UbLimits& limits) {
  std::string out;
  for (const auto& r : ub_resources()) {
    const Limit& l = limits[static_cast<std::size_t>(r.id)];
    if (ub_is_real(r) && is_limited(l)) out += fmt::format("{} {} {}\n", r.name, l.barrier, l.limit);
  }
  return out;
}

UbLimits parse_ub_limits(std::string_view text) {
  UbLimits out;
  for (const auto& line : split(text, '\n')) {
    auto words = split_blank(line);
    if (words.size() != 3) continue;
    const auto* r = find_ub_resource(words[0]);
    auto barrier = parse_u64(words[1]), limit = parse_u64(words[2]);
    if (r && barrier && limit) out[static_cast<std::size_t>(r->id)] = {*barrier, *limit};
  }
  return out;
}

std::vector<UnenforcedLimit> unenforced_limits(const Config& config, const UbAbilities& abilities) {
  std::vector<UnenforcedLimit> out;
  for (const auto& r : ub_resources()) {
    if (!ub_is_real(r) || is_planned_elsewhere(r)) continue;
    auto limit = config.limit(r.key);
    const auto& ability = abilities[static_cast<std::size_t>(r.id)];
    if (limit && is_limited(*limit) && !ability.limited) out.push_back({&r, ability.why});
  }
  return out;
}

std::string describe(const std::vector<UnenforcedLimit>& list) {
  std::vector<std::pair<std::string, std::vector<std::string>>> by_reason;
  for (const auto& l : list) {
    auto known =
        std::find_if(by_reason.begin(), by_reason.end(), [&](const auto& entry) { return entry.first == l.why; });
    if (known == by_reason.end()) known = by_reason.insert(by_reason.end(), {l.why, {}});
    known->second.emplace_back(l.resource->key);
  }
  std::vector<std::string> parts;
  for (const auto& [why, keys] : by_reason) parts.push_back(fmt::format("{} ({})", join(keys, ", "), why));
  return join(parts, "; ");
}

Error refusal_of(const UnenforcedLimit& l, const Config& config) {
  const auto& r = *l.resource;
  std::string what =
      fmt::format("--{} {}: this host does not enforce it: {}", r.name, config.get(r.key).value_or(""), l.why);
  const char* hint = r.limiter == UbLimiter::program
                         ? "`vzctl vswap start` loads the programs where the kernel can, `vzctl check` says why not; "
                           "--force --save keeps it in the configuration file"
                         : "--force --save keeps it in the configuration file";
  return Error(Code::not_enforced, what).with_hint(hint);
}

}  // namespace vz
