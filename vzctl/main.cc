// SPDX-License-Identifier: GPL-2.0-or-later
// One binary, several faces: vzctl, vzlist, vztmpl and vzd are links to it.
#include <cstring>
#include <string>
#include <vector>

#include "vzctl/command.h"

int main(int argc, char** argv) {
  const char* path = argc > 0 ? argv[0] : "vzctl";
  const char* slash = strrchr(path, '/');
  std::string_view face = slash ? slash + 1 : path;
  std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (face == "vzlist") return vzctl::vzlist_main(std::move(args));
  if (face == "vztmpl") return vzctl::vztmpl_main(std::move(args));
  if (face == "vzd") return vzctl::vzd_main(std::move(args));
  return vzctl::vzctl_main(std::move(args));
}
