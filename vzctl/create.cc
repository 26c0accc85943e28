// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>

#include "vzctl/command.h"
#include "vzctl/settings.h"

namespace vzctl {
namespace {

// The words of OpenVZ and ours; a mode behind ':' chose between kinds of ploop and means nothing here.
vz::Result<std::string> parse_layout(std::string_view word) {
  std::string_view base = word.substr(0, word.find(':'));
  if (base.empty()) return std::string();
  if (base == "image" || base == "ploop") return std::string("image");
  if (base == "dir" || base == "simfs") return std::string("dir");
  return vz::fail(vz::Error(vz::Code::bad_value, fmt::format("Bad value for --layout: {}", word))
                      .with_hint("image (ploop) or dir (simfs)"));
}

vz::Result<vz::CreateOptions> create_options(const Options& options) {
  vz::CreateOptions out;
  out.ostemplate = options.value_or("--ostemplate", "");
  out.sample = options.value_or("--config", "");
  out.layout = VZ_TRY(parse_layout(options.value_or("--layout", "")));
  out.force = options.has("--force");
  out.settings = VZ_TRY(settings_from(options));
  // These two are the library's to decide and to write.
  for (const char* key : {"OSTEMPLATE", "VE_LAYOUT"}) out.settings.unset(key);
  if (const vz::Param* addresses = vz::find_param_by_option("--ipadd"); addresses && addresses->key) {
    std::string text;
    for (const std::string& address : options.all("--ipadd")) text += (text.empty() ? "" : " ") + address;
    if (!text.empty()) out.settings.set(addresses->key, VZ_TRY(vz::param_from_option(*addresses, text)));
  }
  return out;
}

}  // namespace

int run_create(Invocation& call) {
  auto options = create_options(call.options);
  if (!options) return finish(call.reporter, options.error());
  auto done = call.container().create(*options, call.reporter);
  if (done) return 0;
  int status = finish(call.reporter, done.error());
  if (done.error().code() != vz::Code::locked)
    call.reporter.say(vz::Reporter::Level::error, "Creation of container private area failed");
  return status;
}

}  // namespace vzctl
