// SPDX-License-Identifier: LGPL-2.1-or-later
// What vzctl and vzd say to each other: one SOCK_SEQPACKET datagram per request and per reply, descriptors by
// SCM_RIGHTS. A connection that was granted a lease or a hold keeps it until it is closed, so that a killed client
// never leaves one behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <sys/types.h>

#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

inline constexpr std::uint32_t kVzdMagic = 0x767a6401;  // "vzd", version 1

enum class VzdOp : std::uint32_t {
  adopt = 1,    // fds: console master (optional), pidfd of init: always last
  console = 2,  // reply carries a duplicate of the master; the connection is the lease
  hold = 3,     // the connection is the hold
  quota = 4,    // fds: the listener of a seccomp filter that asks for quotactl(2)
  yield = 5,    // from a vzd that is a service: replies follow, each with a name and what it is for; then this one ends
  sample = 6,   // read what the containers have used, now
};

struct VzdRequest {
  std::uint32_t magic = kVzdMagic;
  VzdOp op{};
  std::uint32_t ctid = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(VzdRequest) == 16);

struct VzdReply {
  std::uint32_t magic = kVzdMagic;
  std::int32_t code = 0;  // vz::Code
  char text[248] = {};    // the error's message, NUL-terminated
};
static_assert(sizeof(VzdReply) == 256);

inline std::string vzd_socket_path(const std::string& run_dir) { return run_dir + "/vzd.sock"; }

// One datagram with its descriptors. Never blocks on a non-blocking socket: Error::sys_errno() is EAGAIN then.
Result<> send_message(int sock, const void* data, std::size_t size, const std::vector<int>& fds);
struct Message {
  std::size_t size = 0;  // 0: the peer closed; larger than the buffer: it was cut
  std::vector<UniqueFd> fds;
};
Result<Message> receive_message(int sock, void* data, std::size_t size);

Result<UniqueFd> connect_local(const std::string& path);  // ENOENT or ECONNREFUSED: nobody listens
// Listens on `path` (0600, replaced in one rename: whoever sees it can connect), which is `owner`'s, or else ours. The
// caller holds the instance lock.
Result<UniqueFd> listen_local(const std::string& path, int type = SOCK_SEQPACKET, int backlog = 128,
                              std::optional<uid_t> owner = std::nullopt);
struct Peer {
  UniqueFd sock;  // non-blocking
  uid_t uid = 0;  // of whoever called connect(2), as seen here
};
// nullopt: nobody waits.
Result<std::optional<Peer>> accept_peer(const UniqueFd& listener);
// The next connection, non-blocking; an invalid fd when there is none, or when the peer is neither root nor us.
Result<UniqueFd> accept_local(const UniqueFd& listener);
// From now on sending waits for the peer, at most some seconds.
Result<> make_patient(int sock);
// Exclusive flock on a file that holds our pid; an invalid fd when another process has it.
Result<UniqueFd> lock_instance(const std::string& path);

bool is_pty_master(int fd);
bool is_pidfd(int fd);

}  // namespace vz
