// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/template.h>

#include <cerrno>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/container/template_archive.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

// Names of archives in the cache, without their endings.
std::string template_name(const std::string& file) {
  if (file.starts_with('.')) return "";
  for (std::string_view suffix : {".tar.zst", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar"})
    if (file.ends_with(suffix)) return file.substr(0, file.size() - suffix.size());
  return "";
}

}  // namespace

Result<std::vector<TemplateInfo>> list_templates(const Host& host) {
  auto cache = host.template_dir() + "/cache";
  auto names = list_dir(cache);
  if (!names) {
    if (names.error().sys_errno() == ENOENT) return std::vector<TemplateInfo>();
    return fail(std::move(names).error());
  }
  std::vector<TemplateInfo> out;
  for (const auto& file : *names) {
    auto name = template_name(file);
    if (name.empty()) continue;
    auto fd = open_file(cache + "/" + file, O_PATH);
    if (!fd) continue;  // deleted meanwhile
    auto size = file_size(fd->get());
    auto mtime = modification_time(fd->get());
    if (size && mtime) out.push_back({name, cache + "/" + file, *size, *mtime});
  }
  return out;
}

Result<> delete_template(const Host& host, const std::string& name, Reporter& reporter) {
  auto path = VZ_TRY(find_template(host, name));
  reporter.step("template.delete");
  VZ_TRY(remove_tree(host.template_dir() + "/cache/" + name + ".sha256"));
  VZ_TRY(remove_tree(path));
  reporter.info(fmt::format("OS template {} was deleted", name));
  return {};
}

}  // namespace vz
