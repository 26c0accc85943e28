// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/template_files.h"

namespace vz {

namespace {

constexpr const char* kHosts =
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

// What CRIU cannot dump (nested UTS, IPC, user and pid namespaces, PSI triggers) is switched off for every service,
// so that the container can migrate live.
std::string service_drop_in(unsigned systemd) {
  std::string text =
      "# Keeps the container checkpointable; see vz's documentation on live migration.\n"
      "[Service]\nProtectHostname=no\nPrivateIPC=no\nPrivateUsers=no\n";
  if (systemd >= 257) text += "PrivatePIDs=no\n";
  if (systemd >= 254) text += "MemoryPressureWatch=off\n";
  return text;
}

// Mounts that a user namespace may not make, and kernel modules that it may not load.
constexpr const char* kMaskedUnits[] = {
    "dev-hugepages.mount",           "sys-kernel-config.mount",       "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",      "sys-fs-fuse-connections.mount", "systemd-modules-load.service",
    "systemd-journald-audit.socket", "systemd-remount-fs.service",    "proc-sys-fs-binfmt_misc.automount",
};

// A template has no keys of its own, or all containers had the same. Debian's sshd-keygen.service runs only where
// systemd asks the questions of a first boot.
constexpr const char* kSshKeys =
    "[Unit]\n"
    "Description=Host keys of this container for SSH\n"
    "ConditionPathExists=/usr/sbin/sshd\n"
    "ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key\n"
    "Before=ssh.service ssh.socket\n"
    "[Service]\n"
    "Type=oneshot\n"
    "ExecStart=/usr/bin/ssh-keygen -A\n"
    "[Install]\n"
    "WantedBy=multi-user.target\n";

}  // namespace

std::vector<TemplateFile> debian_template_files(unsigned systemd) {
  std::vector<TemplateFile> files = {
      {"etc/systemd/system/service.d/10-vz-criu.conf", service_drop_in(systemd)},
      // The host's console shows /dev/console; there are no virtual terminals.
      {"etc/systemd/system/getty.target.wants/console-getty.service", "", 0,
       "/lib/systemd/system/console-getty.service"},
      {"etc/systemd/logind.conf.d/10-vz.conf", "[Login]\nNAutoVTs=0\nReserveVT=0\n"},
      {"etc/systemd/system/vz-ssh-keys.service", kSshKeys},
      {"etc/systemd/system/multi-user.target.wants/vz-ssh-keys.service", "", 0, "../vz-ssh-keys.service"},
      // Empty, not missing: systemd makes an id at the first boot, and does not ask questions.
      {"etc/machine-id", ""},
      {"etc/hostname", "localhost\n"},
      {"etc/hosts", kHosts},
      {"etc/resolv.conf", ""},
      {"etc/fstab", "# the host mounts the container's file systems\n"},
      // Debian 13 makes the first name of these a link to the second.
      {systemd >= 257 ? "etc/locale.conf" : "etc/default/locale", "LANG=C.UTF-8\n"},
      {"etc/network/interfaces", "# the host sets the container's addresses\nauto lo\niface lo inet loopback\n"},
  };
  if (systemd >= 254)
    files.push_back({"etc/systemd/system.conf.d/10-vz-criu.conf", "[Manager]\nDefaultMemoryPressureWatch=off\n"});
  for (const char* unit : kMaskedUnits)
    files.push_back({std::string("etc/systemd/system/") + unit, "", 0, "/dev/null"});
  return files;
}

std::vector<TemplateFile> busybox_template_files() {
  return {
      {"sbin/init", "", 0, "/bin/busybox"},
      // halt, poweroff and reboot are signals to init; then shutdown actions run and all processes are killed.
      {"etc/inittab",
       "::sysinit:/etc/init.d/rcS\nconsole::respawn:/sbin/getty -L 0 console linux\n::ctrlaltdel:/sbin/poweroff\n"
       "::shutdown:/etc/init.d/rcK\n"},
      {"etc/init.d/rcS", "#!/bin/sh\n[ ! -x /etc/rc.local ] || /etc/rc.local\n", 0755},
      {"etc/init.d/rcK", "#!/bin/sh\nexit 0\n", 0755},
      {"etc/passwd",
       "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
      {"etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n"},
      {"etc/shadow", "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n", 0640},
      {"etc/securetty", "console\n"},
      {"etc/hostname", "localhost\n"},
      {"etc/hosts", kHosts},
      {"etc/resolv.conf", ""},
      {"etc/profile", "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
  };
}

}  // namespace vz
