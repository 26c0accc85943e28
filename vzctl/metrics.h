// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <vz/host.h>

namespace vzctl {

// OpenMetrics 1.0 text, a family at a time: lines of one family stay together, whoever adds them in whatever order.
class MetricText {
 public:
  using Labels = std::vector<std::pair<const char*, std::string>>;
  enum class Type { counter, gauge, info };

  // `name` without "_total" and "_info"; `unit` is its last word, or empty.
  void family(const char* name, Type type, const char* unit, const char* help);
  // A sample of the family that was named last.
  void add(const Labels& labels, std::uint64_t value);
  void add(const Labels& labels, double value);
  void add_nanoseconds(const Labels& labels, std::uint64_t ns);  // printed as seconds, exactly
  std::string finish() &&;                                       // with "# EOF"

 private:
  void sample(const Labels& labels, std::string value);
  std::string text_;
  std::string sample_name_;
};

std::string escape_label(std::string_view value);

// All of this host.
vz::Result<std::string> render_metrics(const vz::Host& host);
inline constexpr const char* kMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

}  // namespace vzctl
