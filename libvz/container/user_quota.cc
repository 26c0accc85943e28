// SPDX-License-Identifier: LGPL-2.1-or-later
// Quotas of the users in a container, by its file system: with or without a running container.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <vz/quota.h>
#include "libvz/base/text.h"
#include "libvz/container/account_names.h"
#include "libvz/container/context.h"
#include "libvz/container/dir_layout.h"
#include "libvz/container/lock.h"
#include "libvz/container/quota_scope.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/state.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/quota.h"
#include "libvz/kernel/tree.h"

namespace vz {

namespace {

// A container's root, reachable for us alone, while this lives.
struct OpenRoot {
  std::optional<CtLock> lock;  // of a stopped container
  Tree tree;
  QuotaView view;
  bool enforced = false;
};

Result<OpenRoot> open_running_root(const Host& host, const State& state) {
  Config config = Config::parse(state.config_snapshot, "state");
  auto scope = VZ_TRY(quota_scope(host.private_path(state.id, config), state));
  UniqueFd fs = VZ_TRY(open_quota_file_system(scope));
  bool enforced = state.user_quota && VZ_TRY(user_quota_enforced(fs.get()));
  return OpenRoot{std::nullopt, Tree(std::move(fs)), scope.view, enforced};
}

Result<OpenRoot> open_stopped_root(const Host& host, Ctid id, Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(host, id, "quota"));
  Context ct = VZ_TRY(load_context(host, id, reporter));
  auto map = VZ_TRY(recorded_idmap(host, id));
  if (!map) return fail(Code::no_private, fmt::format("container {} has no ids yet", id.value()));
  auto layout = VZ_TRY(private_layout(ct.private_path));
  auto root = VZ_TRY(mount_private(ct.private_path, *map, ct.config.get("MOUNT_OPTS").value_or(""), /*host_view=*/true,
                                   /*fsck=*/true, reporter));
  OpenRoot out{std::move(lock), Tree(std::move(root.mount)), {}, false};
  out.view.count = map->count;
  out.view.own_file_system = layout == Layout::image;
  if (layout == Layout::dir) out.view.base = map->base;
  // Limits of an image are switched on by its start.
  if (wants_user_quota(ct.config))
    out.enforced =
        VZ_TRY(layout == Layout::image ? user_quota_counted(out.tree.fd()) : user_quota_enforced(out.tree.fd()));
  return out;
}

Result<OpenRoot> open_root(const Host& host, Ctid id, Reporter& reporter) {
  auto state = VZ_TRY(running_state(host, id));
  auto root = state ? open_running_root(host, *state) : open_stopped_root(host, id, reporter);
  if (!root) return root;
  if (!VZ_TRY(user_quota_counted(root->tree.fd())))
    return fail(
        Error(Code::unsupported, fmt::format("container {}: its file system counts no users and groups", id.value()))
            .with_hint("`vzctl check` tells whether this kernel has disk quotas"));
  return root;
}

QuotaType type_of(QuotaOf kind) { return kind == QuotaOf::user ? QuotaType::user : QuotaType::group; }

const char* names_file(QuotaOf kind) { return kind == QuotaOf::user ? "/etc/passwd" : "/etc/group"; }

AccountNames names_of(const OpenRoot& root, QuotaOf kind) {
  auto text = root.tree.read(names_file(kind));
  return AccountNames::parse(text ? *text : "");
}

UserQuota to_public(const Quota& q, const QuotaView& view, const AccountNames& names) {
  UserQuota out;
  out.id = q.id - view.base;
  out.name = names.name_of(out.id);
  out.space = q.bytes;
  out.space_soft = q.limits.soft_bytes;
  out.space_hard = q.limits.hard_bytes;
  out.inodes = q.inodes;
  out.inodes_soft = q.limits.soft_inodes;
  out.inodes_hard = q.limits.hard_inodes;
  out.space_until = q.bytes_until;
  out.inodes_until = q.inodes_until;
  return out;
}

Result<std::uint32_t> find_id(const OpenRoot& root, const AccountNames& names, QuotaOf kind, const std::string& who) {
  if (auto id = names.id_of(who)) return *id;
  auto number = parse_u64(who);
  if (!number)
    return fail(Error(Code::bad_value, fmt::format("{} '{}' is not in the container's {}",
                                                   kind == QuotaOf::user ? "user" : "group", who, names_file(kind)))
                    .with_hint("give its number"));
  if (*number >= root.view.count)
    return fail(Code::bad_value,
                fmt::format("id {} is outside of the container's ids 0..{}", *number, root.view.count - 1));
  return static_cast<std::uint32_t>(*number);
}

Result<> check_order(const char* what, std::uint64_t soft, std::uint64_t hard) {
  if (hard == 0 || soft <= hard) return {};
  return fail(Code::bad_value, fmt::format("soft limit of {} {} is above the hard one, {}", what, soft, hard));
}

}  // namespace

Result<UserQuotaReport> report_user_quota(const Host& host, Ctid id, QuotaOf kind, Reporter& reporter) {
  auto root = VZ_TRY(open_root(host, id, reporter));
  AccountNames names = names_of(root, kind);
  UserQuotaReport report;
  report.enforced = root.enforced;
  auto grace = VZ_TRY(get_grace(root.tree.fd(), type_of(kind)));
  report.space_grace = grace.bytes;
  report.inodes_grace = grace.inodes;
  const QuotaView& view = root.view;
  for (const auto& quota : VZ_TRY(quotas_of(root.tree.fd(), type_of(kind), view.base, view.count)))
    report.entries.push_back(to_public(quota, view, names));
  return report;
}

Result<UserQuota> change_user_quota(const Host& host, Ctid id, QuotaOf kind, const std::string& who,
                                    const UserQuotaChange& change, Reporter& reporter) {
  auto root = VZ_TRY(open_root(host, id, reporter));
  AccountNames names = names_of(root, kind);
  std::uint32_t inside = VZ_TRY(find_id(root, names, kind, who));
  const std::uint32_t on_disk = root.view.base + inside;
  QuotaLimits limits = VZ_TRY(get_quota(root.tree.fd(), type_of(kind), on_disk)).limits;
  limits.soft_bytes = change.space_soft.value_or(limits.soft_bytes);
  limits.hard_bytes = change.space_hard.value_or(limits.hard_bytes);
  limits.soft_inodes = change.inodes_soft.value_or(limits.soft_inodes);
  limits.hard_inodes = change.inodes_hard.value_or(limits.hard_inodes);
  VZ_TRY(check_order("space", limits.soft_bytes, limits.hard_bytes));
  VZ_TRY(check_order("files", limits.soft_inodes, limits.hard_inodes));
  VZ_TRY(set_quota(root.tree.fd(), type_of(kind), on_disk, limits));
  if (!root.enforced)
    reporter.warn(
        fmt::format("Warning: the limit is kept but not enforced: user quotas are off; `vzctl set {} "
                    "--quotaugidlimit 1000 --save` switches them on at the next start",
                    id.value()));
  return to_public(VZ_TRY(get_quota(root.tree.fd(), type_of(kind), on_disk)), root.view, names);
}

Result<> change_quota_grace(const Host& host, Ctid id, QuotaOf kind, std::optional<std::uint64_t> space,
                            std::optional<std::uint64_t> inodes, Reporter& reporter) {
  auto root = VZ_TRY(open_root(host, id, reporter));
  if (!root.view.own_file_system)
    return fail(Error(Code::unsupported, "grace times are those of a whole file system, which the dir layout shares")
                    .with_hint("set them with setquota -t on the host, for all containers of that file system"));
  auto grace = VZ_TRY(get_grace(root.tree.fd(), type_of(kind)));
  grace.bytes = space.value_or(grace.bytes);
  grace.inodes = inodes.value_or(grace.inodes);
  return set_grace(root.tree.fd(), type_of(kind), grace);
}

}  // namespace vz
