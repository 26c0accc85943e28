// SPDX-License-Identifier: LGPL-2.1-or-later
// OS templates: TEMPLATE/cache/NAME.tar.zst (also .gz .xz .tar made by others), unpacked into new containers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

struct TemplateInfo {
  std::string name;  // "debian-13-amd64"
  std::string path;
  std::uint64_t bytes = 0;
  std::int64_t mtime = 0;  // seconds since the epoch
};

struct TemplateBuild {
  std::string name;                   // debian-13-amd64, debian-12-amd64, busybox
  std::vector<std::string> packages;  // added to the default set
  std::string mirror;                 // empty: taken from the machine's apt configuration
};

VZ_API Result<std::vector<TemplateInfo>> list_templates(const Host& host);
// Names that build_template knows.
VZ_API std::vector<std::string> buildable_templates();
// Builds into a temp name, verifies, renames. Package signatures are verified, always.
VZ_API Result<> build_template(const Host& host, const TemplateBuild& what, Reporter& reporter);
VZ_API Result<> delete_template(const Host& host, const std::string& name, Reporter& reporter);

}  // namespace vz
