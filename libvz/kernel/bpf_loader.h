// SPDX-License-Identifier: LGPL-2.1-or-later
// vz-bpf, the program that loads our BPF programs: only it links libbpf.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include <vz/error.h>

namespace vz {

// Where it is; "" when it is not installed.
std::string bpf_loader_path();
// `vz-bpf load`. Loading what is loaded is fine. Code::unsupported with its own words when the kernel refuses.
Result<> load_bpf_programs();
// `vz-bpf status`: by name of the program, why it is not attached; "" when it is. Fails with why nothing is known.
Result<std::map<std::string, std::string>> bpf_program_reasons();
std::map<std::string, std::string> parse_bpf_reasons(std::string_view output);
// What its output says of the failure.
std::string bpf_load_failure(std::string_view output);

}  // namespace vz
