// SPDX-License-Identifier: LGPL-2.1-or-later
// Backups of a container by its own root: what vzd has done for it, in processes of their own. Each checks again what
// the admin allows now, takes the container's lock as vzctl does, and writes down how far it is (OwnerRecord).
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include "libvz/container/owner_request.h"

namespace vz {

struct Context;

inline constexpr std::size_t kMaxOwnerBackups = 100;  // from when on no more are made from inside

// By the configuration of now. Code::no_access (switched off), no_disk_space (too many are there).
Result<> check_owner_may(const Host& host, Ctid id, const Config& merged);

// Says to the owner what becomes of the request, once, as soon as it is known.
using OwnerAnswer = std::function<void(const std::string& reply)>;
// list, make, restore, remove. The result is for the host's log.
Result<> serve_owner(const Host& host, Ctid id, const OwnerRequest& request, const OwnerAnswer& answer,
                     Reporter& reporter);

// After one that died: what it left goes, and a container that it had stopped starts again. Code::locked: later.
Result<> settle_owner(const Host& host, Ctid id, Reporter& reporter);
// Nobody will finish it.
void give_up_owner(const Host& host, Ctid id);

std::optional<OwnerRecord> load_owner_record(const Host& host, Ctid id);
std::string owner_records(const Host& host);  // the directory
void forget_owner_record(const Host& host, Ctid id);

// The files of a backup in place of those of a running container, which keeps its configuration: they are made ready
// beside it while it runs; then it is stopped, both change places at once, and it is started. `reached` is told
// "restarting" and "replaced". The caller holds the lock. Codes besides restore_backup()'s: convert_image (another
// layout), resize_image (a larger disk than it may have now).
using Reached = std::function<Result<>(const char*)>;
Result<> restore_in_place(Context& ct, const std::string& path, const Reached& reached);
// Killed from "restarting" on: everything is ready, and this is the rest.
bool is_ready_in_place(const std::string& private_path);
Result<> finish_in_place(Context& ct, const Reached& reached);

}  // namespace vz
