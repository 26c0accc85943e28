// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/host.h>

#include <algorithm>
#include <cerrno>

#include "libvz/container/features.h"
#include "libvz/container/names.h"
#include "libvz/container/value.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

bool is_name_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// $VEID and ${VEID}, as a shell would.
std::string expand_veid(const std::string& text, Ctid id) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::string_view rest = std::string_view(text).substr(at);
    std::size_t length = 0;
    if (rest.starts_with("${VEID}"))
      length = 7;
    else if (rest.starts_with("$VEID") && (rest.size() == 5 || !is_name_char(rest[5])))
      length = 5;
    if (length)
      out += id.str();
    else
      out += text[at];
    at += std::max<std::size_t>(length, 1);
  }
  return out;
}

// A directory setting: absolute, and no variable but $VEID.
Result<> check_dir(const Config& config, const char* key, Code code, const std::string& file) {
  auto value = config.get(key).value_or("");
  auto bad = [&](const char* reason, const char* hint) {
    return fail(Error(code, file + ": " + key + "=\"" + printable(value) + "\": " + reason).with_hint(hint));
  };
  if (value.empty()) return bad("the path is empty", "give an absolute path, or remove the line for the default");
  if (value[0] != '/') return bad("not an absolute path", "begin it with '/'");
  if (expand_veid(value, Ctid(1)).find('$') != value.npos) return bad("unknown variable", "only $VEID is replaced");
  return {};
}

struct DirSetting {
  const char* key;
  Code code;
};

constexpr DirSetting kDirs[] = {{"VE_ROOT", Code::no_ve_root},       {"VE_PRIVATE", Code::no_ve_private},
                                {"TEMPLATE", Code::no_template_dir}, {"LOCKDIR", Code::no_lockdir},
                                {"DUMPDIR", Code::bad_config},       {"BACKUPDIR", Code::bad_config}};

Result<> check_dirs(const Config& config, const std::string& file) {
  for (const DirSetting& dir : kDirs) VZ_TRY(check_dir(config, dir.key, dir.code, file));
  return {};
}

// The values of vz.conf without its comments and warnings, and the defaults of the paths: what containers inherit.
Config make_base(const Config& global, const HostPaths& paths) {
  Config base = Config::parse("", paths.etc + "/vz.conf");
  for (const auto& key : global.keys()) base.set(key, *global.get(key));
  auto set_default = [&](const char* key, const std::string& value) {
    if (!base.get(key)) base.set(key, value);
  };
  set_default("VE_ROOT", paths.lib + "/root/$VEID");
  set_default("VE_PRIVATE", paths.lib + "/private/$VEID");
  set_default("TEMPLATE", paths.lib + "/template");
  set_default("DUMPDIR", paths.lib + "/dump");
  set_default("BACKUPDIR", paths.lib + "/backup");
  set_default("LOCKDIR", paths.run + "/lock");
  return base;
}

}  // namespace

struct Host::Impl {
  HostPaths paths;
  Config global;
  Config base;
  std::optional<Features> features;

  std::string path(const char* key) const { return base.get(key).value_or(""); }
  std::string ct_path(const char* key, Ctid id, const Config& ct) const {
    auto own = ct.get(key);
    return expand_veid(own && own->starts_with('/') ? *own : path(key), id);
  }
};

Host::Host(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Host::Host(Host&&) noexcept = default;
Host& Host::operator=(Host&&) noexcept = default;
Host::~Host() = default;

Result<Host> Host::open(HostPaths paths) {
  auto file = paths.etc + "/vz.conf";
  auto global = Config::load(file);
  if (!global)
    return fail(std::move(global)
                    .error()
                    .context("Unable to read global configuration file")
                    .with_code(Code::no_global_config)
                    .with_hint("install vz, or copy its etc/vz.conf there"));
  auto impl = std::make_unique<Impl>();
  impl->base = make_base(*global, paths);
  VZ_TRY(check_dirs(impl->base, file));
  impl->global = std::move(*global);
  impl->paths = std::move(paths);
  return Host(std::move(impl));
}

const HostPaths& Host::paths() const { return impl_->paths; }
const Config& Host::global() const { return impl_->global; }
std::string Host::config_path(Ctid id) const { return impl_->paths.etc + "/conf/" + id.str() + ".conf"; }
std::string Host::run_dir(Ctid id) const { return impl_->paths.run + "/" + id.str(); }
std::string Host::lock_dir() const { return impl_->path("LOCKDIR"); }
std::string Host::template_dir() const { return impl_->path("TEMPLATE"); }
std::string Host::dump_dir() const { return impl_->path("DUMPDIR"); }
std::string Host::backup_dir() const { return impl_->path("BACKUPDIR"); }
std::string Host::private_path(Ctid id, const Config& ct) const { return impl_->ct_path("VE_PRIVATE", id, ct); }
std::string Host::root_path(Ctid id, const Config& ct) const { return impl_->ct_path("VE_ROOT", id, ct); }

std::string Host::private_areas() const {
  auto path = impl_->ct_path("VE_PRIVATE", Ctid(0), Config());
  return path.substr(0, std::max<std::size_t>(1, path.rfind('/')));
}

const Features& Host::features() const {
  if (!impl_->features) {
    auto cgroups = CgroupHost::probe();
    impl_->features = probe_features(impl_->paths, cgroups ? *cgroups : CgroupHost(), private_areas());
  }
  return *impl_->features;
}

Result<Ctid> Host::resolve(std::string_view id_or_name) const {
  bool digits = !id_or_name.empty() && id_or_name.find_first_not_of("0123456789") == id_or_name.npos;
  if (digits) return Ctid::parse(id_or_name);
  if (auto id = name_owner(*this, id_or_name)) return *id;
  return fail(Error(Code::bad_value, "Unable to find container by name " + printable(id_or_name))
                  .with_hint("`vzlist -a -n` shows the names"));
}

Result<std::vector<Ctid>> Host::containers() const {
  std::vector<Ctid> out;
  auto files = list_dir(impl_->paths.etc + "/conf");
  if (!files && files.error().sys_errno() == ENOENT) return out;
  if (!files) return fail(std::move(files).error());
  for (std::string_view file : *files) {
    if (!file.ends_with(".conf") || file[0] < '1' || file[0] > '9') continue;  // no 0, no leading zeros
    if (auto id = Ctid::parse(file.substr(0, file.size() - 5))) out.push_back(*id);
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<Config> Host::load(Ctid id) const {
  auto file = config_path(id);
  auto own = Config::load(file);
  if (!own && own.error().sys_errno() == ENOENT)
    return fail(Error(Code::no_config, "Container config file does not exist")
                    .with_hint("`vzlist -a` shows the containers; `vzctl create " + id.str() + "` makes this one"));
  if (!own) return fail(std::move(own).error());
  // What the file does not say was checked when vz.conf was read.
  for (const DirSetting& dir : kDirs)
    if (own->get(dir.key)) VZ_TRY(check_dir(*own, dir.key, dir.code, file));
  own->inherit(impl_->base);
  return own;
}

}  // namespace vz
