// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/migration_connection.h"

#include <fmt/format.h>
#include <vz/version.h>

#include "libvz/base/text.h"
#include "libvz/container/migration_message.h"

namespace vz {

namespace {

// Nothing answered. What ssh has to say it said on standard error; its status tells whether it was ssh itself that
// failed.
Error unreachable(const std::vector<std::string>& transport, const std::string& destination, int status) {
  constexpr int kSshFailed = 255, kNotFound = 127, kNotExecutable = 126;
  const auto command = join(transport, " ");
  const bool ssh = transport.front() == "ssh" || transport.front().ends_with("/ssh");
  Error error(Code::connect, fmt::format("cannot reach vzctl on {} by: {}", destination, command));
  if (status == kNotFound || status == kNotExecutable)
    return std::move(error).with_hint(fmt::format(
        "install vz on {0}: no vzctl is in the PATH there; `ssh {0} vzctl --version` must print one", destination));
  if (ssh && status == kSshFailed)
    return std::move(error).with_hint(fmt::format(
        "ssh says why. It is not allowed to ask, neither for a password nor about a key: root's key must be "
        "accepted there (`ssh-copy-id {0}`), and the host's key known here (`ssh {0}` once; if that is a new "
        "key of the same host, `ssh-keygen -R {0}` before)",
        destination));
  return std::move(error).with_hint(
      fmt::format("it must run without asking anything: try it by hand (it ended with status {})", status));
}

}  // namespace

Result<MigrationConnection> MigrationConnection::open(const std::vector<std::string>& transport,
                                                      const std::string& destination) {
  if (transport.empty() || transport.front().empty())
    return fail(Code::bad_value, fmt::format("no command to reach {}", destination));
  auto process = VZ_TRY_CTX(start_peer(transport), "cannot reach " + destination);
  UniqueFd stream = process.take_stream();
  UniqueFd out = stream.dup();
  if (!out) return fail_errno("dup");
  FrameChannel channel(std::move(stream), std::move(out), destination);
  auto greeted = ask(channel, {"hello", {{"protocol", std::to_string(kMigrationProtocol)}, {"vz", VZ_VERSION_STRING}}});
  if (greeted) return MigrationConnection(std::move(process), std::move(channel));
  if (greeted.error().code() != Code::connect) return fail(std::move(greeted).error());
  { FrameChannel closed = std::move(channel); }
  return fail(unreachable(transport, destination, process.end()));
}

}  // namespace vz
