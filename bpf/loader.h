// SPDX-License-Identifier: GPL-2.0-only
// Brings the programs of one object into the kernel, in place of those of an earlier load.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bpf/pins.h"

namespace vzbpf {

struct Object {
  unsigned index;    // enum vz_object
  const char* name;  // every program of it is called NAME_something
  const void* (*bytes)(std::size_t*);
  bool each = false;  // a program that the kernel refuses does not keep the others out
};

struct Program {
  std::string name, object;
  bool attached = false;
  std::string reason;  // why not; or, when attached, why it is not the newest
};

const std::vector<Object>& objects();

// Nothing acts twice, and nothing pauses: the new programs sleep until all of them are attached, then one write wakes
// them and sends the old ones to sleep. Killed at any point, the next load finishes or undoes it.
std::vector<Program> load(const Pins& pins, const Object& object);
std::vector<Program> status(const Pins& pins, const Object& object);

}  // namespace vzbpf
