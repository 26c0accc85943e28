// SPDX-License-Identifier: GPL-2.0-only
// Why a program could not be loaded or attached, for people who run machines.
#pragma once

#include <string>

namespace vzbpf {

// What libbpf and the verifier wrote since the last call; libbpf itself prints nothing any more.
void collect_messages();
std::string take_messages();

// What is wrong with this host for the programs of an object ("vswap", "sysinfo", "privvm"); "" if nothing that is
// known without trying.
std::string obstacle(const std::string& object);

// `error` is a negative errno of libbpf, `messages` what it wrote.
std::string explain(const std::string& object, int error, const std::string& messages);

}  // namespace vzbpf
