// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/user_limits.h"

#include <array>
#include <vector>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/fd.h"
#include "libvz/base/text.h"
#include "libvz/container/quota_scope.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/quota.h"

namespace vz {

namespace {

struct Limit {
  QuotaType type;
  std::uint32_t inside;
  QuotaLimits limits;
};

constexpr std::array kTypes = {std::pair{QuotaType::user, "user"}, std::pair{QuotaType::group, "group"}};

Result<UniqueFd> open_file_system(const std::string& dir) { return open_file(dir, O_RDONLY | O_DIRECTORY); }

// Of this container only: its neighbours are in the same file system.
Result<std::vector<Limit>> limits_of(int fs, IdMap ids) {
  std::vector<Limit> out;
  if (!VZ_TRY(user_quota_counted(fs))) return out;
  for (const auto& [type, name] : kTypes)
    for (const auto& quota : VZ_TRY(quotas_of(fs, type, ids.base, ids.count)))
      if (quota.limits != QuotaLimits{}) out.push_back({type, quota.id - ids.base, quota.limits});
  return out;
}

Result<Limit> parse_limit(std::string_view line, IdMap ids) {
  const auto words = split_blank(line);
  const auto wrong = [&] { return fail(Code::bad_value, "limits of users: '" + printable(line) + "' is none"); };
  if (words.size() != 6) return wrong();
  std::array<std::uint64_t, 5> numbers{};
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    auto number = parse_u64(words[i + 1]);
    if (!number) return wrong();
    numbers[i] = *number;
  }
  if (numbers[0] >= ids.count) return wrong();
  for (const auto& [type, name] : kTypes)
    if (words[0] == name)
      return Limit{type, static_cast<std::uint32_t>(numbers[0]), {numbers[1], numbers[2], numbers[3], numbers[4]}};
  return wrong();
}

Result<std::vector<Limit>> parse_limits(std::string_view text, IdMap ids) {
  std::vector<Limit> out;
  for (const auto& line : split(text, '\n'))
    if (!line.empty()) out.push_back(VZ_TRY(parse_limit(line, ids)));
  return out;
}

}  // namespace

Result<std::string> read_user_limits(const std::string& dir, IdMap ids) {
  UniqueFd fs = VZ_TRY(open_file_system(dir));
  std::string out;
  for (const auto& [type, inside, limits] : VZ_TRY(limits_of(fs.get(), ids)))
    out += fmt::format("{} {} {} {} {} {}\n", type == QuotaType::user ? "user" : "group", inside, limits.soft_bytes,
                       limits.hard_bytes, limits.soft_inodes, limits.hard_inodes);
  return out;
}

Result<> check_user_limits(const std::string& dir, IdMap ids, std::string_view text) {
  if (VZ_TRY(parse_limits(text, ids)).empty()) return {};
  UniqueFd fs = VZ_TRY(open_file_system(dir));
  if (VZ_TRY(user_quota_counted(fs.get()))) return {};
  return fail(Error(Code::unsupported, "users in it have disk limits, and the file system of " + dir + " has no quotas")
                  .with_hint("mount it with usrquota,grpquota, or move it with --force and without those limits"));
}

Result<> write_user_limits(const std::string& dir, IdMap ids, std::string_view text) {
  const auto wanted = VZ_TRY(parse_limits(text, ids));
  UniqueFd fs = VZ_TRY(open_file_system(dir));
  for (const auto& old : VZ_TRY(limits_of(fs.get(), ids)))
    VZ_TRY(set_quota(fs.get(), old.type, ids.base + old.inside, {}));
  for (const auto& limit : wanted) VZ_TRY(set_quota(fs.get(), limit.type, ids.base + limit.inside, limit.limits));
  return {};
}

}  // namespace vz
