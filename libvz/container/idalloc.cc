// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/idalloc.h"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/rootfs.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint64_t kEndOfIds = 1ull << 32;

std::optional<IdRange> make_range(std::string_view base, std::string_view count) {
  auto b = parse_u64(base), n = parse_u64(count);
  if (!b || !n || *n == 0 || *b >= kEndOfIds) return std::nullopt;
  return IdRange{*b, std::min(*n, kEndOfIds - *b)};
}

std::string table_path(const Host& host) { return host.paths().lib + "/idmap"; }

// The table is replaced by rename, so the lock needs a file of its own.
Result<UniqueFd> lock_table(const Host& host) {
  VZ_TRY(make_dirs(host.paths().lib, 0755));
  return lock_file(table_path(host) + ".lock");
}

Result<std::string> read_if_exists(const std::string& path) {
  auto text = read_file(path);
  if (!text && text.error().sys_errno() == ENOENT) return std::string();
  return text;
}

Result<IdTable> read_table(const Host& host) { return IdTable::parse(VZ_TRY(read_if_exists(table_path(host)))); }

}  // namespace

std::vector<IdRange> parse_subid(const std::string& text) {
  std::vector<IdRange> out;
  for (const auto& line : split(text, '\n')) {
    auto fields = split(trim(line), ':');
    if (fields.size() != 3 || fields[0].empty() || fields[0][0] == '#') continue;
    if (auto range = make_range(fields[1], fields[2])) out.push_back(*range);
  }
  return out;
}

IdTable IdTable::parse(const std::string& text) {
  IdTable out;
  for (const auto& line : split(text, '\n')) {
    if (trim(line).empty()) continue;
    Line entry{line, std::nullopt, std::nullopt};
    auto words = split_blank(line);
    bool comment = words[0].starts_with('#');
    if (!comment && words.size() >= 3) entry.range = make_range(words[1], words[2]);
    auto id = parse_u64(words[0]);
    if (entry.range && id && words.size() == 3 && entry.range->base + entry.range->count < kEndOfIds) entry.ctid = *id;
    out.lines.push_back(std::move(entry));
  }
  return out;
}

std::string IdTable::text() const {
  std::string out;
  for (const auto& line : lines) out += line.text + "\n";
  return out;
}

std::optional<IdMap> IdTable::find(std::uint64_t ctid) const {
  for (const auto& line : lines)
    if (line.ctid == ctid)
      return IdMap{static_cast<std::uint32_t>(line.range->base), static_cast<std::uint32_t>(line.range->count)};
  return std::nullopt;
}

void IdTable::add(std::uint64_t ctid, IdMap map) {
  lines.push_back({fmt::format("{} {} {}", ctid, map.base, map.count), ctid, IdRange{map.base, map.count}});
}

bool IdTable::remove(std::uint64_t ctid) {
  return std::erase_if(lines, [&](const Line& line) { return line.ctid == ctid; }) > 0;
}

Result<IdMap> choose_idmap(const IdTable& table, const std::vector<IdRange>& foreign, std::optional<IdMap> preferred) {
  std::vector<IdRange> taken = foreign;
  for (const auto& line : table.lines)
    if (line.range) taken.push_back(*line.range);
  std::sort(taken.begin(), taken.end(), [](const IdRange& a, const IdRange& b) { return a.base < b.base; });
  auto is_free = [&](const IdRange& r) {
    return r.count == kIdsPerContainer && r.base >= kFirstContainerId && r.base + r.count <= kEndContainerId &&
           std::none_of(taken.begin(), taken.end(), [&](const IdRange& t) { return r.overlaps(t); });
  };
  if (preferred && is_free({preferred->base, preferred->count})) return *preferred;
  IdRange want{kFirstContainerId, kIdsPerContainer};
  for (const auto& range : taken) {
    if (!want.overlaps(range)) continue;
    // Bases stay multiples of 65536: ls -n shows the container's id in the lower half.
    auto end = range.base + range.count;
    want.base = (end + kIdsPerContainer - 1) / kIdsPerContainer * kIdsPerContainer;
  }
  if (want.base + want.count > kEndContainerId)
    return fail(Error(Code::no_resources, "no free range of 65536 user ids is left for the container")
                    .with_hint("destroy containers, or free ids in /etc/subuid and /etc/subgid"));
  return IdMap{static_cast<std::uint32_t>(want.base), kIdsPerContainer};
}

Result<IdMap> allocate_idmap(const Host& host, Ctid id, std::optional<IdMap> preferred) {
  UniqueFd lock = VZ_TRY(lock_table(host));
  IdTable table = VZ_TRY(read_table(host));
  if (auto map = table.find(id.value())) return *map;
  auto foreign = parse_subid(VZ_TRY(read_if_exists("/etc/subuid")));
  auto groups = parse_subid(VZ_TRY(read_if_exists("/etc/subgid")));
  foreign.insert(foreign.end(), groups.begin(), groups.end());
  IdMap map = VZ_TRY(choose_idmap(table, foreign, preferred));
  table.add(id.value(), map);
  VZ_TRY(replace_file(table_path(host), table.text(), 0644));
  return map;
}

Result<std::optional<IdMap>> recorded_idmap(const Host& host, Ctid id) {
  return VZ_TRY(read_table(host)).find(id.value());
}

Result<> release_idmap(const Host& host, Ctid id) {
  UniqueFd lock = VZ_TRY(lock_table(host));
  IdTable table = VZ_TRY(read_table(host));
  if (!table.remove(id.value())) return {};
  return replace_file(table_path(host), table.text(), 0644);
}

}  // namespace vz
