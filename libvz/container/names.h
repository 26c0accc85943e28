// SPDX-License-Identifier: LGPL-2.1-or-later
// Names of containers: symbolic links ETC/names/NAME -> ../conf/ID.conf, as OpenVZ made them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>

namespace vz {

// Who has the name; nullopt: nobody, or a link that leads to no configuration.
std::optional<Ctid> name_owner(const Host& host, std::string_view name);
// May `id` have this name? Code::bad_value for a bad one, Code::name `Conflict: name X already used by container N`.
Result<> check_name(const Host& host, const std::string& name, Ctid id);
// Makes the link, atomically. The caller removes the old name afterwards.
Result<> assign_name(const Host& host, const std::string& name, Ctid id);
// Removes the link if it is this container's; anything else is left alone. "": it has no name.
Result<> remove_name(const Host& host, const std::string& name, Ctid id);

}  // namespace vz
