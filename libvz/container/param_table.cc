// SPDX-License-Identifier: LGPL-2.1-or-later
// Every setting of ID.conf and vz.conf, in the order of the documentation. The help texts are the man page.
#include "libvz/container/param_table.h"

#include <algorithm>
#include <array>

namespace vz {

namespace {

constexpr std::uint64_t kMax = Limit::kUnlimited;

#define VZ_BY_PROGRAM " Needs the BPF programs of vzctl vswap start; refused without them."

constexpr Param kParams[] = {
    // Memory. --ram and --swap share their keys with --physpages and --swappages.
    {"PHYSPAGES", "--ram", "SIZE", Kind::memory, Applies::online, "Memory",
     "RAM of the container: processes, page cache and kernel memory together. A number is bytes; suffixes K, M, G, T "
     "and P (4 KiB pages), at least 1M. Needs --swap too. Stored as PHYSPAGES.",
     1 << 20},
    {"SWAPPAGES", "--swap", "SIZE", Kind::memory, Applies::online, "Memory",
     "Swap that the container may use on top of its RAM; 0 for none. Same units as --ram. Stored as SWAPPAGES."},
    {"VM_OVERCOMMIT", "--vm_overcommit", "FACTOR", Kind::real, Applies::online, "Memory",
     "Bounds the private memory that processes may map to (RAM + swap) x FACTOR, a decimal number such as 1.5: beyond "
     "it mmap(2) fails with ENOMEM and nothing is killed. 0 or unset means no bound. Needs the BPF programs of "
     "vzctl vswap start; refused without them."},
    {"VSWAP_RATE", "--vswap-rate", "PAGES", Kind::number, Applies::online, "Memory",
     "How many 4 KiB pages per second a container over its RAM may move to and from swap, all its threads together; "
     "1 to 10000000. Default 25600 (100 MiB/s); 0 means no slowdown. vzctl check says how exactly this host keeps it.",
     0, 10000000},
    {"PHYSPAGES", "--physpages", "[BAR:]LIM", Kind::pages, Applies::online, "Memory",
     "RAM in 4 KiB pages, or with a suffix K, M, G or T. The barrier is ignored; --ram is the same limit in bytes."},
    {"SWAPPAGES", "--swappages", "[BAR:]LIM", Kind::pages, Applies::online, "Memory",
     "Swap in 4 KiB pages, or with a suffix K, M, G or T. The barrier is ignored; --swap is the same limit in bytes."},

    {"KMEMSIZE", "--kmemsize", "BAR[:LIM]", Kind::bytes, Applies::not_enforced, "Beancounters",
     "Kernel memory that cannot be swapped, in bytes or with a suffix. It is part of --ram, too."},
    {"LOCKEDPAGES", "--lockedpages", "BAR[:LIM]", Kind::pages, Applies::not_enforced, "Beancounters",
     "Pages that processes lock with mlock(2). Default: as much as the RAM."},
    {"PRIVVMPAGES", "--privvmpages", "BAR[:LIM]", Kind::pages, Applies::online, "Beancounters",
     "Private memory that processes may map, in pages or with a suffix, whether it is used or not. Default: unlimited, "
     "or what --vm_overcommit says. Needs the BPF programs of vzctl vswap start; refused without them."},
    {"SHMPAGES", "--shmpages", "BAR[:LIM]", Kind::pages, Applies::online, "Beancounters",
     "Shared memory (IPC, anonymous shared mappings, tmpfs, memfd) in pages or with a suffix, in RAM or in swap. "
     "Beyond "
     "it shmget(2) and mmap(2) fail with ENOMEM, writing with ENOSPC." VZ_BY_PROGRAM},
    {"NUMPROC", "--numproc", "BAR[:LIM]", Kind::count, Applies::online, "Beancounters",
     "Most processes and threads in the container. Both numbers are usually the same; at least 8 are needed to boot.",
     1},
    {"VMGUARPAGES", "--vmguarpages", "BAR[:LIM]", Kind::pages, Applies::not_enforced, "Beancounters",
     "Memory whose allocation is guaranteed, in pages or with a suffix. Default: RAM + swap."},
    {"OOMGUARPAGES", "--oomguarpages", "BAR[:LIM]", Kind::pages, Applies::online, "Beancounters",
     "Memory up to which the container is spared while the host runs short and others have more than theirs, in pages "
     "or with a suffix; the barrier counts. Default: half of the RAM. Needs cgroup v2."},
    {"NUMTCPSOCK", "--numtcpsock", "BAR[:LIM]", Kind::count, Applies::online, "Beancounters",
     "Most TCP sockets. Beyond it socket(2) fails with ENOBUFS, and new connections to a server are "
     "dropped." VZ_BY_PROGRAM},
    {"NUMFLOCK", "--numflock", "BAR[:LIM]", Kind::count, Applies::online, "Beancounters",
     "Most file locks. Beyond it fcntl(2) and flock(2) fail with ENOLCK." VZ_BY_PROGRAM},
    {"NUMPTY", "--numpty", "BAR[:LIM]", Kind::count, Applies::online, "Beancounters",
     "Most pseudo-terminals. Beyond it opening /dev/ptmx fails with ENOSPC." VZ_BY_PROGRAM},
    {"NUMSIGINFO", "--numsiginfo", "BAR[:LIM]", Kind::count, Applies::online, "Beancounters",
     "Most pending signals with siginfo. Beyond it sigqueue(3) fails with EAGAIN." VZ_BY_PROGRAM},
    {"TCPSNDBUF", "--tcpsndbuf", "BAR[:LIM]", Kind::bytes, Applies::not_enforced, "Beancounters",
     "Send buffers of all TCP sockets, in bytes or with a suffix."},
    {"TCPRCVBUF", "--tcprcvbuf", "BAR[:LIM]", Kind::bytes, Applies::not_enforced, "Beancounters",
     "Receive buffers of all TCP sockets, in bytes or with a suffix."},
    {"OTHERSOCKBUF", "--othersockbuf", "BAR[:LIM]", Kind::bytes, Applies::not_enforced, "Beancounters",
     "Send buffers of local and UDP sockets, in bytes or with a suffix."},
    {"DGRAMRCVBUF", "--dgramrcvbuf", "BAR[:LIM]", Kind::bytes, Applies::not_enforced, "Beancounters",
     "Receive buffers of UDP and other datagram sockets, in bytes or with a suffix."},
    {"NUMOTHERSOCK", "--numothersock", "BAR[:LIM]", Kind::count, Applies::online, "Beancounters",
     "Most sockets other than TCP. Beyond it socket(2) fails with ENOBUFS or ENOMEM." VZ_BY_PROGRAM},
    {"NUMFILE", "--numfile", "BAR[:LIM]", Kind::count, Applies::online, "Beancounters",
     "Most open files. Beyond it open(2) and its like fail with ENFILE." VZ_BY_PROGRAM},
    {"DCACHESIZE", "--dcachesize", "BAR[:LIM]", Kind::bytes, Applies::not_enforced, "Beancounters",
     "Kernel memory of busy directory entries and inodes, in bytes or with a suffix."},
    {"NUMIPTENT", "--numiptent", "BAR[:LIM]", Kind::count, Applies::online, "Beancounters",
     "Most packet filter rules: nftables, and iptables that is made of it. More fail with ENOMEM." VZ_BY_PROGRAM},
    {"AVNUMPROC", "--avnumproc", "BAR[:LIM]", Kind::count, Applies::not_enforced, "Beancounters",
     "Average number of processes; a planning value, never a limit."},

    {"CPUUNITS", "--cpuunits", "N", Kind::number, Applies::online, "CPU",
     "Weight of the container when CPU time is short, 8 to 500000; default 1000. A container with 2000 gets twice "
     "the time of one with 1000.",
     8, 500000},
    {"CPUUWEIGHT", "--cpuweight", "N", Kind::number, Applies::not_enforced, "CPU",
     "Old name of a CPU weight, 8 to 500000; use --cpuunits.", 8, 500000},
    {"CPULIMIT", "--cpulimit", "N[%]", Kind::percent, Applies::online, "CPU",
     "Hard limit of CPU time in percent of one CPU; 150 is one and a half CPUs, 0 means no limit.", 0, 100 * 8192},
    {"CPUS", "--cpus", "N", Kind::number, Applies::online, "CPU",
     "Most CPUs that the container may keep busy at the same time; 0 means all.", 0, 8192},
    {"CPUMASK", "--cpumask", "LIST|auto|all", Kind::cpu_set, Applies::online, "CPU",
     "The CPUs that the container may run on, as in 0-3,5; all for every CPU, auto for those of --nodemask."},
    {"NODEMASK", "--nodemask", "LIST|all", Kind::cpu_set, Applies::online, "CPU",
     "The NUMA nodes that the container's memory comes from; needs --cpumask."},

    {"IOPRIO", "--ioprio", "N", Kind::number, Applies::online, "Disk I/O", "I/O priority, 0 (lowest) to 7; default 4.",
     0, 7},
    {"IOLIMIT", "--iolimit", "RATE", Kind::io_rate, Applies::online, "Disk I/O",
     "Most bytes per second to and from disk. A number is MiB/s; suffixes B, K, M, G; 0 means no limit. The file has "
     "bytes."},
    {"IOPSLIMIT", "--iopslimit", "N", Kind::number, Applies::online, "Disk I/O",
     "Most I/O operations per second; 0 means no limit.", 0, 4294967295},

    {"DISKSPACE", "--diskspace", "SOFT[:HARD]", Kind::kib, Applies::online, "Disk",
     "How much disk space the container may use. A number is KiB; suffixes K, M, G, T, with a fraction if you like, as "
     "in 2G:2.2G. The soft value may be exceeded for --quotatime, the hard one never. With the image layout the hard "
     "value is the size of the file system."},
    {"DISKINODES", "--diskinodes", "SOFT[:HARD]", Kind::count, Applies::online, "Disk",
     "Number of files and directories. The image layout takes it when the container is created."},
    {"DISK_QUOTA", "--diskquota", "yes|no", Kind::yes_no, Applies::restart, "Disk",
     "Whether the disk limits of the dir layout are enforced; yes unless set. The image layout always enforces its "
     "size."},
    {"QUOTATIME", "--quotatime", "SECONDS", Kind::number, Applies::online, "Disk",
     "How long the soft disk limits may be exceeded, in seconds; with 0 the soft limits are the hard ones. For the dir "
     "layout.",
     0, 4294967295},
    {"QUOTAUGIDLIMIT", "--quotaugidlimit", "N", Kind::number, Applies::restart, "Disk",
     "Not 0: users and groups inside have disk quotas of their own, which its root sets with setquota(8) and its like; "
     "there is no limit to their number. 0 switches such quotas off.",
     0, 4294967295},
    {"BACKUP_SPACE", "--backup-space", "SIZE", Kind::kib, Applies::start, "Disk",
     "How much space the backups of the container in BACKUPDIR may take together. A number is KiB; suffixes K, M, G, "
     "T. "
     "A backup that would need more is refused. Default: no limit."},
    {"MOUNT_OPTS", "--mount_opts", "OPTION[,OPTION...]", Kind::text, Applies::restart, "Disk",
     "Mount options of the container's file system, as in noatime."},
    {"VE_LAYOUT", "--layout", "image|dir", Kind::text, Applies::create, "Disk",
     "Where the files are: image (one ext4 in a file, also called ploop) or dir (a directory, also called simfs). "
     "Only for create; default: VE_LAYOUT of vz.conf."},

    {"IP_ADDRESS", "--ipadd", "ADDRESS[/PREFIX]", Kind::list, Applies::online, "Network",
     "Adds an IPv4 or IPv6 address, routed to the container; may be repeated."},
    {nullptr, "--ipdel", "ADDRESS|all", Kind::list, Applies::online, "Network",
     "Removes an address, or all of them; may be repeated."},
    {"HOSTNAME", "--hostname", "NAME", Kind::text, Applies::online, "Network",
     "Host name inside, up to 64 characters; also written to /etc/hosts of the container."},
    {"NAMESERVER", "--nameserver", "ADDRESS|inherit", Kind::list, Applies::online, "Network",
     "DNS server for the container's resolv.conf; may be repeated. inherit takes the host's."},
    {"SEARCHDOMAIN", "--searchdomain", "DOMAIN|inherit", Kind::list, Applies::online, "Network",
     "DNS search domain for the container's resolv.conf; may be repeated. inherit takes the host's."},
    {"NETIF", "--netif_add", "IF[,MAC,HOST_IF,HOST_MAC,BRIDGE]", Kind::netif_list, Applies::online, "Network",
     "Adds a virtual Ethernet device IF; what is left out is chosen: MAC addresses at random, veth<ID>.<N> on the "
     "host."},
    {nullptr, "--netif_del", "IF|all", Kind::text, Applies::online, "Network",
     "Removes a virtual Ethernet device, or all of them."},
    {nullptr, "--ifname", "IF", Kind::text, Applies::online, "Network",
     "The device that --mac, --host_ifname, --host_mac, --bridge and --mac_filter change."},
    {nullptr, "--mac", "MAC", Kind::text, Applies::online, "Network", "MAC address of --ifname inside."},
    {nullptr, "--host_ifname", "IF", Kind::text, Applies::online, "Network",
     "Name of the host's end of --ifname, up to 15 characters."},
    {nullptr, "--host_mac", "MAC", Kind::text, Applies::online, "Network",
     "MAC address of the host's end of --ifname."},
    {nullptr, "--bridge", "BRIDGE", Kind::text, Applies::online, "Network",
     "Bridge of the host that --ifname is connected to."},
    {nullptr, "--mac_filter", "on|off", Kind::choice, Applies::online, "Network",
     "Whether packets from another source MAC address than that of --ifname are dropped. Default: on."},
    {"NETDEV", "--netdev_add", "IF", Kind::list, Applies::not_enforced, "Network",
     "Moves a network device of the host into the container."},
    {nullptr, "--netdev_del", "IF", Kind::text, Applies::not_enforced, "Network",
     "Gives a network device back to the host."},
    {"NETFILTER", "--netfilter", "disabled|stateless|stateful|full", Kind::choice, Applies::not_enforced, "Network",
     "Which part of the packet filter the container may use. A container has a packet filter of its own network "
     "namespace in any case."},
    {"IPTABLES", "--iptables", "MODULE[,MODULE...]", Kind::list, Applies::not_enforced, "Network",
     "Packet filter modules that the container may use; old, see --netfilter."},

    {"CAPABILITY", "--capability", "NAME:on|off[,...]", Kind::on_off_list, Applies::restart, "Access",
     "Gives or takes capabilities inside, as in net_admin:on,sys_time:off; see capabilities(7). May be repeated."},
    {"FEATURES", "--features", "NAME:on|off[,...]", Kind::on_off_list, Applies::restart, "Access",
     "Switches features: nesting (containers inside; excludes live migration), tun, fuse, and ubc, which is on unless "
     "it is switched off: with it and vz.ko, /proc/user_beancounters and /proc/vz exist inside. With backups its root "
     "makes, lists, restores and deletes backups of it from inside, through /dev/vz/backups; needs --backup-space, and "
     "backups:off forbids it at once. OpenVZ's nfs, sit, ipip, ppp, ipgre, bridge, nfsd and sysfs are kept and have no "
     "effect."},
    {"DEVNODES", "--devnodes", "NAME:[r][w][q]|none", Kind::devnode_list, Applies::online, "Access",
     "Gives access to a device of the host by its name below /dev, as in net/tun:rw; none takes it back. May be "
     "repeated. Loop devices are refused."},
    {"DEVICES", "--devices", "b|c:MAJOR:MINOR|all:[r][w][q]|none", Kind::device_list, Applies::online, "Access",
     "Gives access to a device by its numbers, as in c:10:229:rw; none takes it back. May be repeated. Loop devices "
     "are refused."},
    {"PCI", "--pci_add", "[DOMAIN:]BUS:SLOT.FUNC", Kind::list, Applies::not_enforced, "Access",
     "Gives a PCI device to the container."},
    {nullptr, "--pci_del", "[DOMAIN:]BUS:SLOT.FUNC", Kind::text, Applies::not_enforced, "Access",
     "Takes a PCI device back."},
    {"MEMINFO", "--meminfo", "none|pages:N|privvmpages:N", Kind::text, Applies::not_enforced, "Access",
     "What /proc/meminfo shows inside. With --ram it always shows the RAM."},

    {"ONBOOT", "--onboot", "yes|no", Kind::yes_no, Applies::start, "Start and stop",
     "Whether the container starts when the host boots. Unset: it starts when it ran at the last shutdown."},
    {"BOOTORDER", "--bootorder", "N", Kind::number, Applies::start, "Start and stop",
     "Order of starting at boot: higher numbers start earlier and stop later. Default: 0.", 0, 4294967295},
    {"DISABLED", "--disabled", "yes|no", Kind::yes_no, Applies::start, "Start and stop",
     "A disabled container starts only with --force."},
    {"STOP_TIMEOUT", "--stop-timeout", "SECONDS", Kind::number, Applies::start, "Start and stop",
     "How long the container may take to shut down before it is killed. Default: 120.", 0, 86400},
    {"NAME", "--name", "NAME", Kind::text, Applies::start, "Identity",
     "A name that can be used instead of the number: letters, digits, blank and - + _ . but not digits alone. An empty "
     "one removes the name."},
    {"DESCRIPTION", "--description", "TEXT", Kind::text, Applies::start, "Identity", "One line of text for people."},
    {"OSTEMPLATE", "--ostemplate", "NAME", Kind::text, Applies::start, "Identity",
     "The OS template that the container is made from, as in debian-13-amd64. Default: DEF_OSTEMPLATE of vz.conf."},
    {"ORIGIN_SAMPLE", nullptr, "NAME", Kind::text, Applies::start, "Identity",
     "The sample configuration that the container was made from (create --config)."},
    {"UUID", nullptr, "UUID", Kind::text, Applies::start, "Identity",
     "Which container it is, whatever its number; create makes a new one. Backups build only on those that have it."},
    {"VE_PRIVATE", "--private", "PATH", Kind::text, Applies::start, "Identity",
     "Absolute path of the directory that holds the container's files. $VEID stands for the number."},
    {"VE_ROOT", "--root", "PATH", Kind::text, Applies::start, "Identity",
     "Absolute path where vzctl mount shows the container's files. $VEID stands for the number."},
    {nullptr, "--userpasswd", "USER:PASSWORD", Kind::text, Applies::online, "Identity",
     "Sets a password inside, by the container's own tools. It is stored nowhere else."},
    {"LOCAL_UID", "--local_uid", "UID", Kind::number, Applies::not_enforced, "Identity",
     "First user id of the container on the host. vz chooses a range of its own for each container.", 0, 4294967294},
    {"LOCAL_GID", "--local_gid", "GID", Kind::number, Applies::not_enforced, "Identity",
     "First group id of the container on the host. vz chooses a range of its own for each container.", 0, 4294967294},

    // vz.conf only.
    {"VIRTUOZZO", nullptr, "yes|no", Kind::yes_no, Applies::start, "Host", "Whether vz.service does anything at boot."},
    {"LOCKDIR", nullptr, "PATH", Kind::text, Applies::start, "Host", "Where lock files are. Default: /run/vz/lock."},
    {"DUMPDIR", nullptr, "PATH", Kind::text, Applies::start, "Host",
     "Where suspended containers are kept. Default: /var/lib/vz/dump."},
    {"BACKUPDIR", nullptr, "PATH", Kind::text, Applies::start, "Host",
     "Where vzctl backup keeps backups, in a directory for each container. Default: /var/lib/vz/backup."},
    {"TEMPLATE", nullptr, "PATH", Kind::text, Applies::start, "Host",
     "Where OS templates are, in cache/ below it. Default: /var/lib/vz/template."},
    {"CONFIGFILE", nullptr, "NAME", Kind::text, Applies::start, "Host",
     "The sample configuration that create takes without --config: conf/ve-NAME.conf-sample."},
    {"DEF_OSTEMPLATE", nullptr, "NAME", Kind::text, Applies::start, "Host",
     "The OS template that create takes without --ostemplate."},
    {"VE_STOP_MODE", nullptr, "stop|suspend", Kind::choice, Applies::start, "Host",
     "What happens to running containers when the host shuts down. Default: stop."},
    {"VE_PARALLEL", nullptr, "N", Kind::number, Applies::start, "Host",
     "How many containers start or stop at the same time at boot and shutdown. Default: the number of CPUs.", 0, 1024},
    {"NEIGHBOUR_DEVS", nullptr, "detect|all|IF...", Kind::list, Applies::start, "Host",
     "Host devices on which the addresses of containers are answered for: detect (those with a matching subnet), all, "
     "or names. Default: detect."},
    {"VE_ROUTE_SRC_DEV", nullptr, "IF", Kind::text, Applies::not_enforced, "Host",
     "Device whose address is the source of the host's packets to containers."},
    {"SKIP_ARPDETECT", nullptr, "yes|no", Kind::yes_no, Applies::not_enforced, "Host",
     "Whether an address is taken without asking the network first."},
    {"ERROR_ON_ARPFAIL", nullptr, "yes|no", Kind::yes_no, Applies::not_enforced, "Host",
     "Whether an address that another machine has is an error."},
    {"FORCE_ROUTE", nullptr, "yes|no", Kind::yes_no, Applies::not_enforced, "Host",
     "Whether a route is set even if the host has one."},
    {"IPV6", nullptr, "yes|no", Kind::yes_no, Applies::not_enforced, "Host", "Whether containers have IPv6."},
    {"VE0CPUUNITS", nullptr, "N", Kind::number, Applies::not_enforced, "Host", "CPU weight of the host itself.", 8,
     500000},
    {"VSWAP_SIZE", nullptr, "SIZE", Kind::bytes, Applies::start, "Host",
     "Size of the device that vzctl vswap start makes, in bytes or with a suffix. Default: what the configurations of "
     "all containers promise as swap, at least half and at most twice the RAM of the host."},
    {"VSWAP_COMPRESSOR", nullptr, "NAME", Kind::text, Applies::start, "Host",
     "How zram compresses: a name of /sys/block/zramN/comp_algorithm, as in lzo-rle, lz4 or zstd. Default: the "
     "kernel's choice."},
    {"VSWAP_BACKING", nullptr, "DEVICE", Kind::text, Applies::start, "Host",
     "Unused block device to which zram may write pages back; all that is on it is lost. Default: none."},
    {"LOGGING", nullptr, "yes|no", Kind::yes_no, Applies::start, "Host", "Whether LOGFILE is written."},
    {"LOGFILE", nullptr, "PATH", Kind::text, Applies::start, "Host",
     "Where vzctl writes its messages with time and container."},
    {"LOG_LEVEL", nullptr, "N", Kind::number, Applies::start, "Host",
     "Detail of LOGFILE: 0 messages and errors, higher adds debugging.", 0, 10},
    {"VERBOSE", nullptr, "N", Kind::number, Applies::start, "Host", "Detail of messages on the terminal. Default: 0.",
     0, 10},
    {"VZFASTBOOT", nullptr, "yes|no", Kind::yes_no, Applies::not_enforced, "Host",
     "OpenVZ started containers before disk quotas were counted. vz never has to count."},
    {"MODULES_DISABLED", nullptr, "yes|no", Kind::yes_no, Applies::not_enforced, "Host",
     "Whether loading of kernel modules is switched off after start."},
    {"VZWDOG", nullptr, "yes|no", Kind::yes_no, Applies::not_enforced, "Host", "OpenVZ's watchdog module."},
    {"IPTABLES_MODULES", nullptr, "MODULE...", Kind::list, Applies::not_enforced, "Host",
     "Packet filter modules to load on the host."},
    {"SKIP_SYSCTL_SETUP", nullptr, "yes|no", Kind::yes_no, Applies::not_enforced, "Host",
     "Whether OpenVZ's installer leaves the host's sysctls alone."},
};

constexpr ParamAlias kOptionAliases[] = {
    {"--ip", "--ipadd"},
    {"--ve_layout", "--layout"},
    {"--velayout", "--layout"},
};

constexpr ParamAlias kKeyAliases[] = {
    {"DCACHE", "DCACHESIZE"},
    {"IPTENTRIES", "NUMIPTENT"},
};

// Rows that own their key, sorted by it.
constexpr bool owns_key(const Param& p) { return p.key && p.kind != Kind::memory; }

constexpr std::size_t count_keys() {
  std::size_t n = 0;
  for (const Param& p : kParams) n += owns_key(p);
  return n;
}

struct KeyEntry {
  std::string_view key;
  std::uint16_t row = 0;
};

constexpr auto make_key_index() {
  std::array<KeyEntry, count_keys()> index;
  std::size_t n = 0;
  for (std::size_t row = 0; row < std::size(kParams); ++row) {
    if (owns_key(kParams[row])) index[n++] = {kParams[row].key, static_cast<std::uint16_t>(row)};
  }
  std::sort(index.begin(), index.end(), [](const KeyEntry& a, const KeyEntry& b) { return a.key < b.key; });
  return index;
}

constexpr auto kKeyIndex = make_key_index();

static_assert(std::adjacent_find(kKeyIndex.begin(), kKeyIndex.end(),
                                 [](const KeyEntry& a, const KeyEntry& b) { return a.key == b.key; }) ==
                  kKeyIndex.end(),
              "two rows own one key");
static_assert(kMax == 9223372036854775807ull);

#undef VZ_BY_PROGRAM

}  // namespace

std::span<const Param> params() { return kParams; }
std::span<const ParamAlias> option_aliases() { return kOptionAliases; }
std::span<const ParamAlias> key_aliases() { return kKeyAliases; }

std::string_view canonical_key(std::string_view key) {
  for (const ParamAlias& a : kKeyAliases) {
    if (key == a.alias) return a.name;
  }
  return key;
}

const Param* find_param_by_key(std::string_view key) {
  key = canonical_key(key);
  auto at = std::lower_bound(kKeyIndex.begin(), kKeyIndex.end(), key,
                             [](const KeyEntry& e, std::string_view k) { return e.key < k; });
  return at != kKeyIndex.end() && at->key == key ? &kParams[at->row] : nullptr;
}

const Param* find_param_by_option(std::string_view option) {
  for (const ParamAlias& a : kOptionAliases) {
    if (option == a.alias) option = a.name;
  }
  for (const Param& p : kParams) {
    if (p.option && option == p.option) return &p;
  }
  return nullptr;
}

}  // namespace vz
