// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/owner_request.h"

#include <algorithm>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libvz/base/text.h"

namespace vz {
namespace {

using Json = nlohmann::json;

constexpr const char* kText = "text/plain; charset=utf-8";
constexpr const char* kJson = "application/json";
constexpr std::size_t kMaxRecord = 64u << 10;

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool parse_query(std::string_view query, OwnerRequest* out) {
  for (const auto& word : split(std::string(query), '&')) {
    if (word == "format=text")
      out->text = true;
    else if (word == "format=json")
      out->text = false;
    else if (word == "incremental=1")
      out->incremental = true;
    else if (!word.empty() && word != "incremental=0")
      return false;
  }
  return true;
}

struct Route {
  OwnerRequest::What what;
  std::string_view method;
};

int choose(const HttpRequest& http, std::initializer_list<Route> routes, OwnerRequest* out) {
  const bool head = http.method == "HEAD";
  for (const auto& route : routes) {
    out->allow += std::string(out->allow.empty() ? "" : ", ") + std::string(route.method);
    if (route.method == "GET") out->allow += ", HEAD";
    if (route.method != (head ? "GET" : http.method)) continue;
    out->what = route.what;
    out->head = head;
    return 200;
  }
  return 405;
}

std::string size_text(std::uint64_t bytes) {
  return bytes < 10240         ? fmt::format("{} B", bytes)
         : bytes < (10u << 20) ? fmt::format("{} KiB", bytes >> 10)
                               : fmt::format("{} MiB", bytes >> 20);
}

std::string time_text(std::int64_t seconds) {
  std::tm tm{};
  std::time_t time = seconds;
  gmtime_r(&time, &tm);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", tm);
}

std::string reply(int status, const OwnerRequest& request, const std::string& text, const Json& json) {
  const std::string body = request.text ? text : json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  return http_reply(status, request.text ? kText : kJson, body, request.head);
}

Json record_json(const OwnerRecord& r) {
  return Json{{"operation", r.operation}, {"backup", r.backup}, {"state", r.state},
              {"message", r.message},     {"since", r.since},   {"ended", r.ended}};
}

}  // namespace

bool is_backup_of(Ctid id, std::string_view name) {
  const std::string prefix = id.str() + "-";
  if (!name.starts_with(prefix) || name.size() > prefix.size() + 20) return false;
  auto words = split(std::string(name.substr(prefix.size())), '-');
  if (words.size() != 2 && words.size() != 3) return false;
  return words[0].size() == 8 && words[1].size() == 6 && std::all_of(words.begin(), words.end(), all_digits);
}

int parse_owner_request(const HttpRequest& http, Ctid id, OwnerRequest* out) {
  using What = OwnerRequest::What;
  *out = {};
  const std::string_view target = http.target;
  const auto mark = target.find('?');
  out->text = http.accept.starts_with("text/plain");
  if (mark != target.npos && !parse_query(target.substr(mark + 1), out)) return 400;
  std::string_view path = target.substr(0, mark);
  if (http.body) return 413;
  if (path == "/") return choose(http, {{What::help, "GET"}}, out);
  if (path == "/status") return choose(http, {{What::status, "GET"}}, out);
  if (path == "/backups") return choose(http, {{What::list, "GET"}, {What::make, "POST"}}, out);
  constexpr std::string_view kBelow = "/backups/", kRestore = "/restore";
  if (!path.starts_with(kBelow)) return 404;
  path.remove_prefix(kBelow.size());
  const bool restore = path.ends_with(kRestore);
  if (restore) path.remove_suffix(kRestore.size());
  if (!is_backup_of(id, path)) return 404;
  out->name = path;
  return restore ? choose(http, {{What::restore, "POST"}}, out) : choose(http, {{What::remove, "DELETE"}}, out);
}

int parse_owner_request(std::string_view text, Ctid id, OwnerRequest* out) {
  HttpRequest http;
  *out = {};
  const int status = http_parse(text, &http);
  return status == 200 ? parse_owner_request(http, id, out) : status;
}

std::string owner_error(int status, const OwnerRequest& request, const std::string& why) {
  if (status == 405) {
    const std::string text = "405 this takes only " + request.allow + "\n";
    return http_reply(status, kText, text, request.head, "Allow: " + request.allow + "\r\n");
  }
  return http_error(status, status == 404 && why.empty() ? "there is no such page or backup; / shows all pages" : why);
}

std::string owner_help() {
  return http_reply(200, kText,
                    "GET    /backups               your backups; ?format=text for people\n"
                    "POST   /backups               makes one; ?incremental=1: only what has changed since the last\n"
                    "POST   /backups/NAME/restore  all files become those of then, and the container is restarted\n"
                    "DELETE /backups/NAME          deletes one that was made from inside\n"
                    "GET    /status                what goes on, or how the last operation has ended\n");
}

std::string owner_list(const OwnerList& list, const OwnerRequest& request) {
  Json json{{"backups", Json::array()}, {"limit", list.limit}};
  std::string text =
      fmt::format("{:<30} {:<11} {:<19} {:>9} {:<5}{}\n", "NAME", "KIND", "DATE (UTC)", "SIZE", "BY", " PROBLEM");
  std::uint64_t used = 0;
  for (const auto& b : list.backups) {
    // What exactly is wrong with a file names paths of the host.
    const std::string problem = b.problem.empty() ? "" : "damaged or incomplete";
    const char* kind = b.base.empty() ? "full" : "incremental";
    const char* by = b.by_owner ? "owner" : "host";
    used += b.bytes;
    auto base = std::find_if(list.backups.begin(), list.backups.end(),
                             [&](const BackupInfo& other) { return !b.base.empty() && other.uuid == b.base; });
    json["backups"].push_back({{"name", b.name},
                               {"kind", kind},
                               {"on", base == list.backups.end() ? Json() : Json(base->name)},
                               {"created_at", b.created_at},
                               {"bytes", b.bytes},
                               {"by", by},
                               {"problem", problem.empty() ? Json() : Json(problem)}});
    text += fmt::format("{:<30} {:<11} {:<19} {:>9} {:<5}{}\n", b.name, kind, time_text(b.created_at),
                        size_text(b.bytes), by, problem.empty() ? "" : " " + problem);
  }
  json["used"] = used;
  text += fmt::format("{} of {} used\n", size_text(used), size_text(list.limit));
  return reply(200, request, text, json);
}

std::string record_text(const OwnerRecord& r) {
  Json json = record_json(r);
  json["pid"] = r.pid;
  json["start_time"] = r.start_time;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<OwnerRecord> parse_record(const std::string& text) {
  if (text.size() > kMaxRecord) return std::nullopt;
  auto j = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!j.is_object()) return std::nullopt;
  // Untyped access throws on everything that is not as it should be.
  try {
    OwnerRecord r;
    r.operation = j.at("operation");
    r.backup = j.at("backup");
    r.state = j.at("state");
    r.message = j.at("message");
    r.since = j.at("since");
    r.ended = j.at("ended");
    r.pid = j.at("pid");
    r.start_time = j.at("start_time");
    return r;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::string owner_status(const std::optional<OwnerRecord>& record, const OwnerRequest& request, int status) {
  if (!record) return reply(status, request, "nothing was asked for yet\n", Json{{"state", "none"}});
  OwnerRecord shown = *record;
  if (shown.state == "replaced") shown.state = "restarting";
  std::string text = shown.operation + (shown.backup.empty() ? "" : " " + shown.backup) + ": " + shown.state;
  if (!shown.message.empty()) text += ": " + shown.message;
  return reply(status, request, text + "\n", record_json(shown));
}

}  // namespace vz
