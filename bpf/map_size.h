// SPDX-License-Identifier: GPL-2.0-only
// How many kernel objects the maps of the beancounters have room for.
#pragma once

#include "bpf/pins.h"

struct bpf_object;

namespace vzbpf {

// By the machine's memory; those that are pinned keep the size they have.
void size_maps(const Pins& pins, bpf_object* object);

}  // namespace vzbpf
