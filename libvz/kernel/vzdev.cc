// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/vzdev.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>

#include <linux/genetlink.h>

#include <netlink/attr.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "kmod/include/uapi/linux/vz.h"
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/module.h"
#include "libvz/kernel/netlink.h"
#include "libvz/kernel/netlink_request.h"

namespace vz {

static_assert(kVzNoDelay == VZ_CT_NO_DELAY);
static_assert(kVzUbMaps == VZ_UB_HAS_MAPS && kVzUbRefresh == VZ_UB_HAS_REFRESH);
// The module takes the values of these maps for arrays, whatever is behind these.
static_assert(VZ_UB_ROWS == VZ_UB_RESOURCES);
static_assert(offsetof(vz_ub, maxheld) == sizeof(std::uint64_t) * VZ_UB_ROWS);
static_assert(offsetof(vz_ub, failcnt) == 2 * sizeof(std::uint64_t) * VZ_UB_ROWS);
static_assert(offsetof(vz_ub_conf, limit) == sizeof(std::uint64_t) * VZ_UB_ROWS);

namespace {

using netlink::Request;
using netlink::transact;

struct FreeSocket {
  void operator()(nl_sock* s) const { nl_socket_free(s); }
};
using Socket = std::unique_ptr<nl_sock, FreeSocket>;

genlmsghdr header_of(std::uint8_t command) {
  genlmsghdr header{};
  header.cmd = command;
  header.version = VZ_GENL_VERSION;
  return header;
}

Result<Socket> connect_generic() {
  Socket sock(nl_socket_alloc());
  if (!sock) return fail(Error::from_errno(ENOMEM, "open a generic netlink socket"));
  if (int rc = nl_connect(sock.get(), NETLINK_GENERIC); rc < 0)
    return fail(Code::system, std::string("open a generic netlink socket: ") + nl_geterror(rc));
  int on = 1;
  (void)::setsockopt(nl_socket_get_fd(sock.get()), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  return sock;
}

// Attributes behind the generic header, by number; those that we do not know are passed over.
template <std::size_t N>
bool parse_attributes(const nlmsghdr* message, nlattr* (&out)[N]) {
  auto* h = const_cast<nlmsghdr*>(message);
  if (!nlmsg_valid_hdr(h, sizeof(genlmsghdr))) return false;
  return nlmsg_parse(h, sizeof(genlmsghdr), out, static_cast<int>(N) - 1, nullptr) == 0;
}

template <class Integer>
bool get(nlattr* attr, Integer& out) {
  if (!attr || nla_len(attr) != sizeof out) return false;
  std::memcpy(&out, nla_data(attr), sizeof out);
  return true;
}

bool get(nlattr* attr, std::string& out) {
  if (!attr) return false;
  const char* data = static_cast<const char*>(nla_data(attr));
  out.assign(data, ::strnlen(data, static_cast<std::size_t>(nla_len(attr))));
  return true;
}

struct Family {
  std::uint16_t id = 0;
  std::uint32_t events = 0;  // number of the multicast group, 0: none
};

void read_groups(nlattr* list, Family& family) {
  int left = 0;
  nlattr* entry = nullptr;
  nla_for_each_nested(entry, list, left) {
    nlattr* group[CTRL_ATTR_MCAST_GRP_MAX + 1] = {};
    std::string name;
    if (nla_parse_nested(group, CTRL_ATTR_MCAST_GRP_MAX, entry, nullptr) == 0 &&
        get(group[CTRL_ATTR_MCAST_GRP_NAME], name) && name == VZ_GENL_MCGRP_EVENTS)
      (void)get(group[CTRL_ATTR_MCAST_GRP_ID], family.events);
  }
}

Result<Family> resolve(nl_sock* sock) {
  genlmsghdr header{};
  header.cmd = CTRL_CMD_GETFAMILY;
  header.version = 1;
  Request request(GENL_ID_CTRL, 0, header);
  request.put(CTRL_ATTR_FAMILY_NAME, std::string(VZ_GENL_NAME));
  Family family;
  VZ_TRY(transact(sock, request, "netlink family vz", [&](nlmsghdr* h) {
    nlattr* attrs[CTRL_ATTR_MAX + 1] = {};
    if (!parse_attributes(h, attrs)) return;
    (void)get(attrs[CTRL_ATTR_FAMILY_ID], family.id);
    if (attrs[CTRL_ATTR_MCAST_GROUPS]) read_groups(attrs[CTRL_ATTR_MCAST_GROUPS], family);
  }));
  if (family.id == 0) return fail(Error::from_errno(ENOENT, "netlink family vz"));
  return family;
}

struct Connection {
  Socket sock;
  Family family;
};

Result<Connection> connect_here() {
  Connection out;
  out.sock = VZ_TRY(connect_generic());
  out.family = VZ_TRY(resolve(out.sock.get()));
  return out;
}

// The module serves the initial network namespace; a caller may be in another one.
Result<Connection> connect_module() {
  // Asking for an unknown family makes the kernel run modprobe.
  if (!module_loaded("vz"))
    return fail(Error(Code::unsupported, "vz.ko is not loaded").with_hint("`vzctl vswap start` loads it"));
  auto here = connect_here();
  if (here || here.error().sys_errno() != ENOENT) return here;
  UniqueFd first = VZ_TRY(open_file("/proc/1/ns/net", O_RDONLY));
  std::optional<Connection> there;
  VZ_TRY(with_netns(first, [&]() -> Result<> {
    there = VZ_TRY(connect_here());
    return {};
  }));
  return std::move(*there);
}

Result<> check_abi(const VzModule& module) {
  if (module.abi == VZ_ABI) return {};
  return fail(
      Error(Code::bad_kernel, "vz.ko " + module.version + " speaks ABI " + std::to_string(module.abi) +
                                  ", this vz speaks " + std::to_string(VZ_ABI))
          .with_hint("install module and tools of one release; stop the containers, `rmmod vz`, `modprobe vz`"));
}

void put_addresses(Request& request, const std::vector<IpAddress>& list) {
  request.nest(VZ_A_ADDRS, [&](Request& nest) {
    std::size_t count = std::min<std::size_t>(list.size(), VZ_ADDRS_MAX);
    for (const auto& a : std::span(list).first(count))
      nest.put(a.v6 ? VZ_ADDR_IPV6 : VZ_ADDR_IPV4, a.bytes, a.v6 ? 16 : 4);
  });
}

std::vector<IpAddress> get_addresses(nlattr* list) {
  std::vector<IpAddress> out;
  int left = 0;
  nlattr* entry = nullptr;
  if (!list) return out;
  nla_for_each_nested(entry, list, left) {
    IpAddress a;
    a.v6 = nla_type(entry) == VZ_ADDR_IPV6;
    a.prefix = a.v6 ? 128 : 32;
    if ((!a.v6 && nla_type(entry) != VZ_ADDR_IPV4) || nla_len(entry) != (a.v6 ? 16 : 4)) continue;
    std::memcpy(a.bytes, nla_data(entry), static_cast<std::size_t>(nla_len(entry)));
    out.push_back(a);
  }
  return out;
}

Request container_request(std::uint16_t family, std::uint8_t command, const VzContainer& c, bool addresses) {
  Request request(family, 0, header_of(command));
  request.put(VZ_A_CGROUP_ID, &c.cgroup_id, sizeof c.cgroup_id);
  request.put(VZ_A_CTID, c.ctid);
  request.put(VZ_A_NAME, c.name.substr(0, VZ_NAME_MAX));
  request.put(VZ_A_CPUS, c.cpus);
  if (c.boot_ns) request.put(VZ_A_BOOT_NS, &c.boot_ns, sizeof c.boot_ns);
  request.put(VZ_A_FLAGS, c.flags);
  if (addresses) put_addresses(request, c.addresses);
  return request;
}

}  // namespace

std::optional<VzModule> parse_vz_module(const nlmsghdr* message) {
  nlattr* a[VZ_A_MAX + 1] = {};
  VzModule out;
  if (!parse_attributes(message, a) || !get(a[VZ_A_ABI], out.abi)) return std::nullopt;
  (void)get(a[VZ_A_VERSION], out.version);
  (void)get(a[VZ_A_NR_CTS], out.containers);
  (void)get(a[VZ_A_NR_SLEEPERS], out.sleepers);
  if (std::uint32_t ub = 0; get(a[VZ_A_UB_STATE], ub)) out.ub = ub;
  return out;
}

std::optional<VzContainer> parse_vz_container(const nlmsghdr* message) {
  nlattr* a[VZ_A_MAX + 1] = {};
  VzContainer out;
  if (!parse_attributes(message, a) || !get(a[VZ_A_CGROUP_ID], out.cgroup_id) || !get(a[VZ_A_CTID], out.ctid))
    return std::nullopt;
  (void)get(a[VZ_A_NAME], out.name);
  (void)get(a[VZ_A_CPUS], out.cpus);
  (void)get(a[VZ_A_BOOT_NS], out.boot_ns);
  (void)get(a[VZ_A_FLAGS], out.flags);
  out.addresses = get_addresses(a[VZ_A_ADDRS]);
  return out;
}

std::optional<VzOomKill> parse_vz_oom_kill(const nlmsghdr* message) {
  nlattr* a[VZ_A_MAX + 1] = {};
  VzOomKill out;
  std::uint32_t event = 0;
  if (!parse_attributes(message, a) || !get(a[VZ_A_EVENT], event) || !get(a[VZ_A_CGROUP_ID], out.cgroup_id) ||
      !get(a[VZ_A_CTID], out.ctid))
    return std::nullopt;
  if (event != VZ_EVENT_OOM_KILL && event != VZ_EVENT_HOST_OOM_KILL) return std::nullopt;
  out.host_short = event == VZ_EVENT_HOST_OOM_KILL;
  (void)get(a[VZ_A_PID], out.pid);
  (void)get(a[VZ_A_COMM], out.comm);
  (void)get(a[VZ_A_UID], out.uid);
  struct Row {
    int attribute;
    std::uint64_t& value;
  };
  for (const auto& row :
       {Row{VZ_A_RSS_ANON, out.rss_anon}, Row{VZ_A_RSS_FILE, out.rss_file}, Row{VZ_A_RSS_SHMEM, out.rss_shmem},
        Row{VZ_A_SWAP_ENTS, out.swap}, Row{VZ_A_RAM_USAGE, out.ram_usage}, Row{VZ_A_RAM_LIMIT, out.ram_limit},
        Row{VZ_A_SWAP_USAGE, out.swap_usage}, Row{VZ_A_SWAP_LIMIT, out.swap_limit}})
    (void)get(a[row.attribute], row.value);
  return out;
}

VzDevice::VzDevice(VzDevice&& other) noexcept
    : sock_(std::exchange(other.sock_, nullptr)), family_(other.family_), module_(std::move(other.module_)) {}

VzDevice& VzDevice::operator=(VzDevice&& other) noexcept {
  std::swap(sock_, other.sock_);
  std::swap(family_, other.family_);
  std::swap(module_, other.module_);
  return *this;
}

VzDevice::~VzDevice() {
  if (sock_) nl_socket_free(sock_);
}

Result<VzDevice> VzDevice::open() {
  auto connection = VZ_TRY(connect_module());
  VzDevice out(connection.sock.release(), connection.family.id);
  Request request(out.family_, 0, header_of(VZ_CMD_INFO));
  std::optional<VzModule> module;
  VZ_TRY(transact(out.sock_, request, "ask vz.ko for its version", [&](nlmsghdr* h) { module = parse_vz_module(h); }));
  if (!module) return fail(Code::bad_kernel, "vz.ko does not say which ABI it speaks");
  VZ_TRY(check_abi(*module));
  out.module_ = std::move(*module);
  return out;
}

Result<> VzDevice::add(const VzContainer& c) {
  const std::string what = "register container " + std::to_string(c.ctid) + " with vz.ko";
  const bool addresses = module_.ub.has_value();
  auto added = transact(sock_, container_request(family_, VZ_CMD_CT_ADD, c, addresses), what);
  if (added || added.error().sys_errno() != EEXIST) return added;
  return transact(sock_, container_request(family_, VZ_CMD_CT_SET, c, addresses), what);
}

Result<> VzDevice::remove(std::uint64_t cgroup_id) {
  Request request(family_, 0, header_of(VZ_CMD_CT_DEL));
  request.put(VZ_A_CGROUP_ID, &cgroup_id, sizeof cgroup_id);
  return netlink::accept_errno(transact(sock_, request, "remove a container from vz.ko"), ENOENT);
}

Result<std::optional<VzContainer>> VzDevice::find(std::uint64_t cgroup_id) {
  Request request(family_, 0, header_of(VZ_CMD_CT_GET));
  request.put(VZ_A_CGROUP_ID, &cgroup_id, sizeof cgroup_id);
  std::optional<VzContainer> out;
  VZ_TRY(netlink::accept_errno(
      transact(sock_, request, "ask vz.ko for a container", [&](nlmsghdr* h) { out = parse_vz_container(h); }),
      ENOENT));
  return out;
}

Result<std::vector<VzContainer>> VzDevice::all() {
  Request request(family_, NLM_F_DUMP, header_of(VZ_CMD_CT_GET));
  std::vector<VzContainer> out;
  VZ_TRY(transact(sock_, request, "list the containers of vz.ko", [&](nlmsghdr* h) {
    if (auto one = parse_vz_container(h)) out.push_back(std::move(*one));
  }));
  return out;
}

Result<> VzDevice::hand_over_ub(const std::string& dir) {
  if (!module_.ub) return fail(Code::unsupported, "vz.ko " + module_.version + " has no beancounters");
  Request request(family_, 0, header_of(VZ_CMD_UB_MAPS));
  auto ub = open_bpf_pin("BPF map", dir + "/vz_ub"), conf = open_bpf_pin("BPF map", dir + "/vz_ub_conf");
  auto refresh = open_bpf_pin("BPF program", dir + "/prog_ub_refresh");
  auto put = [&](int attribute, const Result<UniqueFd>& fd) {
    request.put(attribute, static_cast<std::uint32_t>(fd->get()));
  };
  if (ub && conf) {
    put(VZ_A_UB_FD, ub);
    put(VZ_A_UB_CONF_FD, conf);
    if (refresh) put(VZ_A_UB_REFRESH_FD, refresh);
  }
  return transact(sock_, request, "tell vz.ko where beancounters are");
}

VzEvents::VzEvents(VzEvents&& other) noexcept : sock_(std::exchange(other.sock_, nullptr)) {}

VzEvents& VzEvents::operator=(VzEvents&& other) noexcept {
  std::swap(sock_, other.sock_);
  return *this;
}

VzEvents::~VzEvents() {
  if (sock_) nl_socket_free(sock_);
}

int VzEvents::fd() const { return sock_ ? nl_socket_get_fd(sock_) : -1; }

Result<VzEvents> VzEvents::open() {
  auto connection = VZ_TRY(connect_module());
  if (connection.family.events == 0) return fail(Code::bad_kernel, "vz.ko has no group of events");
  nl_sock* sock = connection.sock.get();
  nl_socket_disable_seq_check(sock);
  int rc = nl_socket_add_membership(sock, static_cast<int>(connection.family.events));
  if (rc >= 0) rc = nl_socket_set_nonblocking(sock);
  if (rc < 0) return fail(Code::system, std::string("events of vz.ko: ") + nl_geterror(rc));
  return VzEvents(connection.sock.release());
}

std::vector<VzOomKill> VzEvents::read(bool* lost) {
  std::vector<VzOomKill> out;
  auto on_message = [](nl_msg* msg, void* arg) -> int {
    if (auto event = parse_vz_oom_kill(nlmsg_hdr(msg)))
      static_cast<std::vector<VzOomKill>*>(arg)->push_back(std::move(*event));
    return NL_OK;
  };
  nl_socket_modify_cb(sock_, NL_CB_VALID, NL_CB_CUSTOM, on_message, &out);
  // A burst is read up to a bound: the rest makes fd() readable again.
  for (int rounds = 0; rounds < 64; ++rounds) {
    int rc = nl_recvmsgs_default(sock_);
    if (rc == -NLE_NOMEM) *lost = true;  // ENOBUFS
    if (rc < 0 && rc != -NLE_NOMEM) break;
  }
  return out;
}

}  // namespace vz
