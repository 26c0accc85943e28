// SPDX-License-Identifier: LGPL-2.1-or-later
// RUN/ID/owner, which a container with --features backups:on sees as /dev/vz, read-only: vzd's socket is in it. A
// directory and not the socket itself, so that the socket of a restarted vzd appears there.
#pragma once

#include <string>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include "libvz/base/fd.h"

namespace vz {

std::string owner_dir(const Host& host, Ctid id);
// Made if it is missing; a detached, read-only mount of it. It stays root's of the host: the container can neither
// write to it nor change it, whatever it does to its mount.
Result<UniqueFd> mount_owner_dir(const Host& host, Ctid id);

// The feature is on, and --backup-space bounds it; otherwise why not, for the admin. Code::bad_value.
bool wants_owner_backups(const Config& merged);
Result<> check_owner_backups(const Config& merged);

}  // namespace vz
