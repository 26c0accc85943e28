// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/names.h"

#include <filesystem>
#include <system_error>

#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace fs = std::filesystem;

namespace {

std::string link_path(const Host& host, std::string_view name) {
  return host.paths().etc + "/names/" + std::string(name);
}

// N of a link to ".../N.conf".
std::optional<Ctid> linked_id(const std::string& link) {
  std::error_code ec;
  auto target = fs::read_symlink(link, ec);
  if (ec || target.extension() != ".conf") return std::nullopt;
  auto id = Ctid::parse(target.stem().native());
  return id && id->value() != 0 ? std::optional(*id) : std::nullopt;
}

}  // namespace

std::optional<Ctid> name_owner(const Host& host, std::string_view name) {
  if (!check_container_name(name)) return std::nullopt;
  auto id = linked_id(link_path(host, name));
  return id && exists(host.config_path(*id)) ? id : std::nullopt;
}

Result<> check_name(const Host& host, const std::string& name, Ctid id) {
  if (auto fine = check_container_name(name); !fine)
    return fail(std::move(fine).error().context("--name " + printable(name)));
  auto owner = name_owner(host, name);
  if (owner && *owner != id)
    return fail(Error(Code::name, "Conflict: name " + name + " already used by container " + owner->str())
                    .with_hint("choose another name, or `vzctl set " + owner->str() + " --name '' --save`"));
  return {};
}

Result<> assign_name(const Host& host, const std::string& name, Ctid id) {
  VZ_TRY(check_name(host, name, id));
  if (name_owner(host, name) == id) return {};
  VZ_TRY(make_dirs(host.paths().etc + "/names", 0755));
  // A name cannot begin with '.': this one is never taken for a name. The container's lock keeps it ours.
  auto temporary = link_path(host, "." + id.str() + ".tmp");
  std::error_code ec;
  fs::remove(temporary, ec);
  fs::create_symlink("../conf/" + id.str() + ".conf", temporary, ec);
  if (!ec) fs::rename(temporary, link_path(host, name), ec);
  if (!ec) return {};
  return fail(Error::from_errno(ec.value(), "cannot assign name " + name, Code::name));
}

Result<> remove_name(const Host& host, const std::string& name, Ctid id) {
  if (!check_container_name(name)) return {};
  auto path = link_path(host, name);
  if (linked_id(path) != id) return {};
  std::error_code ec;
  fs::remove(path, ec);
  if (!ec) return {};
  return fail(Error::from_errno(ec.value(), "cannot remove name " + name, Code::name));
}

}  // namespace vz
