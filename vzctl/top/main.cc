// SPDX-License-Identifier: GPL-2.0-or-later
// A program of its own, so that no other tool waits for the loading of curses.
#include "vzctl/streams.h"
#include "vzctl/vztop.h"

int main(int argc, char** argv) {
  vzctl::occupy_standard_streams();
  vzctl::Face face = *vzctl::find_face("vztop");
  face.run = vzctl::run_vztop_screen;
  return vzctl::face_main(face, std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
