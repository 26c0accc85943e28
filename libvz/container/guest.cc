// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/guest.h"

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/fsid.h"
#include "libvz/kernel/tree.h"

namespace vz {

namespace {
constexpr char kOwnNameAddress[] = "127.0.1.1";  // Debian's convention for the host's own name

std::vector<std::string> lines_of(const std::string& text) {
  auto lines = split(text, '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}
}  // namespace

std::string edit_hosts(const std::string& text, const std::string& hostname) {
  auto short_name = hostname.substr(0, hostname.find('.'));
  std::string own = fmt::format("{}\t{}", kOwnNameAddress, hostname);
  if (short_name != hostname) own += " " + short_name;

  std::string out;
  bool placed = false, loopback = false;
  for (const auto& line : lines_of(text)) {
    auto words = split_blank(line);
    if (!words.empty() && words[0] == "127.0.0.1") loopback = true;
    if (words.empty() || words[0] != kOwnNameAddress) {
      out += line + "\n";
    } else if (!placed) {
      out += own + "\n";
      placed = true;
    }
  }
  if (!loopback) out = "127.0.0.1\tlocalhost\n" + out;
  if (!placed) out += own + "\n";
  return out;
}

std::string format_resolv(const std::vector<std::string>& nameservers, const std::vector<std::string>& searchdomains) {
  std::string out;
  if (!searchdomains.empty()) out += "search " + join(searchdomains, " ") + "\n";
  for (const auto& ns : nameservers) out += "nameserver " + ns + "\n";
  return out;
}

void parse_resolv(const std::string& text, std::vector<std::string>* nameservers, std::vector<std::string>* domains) {
  for (const auto& line : lines_of(text)) {
    auto words = split_blank(line);
    if (words.size() < 2) continue;
    if (words[0] == "nameserver") nameservers->push_back(words[1]);
    if (words[0] == "search" || words[0] == "domain") domains->assign(words.begin() + 1, words.end());
  }
}

Result<> write_guest_files(const UniqueFd& root_mount, IdMap idmap, const GuestSettings& settings) {
  if (!settings.hostname && !settings.write_resolv) return {};
  Tree tree(VZ_TRY(open_at(root_mount.get(), ".", O_PATH | O_DIRECTORY)));
  if (!tree.exists("/etc")) return fail(Code::bad_template, "the container's root has no /etc");
  FsIdentity identity(idmap.base, idmap.base);
  // A link at the end is replaced: /etc/resolv.conf often leads into /run, which is another file system inside.
  auto put = [&](const char* path, const std::string& text) -> Result<> {
    if (auto now = tree.read(path); now && *now == text) return {};
    return tree.replace(path, text, 0644, idmap.base, idmap.base);
  };
  if (settings.hostname) {
    VZ_TRY(put("/etc/hostname", *settings.hostname + "\n"));
    auto old = tree.read("/etc/hosts");
    VZ_TRY(put("/etc/hosts", edit_hosts(old ? *old : "", *settings.hostname)));
  }
  if (settings.write_resolv)
    VZ_TRY(put("/etc/resolv.conf", format_resolv(settings.nameservers, settings.searchdomains)));
  return {};
}

}  // namespace vz
