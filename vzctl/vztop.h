// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>

#include "vzctl/face.h"
#include "vzctl/top.h"

namespace vzctl {

struct TopOptions {
  std::chrono::milliseconds delay{3000};
  std::uint64_t rounds = 0;  // 0: until the user ends it
  TopSort sort = TopSort::cpu;
  bool reverse = false;
};
vz::Result<TopOptions> top_options(const Options& options);

// The screen, in the program vztop alone: vzctl needs no curses.
vz::Result<int> run_vztop_screen(FaceCall&);

}  // namespace vzctl
