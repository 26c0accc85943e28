// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/owner_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libvz/container/owner_dir.h"

namespace vz {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using What = OwnerRequest::What;

OwnerRequest request;

int parse(const std::string& method, const std::string& target, const std::string& header = "") {
  return parse_owner_request(method + " " + target + " HTTP/1.1\r\nHost: vz\r\n" + header + "\r\n", Ctid(101),
                             &request);
}

TEST(OwnerRequest, WhatItMayAsk) {
  const std::string name = "101-20261122-173328";
  EXPECT_EQ(parse("GET", "/"), 200);
  EXPECT_EQ(request.what, What::help);
  EXPECT_EQ(parse("GET", "/status"), 200);
  EXPECT_EQ(request.what, What::status);
  EXPECT_EQ(parse("GET", "/backups"), 200);
  EXPECT_EQ(request.what, What::list);
  EXPECT_FALSE(request.text || request.head || request.incremental);
  EXPECT_EQ(parse("HEAD", "/backups"), 200);
  EXPECT_TRUE(request.head);
  EXPECT_EQ(parse("POST", "/backups"), 200);
  EXPECT_EQ(request.what, What::make);
  EXPECT_FALSE(request.incremental);
  EXPECT_EQ(parse("POST", "/backups?incremental=1&format=text"), 200);
  EXPECT_TRUE(request.incremental && request.text);
  EXPECT_EQ(parse("POST", "/backups?incremental=0"), 200);
  EXPECT_FALSE(request.incremental);
  EXPECT_EQ(parse("POST", "/backups/" + name + "/restore"), 200);
  EXPECT_EQ(request.what, What::restore);
  EXPECT_EQ(request.name, name);
  EXPECT_EQ(parse("DELETE", "/backups/" + name), 200);
  EXPECT_EQ(request.what, What::remove);
  EXPECT_EQ(request.name, name);
}

TEST(OwnerRequest, TextOrJson) {
  EXPECT_EQ(parse("GET", "/backups", "Accept: text/plain\r\n"), 200);
  EXPECT_TRUE(request.text);
  EXPECT_EQ(parse("GET", "/backups?format=json", "accept:text/plain, */*\r\n"), 200);
  EXPECT_FALSE(request.text);
  EXPECT_EQ(parse("GET", "/backups", "Accept: */*\r\n"), 200);
  EXPECT_FALSE(request.text);
}

TEST(OwnerRequest, WhatIsRefused) {
  const std::string name = "101-20261122-173328";
  EXPECT_EQ(parse("GET", "/backups?x=1"), 400);
  EXPECT_EQ(parse("GET", "/backups?format=xml"), 400);
  EXPECT_EQ(parse("GET", "http://vz/backups"), 404);
  EXPECT_EQ(parse("GET", "/Backups"), 404);
  EXPECT_EQ(parse("GET", "/backups/"), 404);
  EXPECT_EQ(parse("GET", "*"), 404);
  EXPECT_EQ(parse("DELETE", "/backups"), 405);
  EXPECT_EQ(request.allow, "GET, HEAD, POST");
  EXPECT_EQ(parse("GET", "/backups/" + name), 405);
  EXPECT_EQ(request.allow, "DELETE");
  EXPECT_EQ(parse("GET", "/backups/" + name + "/restore"), 405);
  EXPECT_EQ(parse("POST", "/backups/restore"), 404);
  EXPECT_EQ(parse("POST", "/backups//restore"), 404);
  EXPECT_EQ(parse("POST", "/backups/" + name + "/restore/"), 404);
  EXPECT_EQ(parse("POST", "/backups", "Content-Length: 1\r\n"), 413);
  EXPECT_EQ(parse("POST", "/backups", "Transfer-Encoding: chunked\r\n"), 413);
  EXPECT_EQ(parse("POST", "/backups", "Content-Length: 0\r\n"), 200);
  EXPECT_EQ(parse("post", "/backups"), 405);
}

TEST(OwnerRequest, Names) {
  for (const char* good : {"101-20261122-173328", "101-20261122-173328-2", "101-20261122-173328-9999"})
    EXPECT_TRUE(is_backup_of(Ctid(101), good)) << good;
  for (const char* bad :
       {"", "101", "101-", "102-20261122-173328", "1010-20261122-173328", "101-2026112-173328", "101-20261122-17332",
        "101-20261122-173328-", "101-20261122-173328-x", "101-20261122-173328-1-2", "101-20261122-173328.vzb",
        "101-20261122-173328/", "../101/101-20261122-173328", "101-20261122-17332/", "101-2026 122-173328",
        "101-20261122-173328-123456789"})
    EXPECT_FALSE(is_backup_of(Ctid(101), bad)) << bad;
}

TEST(OwnerReplies, NothingOfTheHost) {
  BackupInfo full, second;
  full.name = "101-20261122-173328";
  full.path = "/var/lib/vz/backup/101/x";
  full.uuid = "u1";
  full.host = "secret-host";
  full.description = "secret words";
  full.bytes = 20480;
  second = full;
  second.name = "101-20261122-173329";
  second.uuid = "u2";
  second.base = "u1";
  second.by_owner = true;
  second.problem = "/var/lib/vz/backup/101/x: damaged";
  OwnerRequest plain;
  plain.text = true;
  for (const auto& reply : {owner_list({{full, second}, 1 << 20}, {}), owner_list({{full, second}, 1 << 20}, plain)}) {
    EXPECT_THAT(reply, StartsWith("HTTP/1.1 200 OK\r\n"));
    for (const char* part : {"101-20261122-173328", "incremental", "owner", "damaged or incomplete"})
      EXPECT_THAT(reply, HasSubstr(part));
    EXPECT_THAT(reply, Not(HasSubstr("secret")));
    EXPECT_THAT(reply, Not(HasSubstr("/var")));
  }
  EXPECT_THAT(owner_list({{full, second}, 1 << 20}, plain), HasSubstr("40 KiB of 1024 KiB used"));
  OwnerRequest head;
  head.head = true;
  EXPECT_TRUE(owner_list({{full}, 1}, head).ends_with("\r\n\r\n"));
}

TEST(OwnerReplies, Status) {
  EXPECT_THAT(owner_status(std::nullopt, {}), HasSubstr("\"none\""));
  OwnerRecord record{"restore", "101-20261122-173328", "replaced", "", 1, 0, 77, 88};
  OwnerRequest plain;
  plain.text = true;
  EXPECT_TRUE(owner_status(record, plain, 202).ends_with("restore 101-20261122-173328: restarting\n"));
  EXPECT_THAT(owner_status(record, plain, 202), StartsWith("HTTP/1.1 202 Accepted\r\n"));
  EXPECT_THAT(owner_status(record, {}), Not(HasSubstr("pid")));
  EXPECT_THAT(owner_error(405, {.allow = "GET, HEAD"}), HasSubstr("Allow: GET, HEAD\r\n"));
}

TEST(OwnerRecord, BackAgain) {
  OwnerRecord record{"backup", "n", "running", "m \" \n", 3, 4, 5, 6};
  EXPECT_FALSE(record.over());
  auto again = parse_record(record_text(record));
  ASSERT_TRUE(again);
  EXPECT_EQ(record_text(*again), record_text(record));
  EXPECT_EQ(again->start_time, 6u);
  EXPECT_FALSE(parse_record(""));
  EXPECT_FALSE(parse_record("[]"));
  EXPECT_FALSE(parse_record("{\"state\": 1}"));
}

TEST(OwnerBackups, NeedABound) {
  EXPECT_TRUE(check_owner_backups(Config::parse("", "t")));
  EXPECT_FALSE(wants_owner_backups(Config::parse("", "t")));
  for (const char* text : {"", "BACKUP_SPACE=\"unlimited\"\n", "BACKUP_SPACE=\"0\"\n"}) {
    auto checked = check_owner_backups(Config::parse(std::string("FEATURES=\"backups:on\"\n") + text, "t"));
    ASSERT_FALSE(checked) << text;
    EXPECT_EQ(checked.error().code(), Code::bad_value);
  }
  auto good = Config::parse("FEATURES=\"nesting:on backups:on\"\nBACKUP_SPACE=\"1024\"\n", "t");
  EXPECT_TRUE(wants_owner_backups(good));
  EXPECT_TRUE(check_owner_backups(good));
}

}  // namespace
}  // namespace vz
