// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/restored_config.h"

#include <fmt/format.h>

#include "libvz/container/dump.h"
#include "libvz/container/names.h"
#include "libvz/container/private_plan.h"
#include "libvz/container/rootfs.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

std::string waiting_config(const std::string& private_path) { return private_path + "/restored.conf"; }

void put(Config* config, const char* key, const std::optional<std::string>& value) {
  if (value && !value->empty())
    config->set(key, *value);
  else
    config->unset(key);
}

// Who has the name now keeps it.
Result<> restore_name(const Host& host, Ctid id, const Config& from, Config* to, Reporter& reporter) {
  const auto old_name = from.get("NAME").value_or(""), name = to->get("NAME").value_or("");
  if (!name.empty()) {
    if (auto free = check_name(host, name, id); !free) {
      reporter.warn(fmt::format("Warning: the name of then is not restored: {}", free.error().message()));
      put(to, "NAME", old_name);
      return {};
    }
    VZ_TRY(assign_name(host, name, id));
  }
  return old_name.empty() || old_name == name ? Result<>() : remove_name(host, old_name, id);
}

}  // namespace

Result<> adopt_config(const Host& host, Ctid id, Config then, Reporter& reporter) {
  const auto path = host.config_path(id);
  Config now = VZ_TRY(Config::load(path));
  for (const char* key : {"VE_PRIVATE", "VE_ROOT"}) put(&then, key, now.get(key));
  VZ_TRY(restore_name(host, id, now, &then, reporter));
  return then.save(path);
}

Result<> leave_config(const std::string& private_path, const Config& config) {
  return replace_file(waiting_config(private_path), config.text(), 0600);
}

bool has_restored_config(const std::string& private_path) { return exists(waiting_config(private_path)); }

Result<bool> settle_restored_config(const Host& host, Ctid id, const std::string& private_path, Reporter& reporter) {
  const auto waiting = waiting_config(private_path);
  if (!exists(waiting)) return false;
  reporter.step("restored.config");
  Config then = VZ_TRY(Config::load(waiting));
  VZ_TRY(adopt_config(host, id, std::move(then), reporter));
  reporter.step("restored.remove");
  VZ_TRY(remove_dump(default_dump_path(host, id)));
  VZ_TRY(remove_private(temporary_private(private_path)));
  reporter.step("restored.done");
  VZ_TRY(remove_tree(waiting));
  return true;
}

}  // namespace vz
