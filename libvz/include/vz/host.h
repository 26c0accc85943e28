// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/features.h>
#include <vz/reporter.h>

namespace vz {

// Where things are on this host. The defaults are what packages install; tests set their own.
struct HostPaths {
  std::string etc = "/etc/vz";      // vz.conf, conf/, names/, dists/
  std::string run = "/run/vz";      // runtime state, gone after a reboot
  std::string lib = "/var/lib/vz";  // private/, template/cache/, idmap, vzreboot/
};

// The host as vz sees it: vz.conf, paths, names and the list of containers. Cheap to open (one small file);
// kernel features are probed on first use. Not thread-safe.
class VZ_API Host {
 public:
  // Code::no_global_config when vz.conf is missing or unreadable.
  static Result<Host> open(HostPaths paths = {});
  Host(Host&&) noexcept;
  Host& operator=(Host&&) noexcept;
  ~Host();

  const HostPaths& paths() const;
  const Config& global() const;                               // vz.conf
  std::string config_path(Ctid id) const;                     // ETC/conf/ID.conf
  std::string run_dir(Ctid id) const;                         // RUN/ID
  std::string lock_dir() const;                               // LOCKDIR
  std::string template_dir() const;                           // TEMPLATE
  std::string dump_dir() const;                               // DUMPDIR
  std::string backup_dir() const;                             // BACKUPDIR
  std::string private_path(Ctid id, const Config& ct) const;  // VE_PRIVATE, $VEID expanded
  std::string private_areas() const;                          // the directory of vz.conf's VE_PRIVATE
  std::string root_path(Ctid id, const Config& ct) const;     // VE_ROOT, $VEID expanded

  const Features& features() const;  // probed once per Host

  // A number or a name (ETC/names/NAME). Code::bad_value `Unable to find container by name X`.
  Result<Ctid> resolve(std::string_view id_or_name) const;
  // All numbers with a configuration file, ascending; broken file names are skipped.
  Result<std::vector<Ctid>> containers() const;
  // vz.conf merged with ID.conf. Code::no_config `Container config file does not exist`.
  Result<Config> load(Ctid id) const;

 private:
  struct Impl;
  explicit Host(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Does what is missing and can be had without unmounting or restarting anything: at present, that project quota of the
// file system with the private areas is enforced. Code::unsupported, with the commands, for what it cannot do.
VZ_API Result<> fix_features(const Host& host, Reporter& reporter);

}  // namespace vz
