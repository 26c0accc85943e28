// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/console_attach.h"
#include "libvz/container/context.h"
#include "libvz/container/lock.h"
#include "libvz/container/running.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

// The caller's variables win over the defaults.
std::vector<std::string> environment(const std::map<std::string, std::string>& extra) {
  std::map<std::string, std::string> all = {{"HOME", "/"}, {"TERM", "linux"}, {"PATH", kGuestPath}};
  for (const auto& [k, v] : extra) all[k] = v;
  std::vector<std::string> out;
  for (const auto& [k, v] : all) out.push_back(k + "=" + v);
  return out;
}

Result<> choose_command(const ExecOptions& options, EnterSpec* spec) {
  if (options.login_shell && options.argv.empty()) {
    spec->argv = {"/bin/bash", "-l"};
    spec->fallbacks = {{"/bin/sh", "-l"}};
    return {};
  }
  if (options.argv.empty()) return fail(Code::bad_syntax, "No command line given for exec");
  if (!options.shell) {
    spec->argv = options.argv;
    return {};
  }
  auto line = join(options.argv, " ");
  spec->argv = {"/bin/bash", "-c", line};
  spec->fallbacks = {{"/bin/sh", "-c", line}};
  return {};
}

}  // namespace

Result<int> Container::exec(const ExecOptions& options, Reporter& reporter) {
  VZ_TRY(settle_unlocked(*host_, id_, reporter));
  auto running = VZ_TRY(open_running(*host_, id_));
  EnterSpec spec = enter_spec(running);
  VZ_TRY(choose_command(options, &spec));
  spec.env = environment(options.env);
  spec.stdio[0] = options.stdin_fd;
  spec.stdio[1] = options.stdout_fd;
  spec.stdio[2] = options.stderr_fd;
  spec.pty = options.pty;
  spec.timeout = options.timeout;
  return run_inside(spec);
}

Result<int> Container::runscript(const std::string& host_file, Reporter& reporter) {
  auto script = open_file(host_file, O_RDONLY);
  if (!script) return fail(Code::no_script, "Script not found: " + host_file);
  VZ_TRY(settle_unlocked(*host_, id_, reporter));
  if (auto running = open_running(*host_, id_)) {
    EnterSpec spec = enter_spec(*running);
    spec.argv = {"/bin/bash"};
    spec.fallbacks = {{"/bin/sh"}};
    spec.stdio[0] = script->get();
    return run_inside(spec);
  } else if (running.error().code() != Code::not_running) {
    return fail(std::move(running).error());
  }
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "running script"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  return run_without_init(ct, {"/bin/sh"}, script->get());
}

Result<> Container::console(int tty, Reporter& reporter) {
  VZ_TRY(attach_console(*host_, id_, tty, reporter));
  return {};
}

}  // namespace vz
