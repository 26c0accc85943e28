// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/config.h>
#include "libvz/container/guest.h"

namespace vz {

// HOSTNAME, NAMESERVER and SEARCHDOMAIN of a configuration; `inherit` is replaced by the host's own resolv.conf.
GuestSettings guest_settings(const Config& config);

}  // namespace vz
