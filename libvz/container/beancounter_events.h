// SPDX-License-Identifier: LGPL-2.1-or-later
// What two looks at the beancounters of the same containers tell: pure.
#pragma once

#include <map>
#include <set>
#include <utility>
#include <vector>

#include <vz/beancounters.h>

namespace vz {

class UbComparison {
 public:
  explicit UbComparison(std::vector<std::pair<Ub, unsigned>> thresholds) : thresholds_(std::move(thresholds)) {}

  // Events since the last call, those of a container together. The first call tells none.
  std::vector<UbEvent> next(const std::vector<UbSnapshot>& now);
  // Of these alone, nothing is said of others. One that next() has not seen yet waits for it.
  std::vector<UbEvent> some(const std::vector<UbSnapshot>& now);

 private:
  void compare(const UbSnapshot& before, const UbSnapshot& now, std::vector<UbEvent>& out);
  void cross(const UbSnapshot& now, bool tell, std::vector<UbEvent>& out);

  std::vector<std::pair<Ub, unsigned>> thresholds_;
  bool first_ = true;
  std::map<Ctid, UbSnapshot> last_;
  std::set<std::pair<Ctid, Ub>> above_;
};

// Held has reached that many percent of the barrier, or of the limit where there is no barrier.
bool reaches(const UbCounter& counter, unsigned percent);

}  // namespace vz
