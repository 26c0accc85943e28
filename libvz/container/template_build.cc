// SPDX-License-Identifier: LGPL-2.1-or-later
// OS templates made on this machine: Debian by mmdebstrap, and a busybox that needs no network.
#include <vz/template.h>

#include <algorithm>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/apt_sources.h"
#include "libvz/container/template_files.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/rename.h"
#include "libvz/kernel/watched_program.h"

namespace vz {

namespace {

struct Release {
  const char* name;
  const char* suite;  // nullptr: busybox
  const char* architecture;
  unsigned systemd;
};
constexpr Release kReleases[] = {
    {"debian-13-amd64", "trixie", "amd64", 257},
    {"debian-12-amd64", "bookworm", "amd64", 252},
    {"busybox", nullptr, nullptr, 0},
};

constexpr const char* kKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
constexpr const char* kMmdebstrap = "/usr/bin/mmdebstrap";
constexpr const char* kBusybox = "/usr/bin/busybox";

// minbase and what an admin expects when he enters: systemd with logins, network and process tools, an editor.
constexpr const char* kDebianPackages =
    "systemd-sysv,libpam-systemd,dbus,login,passwd,apt,ca-certificates,debian-archive-keyring,iproute2,iputils-ping,"
    "netbase,procps,less,vim-tiny,busybox";

// A work directory in the cache, held by one builder at a time and emptied by the next after a crash.
struct Workshop {
  std::string cache;
  std::string dir;
  UniqueFd lock;
  ~Workshop() {
    if (lock) (void)remove_tree(dir);
  }
};

Result<> open_workshop(const Host& host, const std::string& name, Workshop& shop) {
  shop.cache = host.template_dir() + "/cache";
  shop.dir = shop.cache + "/.build-" + name;
  VZ_TRY(make_dirs(shop.cache, 0755));
  shop.lock = VZ_TRY(lock_file(shop.cache + "/.lock-" + name));
  VZ_TRY(remove_tree(shop.dir));
  return make_dirs(shop.dir, 0755);
}

Result<> write_files(const std::string& root, const std::vector<TemplateFile>& files) {
  for (const auto& file : files) {
    auto path = root + "/" + file.path;
    VZ_TRY(make_dirs(path.substr(0, path.rfind('/')), 0755));
    if (file.link.empty())
      VZ_TRY(replace_file(path, file.text, file.mode));
    else
      VZ_TRY(make_symlink(file.link, path));
  }
  return {};
}

Result<std::vector<AptSource>> read_apt_sources() {
  std::vector<AptSource> out;
  auto add = [&](const std::string& path) {
    auto text = read_file(path);
    if (!text) return;  // apt ignores what it cannot read as well
    auto sources = path.ends_with(".sources") ? parse_apt_deb822(*text) : parse_apt_list(*text);
    out.insert(out.end(), sources.begin(), sources.end());
  };
  add("/etc/apt/sources.list");
  auto names = list_dir("/etc/apt/sources.list.d");
  if (names)
    for (const auto& name : *names)
      if (name.ends_with(".list") || name.ends_with(".sources")) add("/etc/apt/sources.list.d/" + name);
  return out;
}

// sources.list lines of the new system: the machine's mirrors with the release asked for.
Result<std::vector<std::string>> plan_sources(const Release& release, const std::string& mirror) {
  if (!exists(kKeyring))
    return fail(Error(Code::system, fmt::format("{} is missing: signatures cannot be verified", kKeyring))
                    .with_hint("apt install debian-archive-keyring"));
  auto mirrors = choose_debian_mirrors(VZ_TRY(read_apt_sources()));
  if (!mirror.empty()) mirrors.archive = mirror;
  if (mirrors.archive.empty())
    return fail(Error(Code::no_template, "this machine's apt configuration names no Debian mirror")
                    .with_hint("give --mirror URI, or build `busybox`, which needs none"));
  auto line = [&](const std::string& uri, const char* tail) {
    return fmt::format("deb [signed-by={}] {} {}{} main", kKeyring, uri, release.suite, tail);
  };
  std::vector<std::string> lines = {line(mirrors.archive, ""), line(mirrors.archive, "-updates")};
  if (!mirrors.security.empty()) lines.push_back(line(mirrors.security, "-security"));
  return lines;
}

Result<> check_word(const std::string& word, const char* what, std::string_view more) {
  std::string allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-";
  allowed += more;
  if (word.empty() || word[0] == '-' || word.find_first_not_of(allowed) != std::string::npos)
    return fail(Code::bad_value, fmt::format("{} '{}' is not valid", what, word));
  return {};
}

Result<WatchedProgram> plan_mmdebstrap(const Release& release, const TemplateBuild& what, const Workshop& shop,
                                       const std::string& archive) {
  std::string packages = kDebianPackages;
  for (const auto& package : what.packages) {
    VZ_TRY(check_word(package, "package name", ":"));
    packages += "," + package;
  }
  if (!what.mirror.empty()) VZ_TRY(check_word(what.mirror, "mirror", ":/_~%@[]"));
  WatchedProgram out;
  out.argv = {kMmdebstrap, "--mode=auto", "--variant=minbase", "--format=tar",
              fmt::format("--architectures={}", release.architecture), "--include=" + packages,
              // Manuals and translations come with later upgrades of a package, as on any Debian: only this build
              // leaves them out, its dpkg.cfg is removed below.
              "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/info/*",
              "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
              "--dpkgopt=path-include=/usr/share/doc/*/copyright", "--dpkgopt=force-unsafe-io",
              "--customize-hook=cp -a --remove-destination \"$VZ_OVERLAY/.\" \"$1/\"",
              "--customize-hook=rm -f \"$1\"/etc/apt/apt.conf.d/99mmdebstrap \"$1\"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "
              "\"$1\"/etc/ssh/ssh_host_* \"$1\"/var/lib/dbus/machine-id",
              "--customize-hook=chroot \"$1\" passwd -l root"};
  auto dump = VZ_TRY(run_checked(Command{.argv = {"apt-config", "dump"}}));
  for (const auto& option : choose_apt_options(dump)) out.argv.push_back("--aptopt=" + option);
  out.argv.insert(out.argv.end(), {release.suite, archive});
  for (auto& line : VZ_TRY(plan_sources(release, what.mirror))) out.argv.push_back(std::move(line));
  out.env = {"VZ_OVERLAY=" + shop.dir + "/overlay", "TMPDIR=" + shop.dir, "DEBIAN_FRONTEND=noninteractive"};
  for (const char* name : {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})
    if (auto variable = inherited_variable(name); !variable.empty()) out.env.push_back(std::move(variable));
  return out;
}

// mmdebstrap's lines in the order in which they come, in percent of the usual time until then.
struct Stage {
  std::string_view line;
  unsigned percent;
};
constexpr Stage kStages[] = {
    {"I: running apt-get update", 2}, {"I: downloading packages", 10}, {"I: extracting archives", 20},
    {"I: installing essential", 30},  {"I: installing remaining", 45}, {"I: running --customize-hook", 82},
    {"I: creating tarball", 88},      {"I: removing tempdir", 97},
};

Result<> run_mmdebstrap(const WatchedProgram& program, Reporter& reporter) {
  unsigned percent = 0;
  auto result = VZ_TRY(run_watched(program, [&](std::string_view line) {
    for (const auto& stage : kStages)
      if (line.starts_with(stage.line)) percent = std::max(percent, stage.percent);
    if (!line.empty()) reporter.debug(line);
    reporter.progress("build", percent, 100);
    return !reporter.cancelled();
  }));
  if (result.stopped) return fail(Code::system, "interrupted");
  if (result.status == 0) return {};
  std::vector<std::string> errors;
  for (const auto& line : split(result.tail, '\n'))
    if (line.starts_with("E: ") || line.starts_with("W: ") || line.starts_with("Err:")) errors.push_back(line);
  return fail(Error(Code::system, fmt::format("mmdebstrap failed with status {}: {}", result.status,
                                              errors.empty() ? trim(result.tail) : join(errors, "; ")))
                  .with_hint("is the mirror of the apt configuration reachable and does it carry this release?"));
}

Result<std::string> build_debian(const Release& release, const TemplateBuild& what, const Workshop& shop,
                                 Reporter& reporter) {
  if (!exists(kMmdebstrap))
    return fail(Error(Code::system, "mmdebstrap is not installed").with_hint("apt install mmdebstrap"));
  auto archive = shop.dir + "/" + release.name + ".tar.zst";
  VZ_TRY(write_files(shop.dir + "/overlay", debian_template_files(release.systemd)));
  auto program = VZ_TRY(plan_mmdebstrap(release, what, shop, archive));
  VZ_TRY(run_mmdebstrap(program, reporter));
  return archive;
}

Result<std::string> build_busybox(const Release& release, const TemplateBuild& what, const Workshop& shop) {
  if (!what.packages.empty()) return fail(Code::bad_value, "the busybox template has no packages");
  if (!exists(kBusybox))
    return fail(Error(Code::system, "busybox is not installed").with_hint("apt install busybox-static"));
  auto root = shop.dir + "/root";
  for (const char* dir : {"bin", "sbin", "usr/bin", "usr/sbin", "etc", "dev", "proc", "sys", "run", "root", "var/log",
                          "var/run", "var/www", "home", "mnt"})
    VZ_TRY(make_dirs(root + "/" + dir, 0755));
  for (const char* dir : {"tmp", "var/tmp"}) {
    VZ_TRY(make_dirs(root + "/" + dir, 0755));
    VZ_TRY(set_mode(root + "/" + dir, 01777));
  }
  auto program = VZ_TRY(read_file(kBusybox));
  VZ_TRY(replace_file(root + "/bin/busybox", program, 0755));
  VZ_TRY(write_files(root, busybox_template_files()));
  auto applets = run_checked(Command{.argv = {"chroot", root, "/bin/busybox", "--install", "-s"}});
  if (!applets)
    return fail(Error(Code::system, fmt::format("{} does not run by itself", kBusybox))
                    .with_hint("it must be the static one: apt install busybox-static"));
  auto archive = shop.dir + "/" + release.name + ".tar.zst";
  VZ_TRY(run_checked(Command{.argv = {"tar", "--create", "--file", archive, "--use-compress-program=zstd -T0 -3",
                                      "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "-C", root, "."}}));
  return archive;
}

// The archive is whole and on disk before anyone sees its name.
Result<> publish(const Workshop& shop, const std::string& name, const std::string& archive, Reporter& reporter) {
  reporter.step("template.verify");
  VZ_TRY_CTX(run_checked(Command{.argv = {"zstd", "-tq", archive}}), "verify the new archive");
  UniqueFd fd = VZ_TRY(open_file(archive, O_RDONLY));
  VZ_TRY(sync_file(fd.get()));
  auto file = archive.substr(archive.rfind('/') + 1);
  auto sum = VZ_TRY(run_checked(Command{.argv = {"sha256sum", file}, .chdir = shop.dir}));
  reporter.step("template.publish");
  VZ_TRY(rename_durably(archive, shop.cache + "/" + file));
  return replace_file(shop.cache + "/" + name + ".sha256", sum, 0644);
}

}  // namespace

std::vector<std::string> buildable_templates() {
  std::vector<std::string> out;
  for (const auto& release : kReleases) out.emplace_back(release.name);
  return out;
}

Result<> build_template(const Host& host, const TemplateBuild& what, Reporter& reporter) {
  const Release* release = nullptr;
  for (const auto& r : kReleases)
    if (what.name == r.name) release = &r;
  if (!release)
    return fail(Error(Code::bad_value, fmt::format("no recipe for OS template '{}'", what.name))
                    .with_hint("known: " + join(buildable_templates(), ", ")));
  Workshop shop;
  VZ_TRY(open_workshop(host, what.name, shop));
  reporter.info(fmt::format("Building OS template {}", what.name));
  reporter.step("template.build");
  auto archive = release->suite ? build_debian(*release, what, shop, reporter) : build_busybox(*release, what, shop);
  if (!archive) return fail(std::move(archive).error().context("build OS template " + what.name));
  VZ_TRY(publish(shop, what.name, *archive, reporter));
  reporter.progress("build", 100, 100);
  reporter.info(fmt::format("OS template {} was built", what.name));
  return {};
}

}  // namespace vz
