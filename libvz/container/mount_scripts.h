// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include "libvz/base/fd.h"

namespace vz {

// Runs the premount and mount action scripts with the root mounted at VE_ROOT, in a mount namespace of their own, and
// returns the root with whatever they mounted below it. Without such scripts the root comes back as it is.
Result<UniqueFd> run_mount_scripts(const Host& host, Ctid id, const Config& config, UniqueFd root, Reporter& reporter);

}  // namespace vz
