// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/bpf_loader.h"

#include <nlohmann/json.hpp>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process.h"

#ifndef VZ_LIBEXECDIR
#define VZ_LIBEXECDIR "/usr/libexec/vz"
#endif

namespace vz {

// The first program that is not attached though it should be, with the kernel's reason.
std::string bpf_load_failure(std::string_view output) {
  // What it says on standard error stands before the object.
  auto begin = output.find('{');
  auto json = nlohmann::json::parse(begin == output.npos ? "" : output.substr(begin), nullptr, false);
  if (!json.is_object()) return std::string(trim(output));
  if (json.contains("error") && json["error"].is_string()) return json["error"].get<std::string>();
  for (const auto& program : json.value("programs", nlohmann::json::array())) {
    if (!program.is_object() || program.value("attached", false)) continue;
    auto reason = program.value("reason", std::string());
    if (!reason.starts_with("not needed")) return program.value("name", std::string("a program")) + ": " + reason;
  }
  return {};
}

std::string bpf_loader_path() {
  std::string installed = VZ_LIBEXECDIR "/vz-bpf";
  if (exists(installed)) return installed;
  // A build tree: BUILD/vzctl/vzctl and BUILD/bpf/vz-bpf.
  auto self = read_link("/proc/self/exe");
  if (!self) return {};
  for (const char* below : {"/../bpf/vz-bpf", "/vz-bpf"}) {
    std::string beside = self->substr(0, self->rfind('/')) + below;
    if (exists(beside)) return beside;
  }
  return {};
}

Result<> load_bpf_programs() {
  auto path = bpf_loader_path();
  if (path.empty())
    return fail(Error(Code::unsupported, "vz-bpf is not installed").with_hint("it comes with vz, in " VZ_LIBEXECDIR));
  Command command;
  command.argv = {path, "load"};
  auto ran = VZ_TRY(run_command(command));
  if (ran.status == 0) return {};
  auto why = bpf_load_failure(ran.output);
  return fail(Code::unsupported, why.empty() ? "vz-bpf load ended with status " + std::to_string(ran.status) : why);
}

std::map<std::string, std::string> parse_bpf_reasons(std::string_view output) {
  std::map<std::string, std::string> out;
  auto begin = output.find('{');
  auto json = nlohmann::json::parse(begin == output.npos ? "" : output.substr(begin), nullptr, false);
  if (!json.is_object()) return out;
  for (const auto& program : json.value("programs", nlohmann::json::array())) {
    if (!program.is_object() || !program.contains("name") || !program["name"].is_string()) continue;
    const bool attached = program.contains("attached") && program["attached"] == true;
    auto reason = program.contains("reason") && program["reason"].is_string() ? program["reason"].get<std::string>()
                                                                              : std::string("not attached");
    out[program["name"].get<std::string>()] = attached ? "" : reason;
  }
  return out;
}

Result<std::map<std::string, std::string>> bpf_program_reasons() {
  auto path = bpf_loader_path();
  if (path.empty()) return fail(Code::unsupported, "vz-bpf is not installed");
  Command command;
  command.argv = {path, "status"};
  auto ran = VZ_TRY(run_command(command));
  auto reasons = parse_bpf_reasons(ran.output);
  if (reasons.empty()) return fail(Code::unsupported, bpf_load_failure(ran.output));
  return reasons;
}

}  // namespace vz
