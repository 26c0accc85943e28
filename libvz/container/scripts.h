// SPDX-License-Identifier: LGPL-2.1-or-later
// Action scripts: ETC/conf/vps.{premount,mount,umount,postumount} and
// ETC/conf/ID.{premount,mount,start,stop,umount,postumount}.
#pragma once

#include <string>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

// Runs the global and the container's own script of that name, if they are there and executable, on the host with
// VEID and VE_CONFFILE (and VE_ROOT, VE_PRIVATE from the config, as scripts source it). Global first; for umount and
// postumount the container's own first. Code::action_script when one exits non-zero.
Result<> run_host_scripts(const Host& host, Ctid id, const std::string& name, Reporter& reporter);
bool has_host_scripts(const Host& host, Ctid id, const std::string& name);
// Path of ID.start / ID.stop when present, for running inside.
std::string inside_script(const Host& host, Ctid id, const std::string& name);

}  // namespace vz
