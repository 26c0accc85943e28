// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/base/random.h"

#include <random>

#include <fmt/format.h>

namespace vz {

std::string random_hex(unsigned bytes) {
  std::random_device device;  // getrandom(2), as libstdc++ has it
  std::string out;
  while (out.size() < 2 * std::size_t{bytes}) out += fmt::format("{:08x}", device());
  out.resize(2 * std::size_t{bytes});
  return out;
}

}  // namespace vz
