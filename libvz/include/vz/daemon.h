// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <optional>

#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

struct DaemonOptions {
  // Ends when no container has run for so long; nullopt: never. A service manager ($NOTIFY_SOCKET) lifts it.
  std::optional<std::chrono::seconds> idle_exit = std::chrono::seconds(60);
};

// vzd: one process per host that keeps containers' consoles, cleans up after a container that ended by itself and
// restarts one that rebooted. Runs until SIGTERM, SIGINT or idle_exit; returns at once, successfully, when another vzd
// serves this host. The process must be single-threaded and have nothing else to do. Containers do not depend on it:
// it can be killed at any time, and the next one adopts what runs (without consoles, unless systemd kept them).
VZ_API Result<> run_daemon(const Host& host, Reporter& reporter, const DaemonOptions& options = {});

}  // namespace vz
