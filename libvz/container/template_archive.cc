// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/template_archive.h"

#include <fmt/format.h>

#include "libvz/kernel/file.h"

namespace vz {

Result<std::string> find_template(const Host& host, const std::string& name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";
  if (name.empty() || name[0] == '.' || name.find_first_not_of(kAllowed) != std::string::npos)
    return fail(Error(Code::bad_value, fmt::format("--ostemplate {}: not a template name", name))
                    .with_hint("a plain file name without a path; `vztmpl list` shows what is there"));
  auto stem = host.template_dir() + "/cache/" + name;
  for (const char* suffix : {".tar.zst", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar"})
    if (exists(stem + suffix)) return stem + suffix;
  return fail(Error(Code::no_template, fmt::format("Cached OS template {}.tar.* not found", stem))
                  .with_hint(fmt::format("`vztmpl build {}` makes it, `vztmpl list` shows what is there", name)));
}

}  // namespace vz
