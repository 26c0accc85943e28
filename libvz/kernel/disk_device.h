// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

namespace vz {

// Does the block device "MAJOR:MINOR" do I/O by itself? Not: those that pass requests on to others (device mapper, md,
// loop devices), and those that keep everything in RAM (zram, RAM disks). A device that is gone counts as a disk.
bool is_disk(const std::string& device, const std::string& root = "");

}  // namespace vz
