// SPDX-License-Identifier: GPL-2.0-or-later
// One binary, several faces: vzlist, vztmpl, vzd and the tools of face.h are links to vzctl.
#include <cstring>
#include <string>
#include <vector>

#include "vzctl/command.h"
#include "vzctl/face.h"
#include "vzctl/streams.h"

int main(int argc, char** argv) {
  vzctl::occupy_standard_streams();
  const char* path = argc > 0 ? argv[0] : "vzctl";
  const char* slash = strrchr(path, '/');
  std::string_view face = slash ? slash + 1 : path;
  std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (face == "vzlist") return vzctl::vzlist_main(std::move(args));
  if (face == "vztmpl") return vzctl::vztmpl_main(std::move(args));
  if (face == "vzd") return vzctl::vzd_main(std::move(args));
  if (const auto* tool = vzctl::find_face(face)) return vzctl::face_main(*tool, std::move(args));
  return vzctl::vzctl_main(std::move(args));
}
