// SPDX-License-Identifier: LGPL-2.1-or-later
// A sample configuration that divides this host among equal containers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <vz/config.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/memory_report.h>

namespace vz {

// What there is to divide, in bytes and counts.
struct SplitRoom {
  HostMemoryState memory;
  std::uint64_t disk = 0, inodes = 0;  // free for private areas; inodes 0: as many as wanted
};
VZ_API Result<SplitRoom> read_split_room(const Host& host);

// Each of `containers` gets an equal part of what the host can keep if all take all of it; the host itself keeps some
// RAM, disk and processes. `swap`: bytes instead of the host's own. Code::no_resources when the parts would be too
// small for a container; the hint says how many would fit.
VZ_API Result<Config> split_host(const SplitRoom& room, std::uint64_t containers, std::optional<std::uint64_t> swap);

// Writes ETC/conf/ve-NAME.conf-sample, for create --config NAME. Code::bad_value for a bad name or one that is taken.
VZ_API Result<std::string> save_sample(const Host& host, const std::string& name, const Config& sample);

}  // namespace vz
