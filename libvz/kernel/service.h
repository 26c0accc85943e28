// SPDX-License-Identifier: LGPL-2.1-or-later
// sd_notify(3) and its descriptor store in plain socket code: readiness, and consoles that survive a restart of vzd.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

class ServiceManager {
 public:
  // From $NOTIFY_SOCKET, $LISTEN_FDS, $LISTEN_PID and $LISTEN_FDNAMES; nullopt when no service manager started us.
  static std::optional<ServiceManager> from_environment();
  // Descriptors that the manager kept for us, by name. Once: they are given away.
  std::map<std::string, UniqueFd> take_stored();

  void notify(std::string_view text, int fd = -1) const;  // best effort, as sd_notify is
  void ready() const { notify("READY=1"); }
  void store(const std::string& name, int fd) const { notify("FDSTORE=1\nFDPOLL=0\nFDNAME=" + name, fd); }
  // Dropped by the manager itself when it hangs up.
  void store_until_hangup(const std::string& name, int fd) const { notify("FDSTORE=1\nFDNAME=" + name, fd); }
  void forget(const std::string& name) const { notify("FDSTOREREMOVE=1\nFDNAME=" + name); }
  void close() { sock_.reset(); }

 private:
  UniqueFd sock_;
  std::string address_;
  std::map<std::string, UniqueFd> stored_;
};

}  // namespace vz
