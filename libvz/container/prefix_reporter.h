// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include <vz/ctid.h>
#include <vz/reporter.h>

namespace vz {

// Messages about one container among many: "CT 101: Container is mounted".
class PrefixReporter : public Reporter {
 public:
  PrefixReporter(Reporter& out, Ctid id) : out_(out), prefix_("CT " + id.str() + ": ") {}
  void say(Level level, std::string_view text) override { out_.say(level, prefix_ + std::string(text)); }
  void step(std::string_view name) override { out_.step(name); }

 private:
  Reporter& out_;
  std::string prefix_;
};

}  // namespace vz
