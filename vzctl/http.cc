// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/http.h"

#include "vzctl/metrics.h"

namespace vzctl {
namespace {

constexpr std::string_view kPath = "/metrics";

int status_of(const vz::HttpRequest& r) {
  if (r.method != "GET" && r.method != "HEAD") return 405;
  return r.target.substr(0, r.target.find('?')) == kPath ? 200 : 404;
}

}  // namespace

std::string http_answer(std::string_view request, const std::function<vz::Result<std::string>()>& page) {
  vz::HttpRequest r;
  int status = vz::http_parse(request, &r);
  if (status == 200) status = status_of(r);
  if (status != 200) return vz::http_error(status, status == 404 ? "the only page is /metrics" : "");
  auto text = page();
  // Why it failed is for the journal of the host, not for whoever asks.
  if (!text) return vz::http_error(500);
  return vz::http_reply(200, kMetricsType, *text, r.method == "HEAD");
}

}  // namespace vzctl
