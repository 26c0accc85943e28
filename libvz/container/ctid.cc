// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/ctid.h>

#include "libvz/base/text.h"
#include "libvz/container/value.h"

namespace vz {

Result<Ctid> Ctid::parse(std::string_view text) {
  auto number = parse_u64(text);
  if (number && *number <= kMax) return Ctid(static_cast<std::uint32_t>(*number));
  return fail(Error(Code::bad_value, "Bad CT ID " + printable(text))
                  .with_hint("a container's number is from 1 to " + std::to_string(kMax)));
}

}  // namespace vz
