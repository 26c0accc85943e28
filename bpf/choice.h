// SPDX-License-Identifier: GPL-2.0-only
// Which programs of an object this kernel can have.
#pragma once

#include <map>
#include <string>

struct bpf_object;
struct bpf_program;

namespace vzbpf {

// Programs that are not loaded, and why. "not needed: …": nothing is missed.
using LeftOut = std::map<std::string, std::string>;

// The kernel function that a program hangs on; "" for tracepoints and for programs that are only run.
std::string function_of(const bpf_program* program);

// Libbpf loads programs of sections with a '?' in front only when told to: here, those whose function this kernel has.
// Those in `out` are left out, and what they leave without use with them. What the kernel lacks is added, unless
// nothing of the object is of use without it (`each` is false): that is returned.
std::string choose_programs(bpf_object* object, bool each, LeftOut& out);

// The program that the kernel did not take, by libbpf's messages; "" when it was none.
std::string culprit(const std::string& messages);

}  // namespace vzbpf
