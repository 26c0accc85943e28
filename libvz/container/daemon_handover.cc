// SPDX-License-Identifier: LGPL-2.1-or-later
// A vzd that a vzctl has started, before the service was, gives what it holds to the service and ends.
#include <cstring>
#include <thread>

#include "libvz/container/daemon.h"
#include "libvz/kernel/console.h"

namespace vz {
namespace {

constexpr auto kEndTimeout = std::chrono::seconds(5);
constexpr auto kPause = std::chrono::milliseconds(5);

Result<> send_named(int sock, const std::string& name, int fd) {
  VzdReply message;
  std::strncpy(message.text, name.c_str(), sizeof message.text - 1);
  return send_message(sock, &message, sizeof message, {fd});
}

}  // namespace

// Named as in the manager's store: the other one treats both alike.
Result<> Daemon::hand_over(int sock) {
  VZ_TRY(make_patient(sock));
  for (const auto& [id, ward] : wards_)
    if (ward.master) VZ_TRY(send_named(sock, "ct-" + id.str(), ward.master.get()));
  for (const auto& [fd, listener] : quota_listeners_) VZ_TRY(send_named(sock, stored_name(listener), fd));
  return {};
}

// Only for a service: any other vzd that finds one already has nothing to do.
Result<std::map<std::string, UniqueFd>> Daemon::take_over() {
  const std::string& run = host_.paths().run;
  auto handed = VZ_TRY_CTX(vzd_yield(run), "another vzd serves " + run);
  const auto end = Clock::now() + kEndTimeout;
  while (!(instance_ = VZ_TRY(lock_instance(run + "/vzd.pid")))) {
    if (Clock::now() > end)
      return fail(Error(Code::locked, "another vzd serves " + run + " and does not end")
                      .with_hint("its process id is in " + run + "/vzd.pid"));
    std::this_thread::sleep_for(kPause);
  }
  return handed;
}

}  // namespace vz
