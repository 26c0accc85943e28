// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/hardware.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace vz {
namespace {

TEST(InstructionSets, AreThoseThatProgramsUse) {
  char name[] = "/tmp/vz-hardware-XXXXXX";
  const std::string root = ::mkdtemp(name);
  EXPECT_TRUE(instruction_sets(root).empty());
  std::filesystem::create_directories(root + "/proc");
  std::ofstream(root + "/proc/cpuinfo")
      << "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu sse2 smep avx512f constant_tsc\n"
         "bugs\t\t: spectre_v1\n\nprocessor\t: 1\nflags\t\t: fpu sse2\n";
  EXPECT_EQ(instruction_sets(root), (std::vector<std::string>{"sse2", "avx512f"}));
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace vz
