// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/samples.h"

#include <string_view>

#include "libvz/base/text.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {
constexpr std::string_view kPrefix = "ve-";
constexpr std::string_view kSuffix = ".conf-sample";
}  // namespace

std::string sample_path(const Host& host, const std::string& name) {
  return host.paths().etc + "/conf/" + std::string(kPrefix) + name + std::string(kSuffix);
}

Result<Config> load_sample(const Host& host, const std::string& name) {
  auto path = sample_path(host, name);
  if (check_file_name(name)) {
    if (exists(path)) return Config::load(path);
  }
  auto known = list_samples(host).value_or(std::vector<std::string>());
  auto hint =
      known.empty() ? "there are no samples in " + host.paths().etc + "/conf" : "there are: " + join(known, ", ");
  return fail(Error(Code::copy_config, "Sample config " + printable(name) + " not found").with_hint(hint));
}

Result<std::vector<std::string>> list_samples(const Host& host) {
  std::vector<std::string> out;
  for (std::string_view file : VZ_TRY(list_dir(host.paths().etc + "/conf"))) {
    if (!file.starts_with(kPrefix) || !file.ends_with(kSuffix)) continue;
    file.remove_prefix(kPrefix.size());
    if (file.size() > kSuffix.size()) out.emplace_back(file.substr(0, file.size() - kSuffix.size()));
  }
  return out;
}

}  // namespace vz
