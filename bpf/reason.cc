// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/reason.h"

#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include <bpf/libbpf.h>
#include <fmt/format.h>

namespace vzbpf {

namespace {

std::string collected;  // libbpf's printer has no argument of ours

int collect(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG || collected.size() > (1u << 20)) return 0;
  char line[4096];
  (void)::vsnprintf(line, sizeof line, format, arguments);
  collected += line;
  return 0;
}

bool there(const char* path) { return ::access(path, F_OK) == 0; }

// "none", "integrity", "confidentiality"; "" when the kernel does not say.
std::string lockdown() {
  std::ifstream file("/sys/kernel/security/lockdown");
  std::string text;
  std::getline(file, text);
  auto open = text.find('['), close = text.find(']');
  return open == std::string::npos || close == std::string::npos ? "" : text.substr(open + 1, close - open - 1);
}

// The line in which the verifier or libbpf says what it does not like: the last one that is no summary.
std::string telling_line(const std::string& messages) {
  std::string found;
  for (std::size_t at = 0; at < messages.size();) {
    auto end = messages.find('\n', at);
    if (end == std::string::npos) end = messages.size();
    std::string line = messages.substr(at, end - at);
    at = end + 1;
    bool summary = line.empty() || line.starts_with("processed ") || line.starts_with("-- ") ||
                   line.starts_with("libbpf: failed to load object") || line.starts_with("verification time") ||
                   line.starts_with("stack depth") || line.find("-- END PROG LOAD LOG --") != std::string::npos ||
                   line.find(": failed to load: ") != std::string::npos;
    if (!summary) found = line;
  }
  return found;
}

std::string module_obstacle() {
  if (!there("/sys/module/vz")) return "vz.ko is not loaded (modprobe vz; Documentation/module.rst)";
  if (!there("/sys/kernel/btf/vz"))
    return "vz.ko is loaded, but without type information: it was built without pahole or without the kernel's BTF";
  return "";
}

}  // namespace

void collect_messages() { libbpf_set_print(collect); }

std::string take_messages() { return std::exchange(collected, {}); }

std::string obstacle(const std::string& object) {
  if (!there("/sys/kernel/btf/vmlinux"))
    return "the kernel has no type information (CONFIG_DEBUG_INFO_BTF): /sys/kernel/btf/vmlinux is missing";
  auto locked = lockdown();
  if (locked == "confidentiality")
    return "the kernel is locked down (confidentiality): BPF programs may not read kernel memory";
  if (object == "sysinfo" && locked == "integrity")
    return "the kernel is locked down (integrity, as with Secure Boot): BPF programs may not write to user memory";
  return "";
}

std::string explain(const std::string& object, int error, const std::string& messages) {
  if (::geteuid() != 0) return "needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN)";
  if (auto known = obstacle(object); !known.empty()) return known;
  if (messages.find("vz_delay_current") != std::string::npos) {
    if (auto known = module_obstacle(); !known.empty()) return known;
    return "the vz.ko that is loaded has no vz_delay_current: it is of another version than vz-bpf";
  }
  if (messages.find("reuse pinned map") != std::string::npos)
    return "maps of another layout are pinned: `vz-bpf unload` when no container runs, then load again";
  auto line = telling_line(messages);
  auto text = fmt::format("{}{}{}", strerror(-error), line.empty() ? "" : ": ", line);
  if (error == -EPERM) return "the kernel refused: " + text + " (a container or sandbox? CAP_BPF, CAP_PERFMON)";
  return text;
}

}  // namespace vzbpf
