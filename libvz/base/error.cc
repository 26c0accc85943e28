// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/error.h>

#include <cerrno>
#include <cstring>

#include <vz/reporter.h>

namespace vz {

Error Error::from_errno(int err, std::string_view what, Code code) {
  char buf[128];
  // GNU strerror_r returns the text; it may or may not use buf.
  Error e(code, std::string(what) + ": " + strerror_r(err, buf, sizeof buf));
  e.errno_ = err;
  return e;
}

tl::unexpected<Error> fail_errno(std::string_view what, Code code) {
  return tl::unexpected<Error>(Error::from_errno(errno, what, code));
}

Reporter::~Reporter() = default;
void Reporter::say(Level, std::string_view) {}
void Reporter::progress(std::string_view, std::uint64_t, std::uint64_t) {}
void Reporter::step(std::string_view) {}

}  // namespace vz
