// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/scripts.h"

#include <filesystem>
#include <system_error>
#include <vector>

#include "libvz/kernel/file.h"
#include "libvz/kernel/process.h"

namespace vz {

namespace fs = std::filesystem;

namespace {

bool is_executable_file(const std::string& path) {
  std::error_code ec;
  auto status = fs::status(path, ec);
  constexpr auto kAnyExec = fs::perms::owner_exec | fs::perms::group_exec | fs::perms::others_exec;
  return !ec && fs::is_regular_file(status) && (status.permissions() & kAnyExec) != fs::perms::none;
}

// In the order in which they run.
std::vector<std::string> script_paths(const Host& host, Ctid id, const std::string& name) {
  auto dir = host.paths().etc + "/conf/";
  std::string global = dir + "vps." + name, own = dir + id.str() + "." + name;
  if (name == "umount" || name == "postumount") return {own, global};
  return {global, own};
}

// Scripts source vz.conf and VE_CONFFILE themselves, with VEID set; the paths are there for those that do not.
std::vector<std::string> script_env(const Host& host, Ctid id) {
  std::vector<std::string> env = {"VEID=" + id.str(), "VE_CONFFILE=" + host.config_path(id), "HOME=/"};
  auto config = host.load(id);
  if (!config) return env;
  env.push_back("VE_ROOT=" + host.root_path(id, *config));
  env.push_back("VE_PRIVATE=" + host.private_path(id, *config));
  return env;
}

}  // namespace

Result<> run_host_scripts(const Host& host, Ctid id, const std::string& name, Reporter& reporter) {
  for (const auto& path : script_paths(host, id, name)) {
    if (!exists(path)) continue;
    if (!is_executable_file(path)) {
      reporter.warn("Warning: " + path + " is not an executable file, skipped");
      continue;
    }
    reporter.debug("Running " + path);
    Command command;
    command.argv = {path};
    command.env = script_env(host, id);
    command.inherit_output = true;
    auto result = run_command(command);
    if (!result)
      return fail(std::move(result).error().context("Error executing " + path).with_code(Code::action_script));
    if (result->status != 0)
      return fail(
          Error(Code::action_script, "Error executing " + path + ": exit status " + std::to_string(result->status))
              .with_hint("the script must end with status 0; move it away to go on without it"));
  }
  return {};
}

bool has_host_scripts(const Host& host, Ctid id, const std::string& name) {
  for (const auto& path : script_paths(host, id, name)) {
    if (is_executable_file(path)) return true;
  }
  return false;
}

std::string inside_script(const Host& host, Ctid id, const std::string& name) {
  auto path = host.paths().etc + "/conf/" + id.str() + "." + name;
  std::error_code ec;
  return fs::is_regular_file(path, ec) ? path : "";
}

}  // namespace vz
