// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/http.h"

#include <gtest/gtest.h>

namespace vzctl {
namespace {

using vz::http_complete;
using vz::kHttpMaxRequest;

vz::Result<std::string> page() { return std::string("PAGE\n"); }

int status(const std::string& request) {
  EXPECT_TRUE(http_complete(request)) << request;
  const std::string reply = http_answer(request, page);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 ")) << reply;
  return std::stoi(reply.substr(9, 3));
}

TEST(Http, ThePage) {
  const std::string reply = http_answer("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", page);
  EXPECT_EQ(reply,
            "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
            "Content-Length: 5\r\nConnection: close\r\n\r\nPAGE\n");
  EXPECT_EQ(status("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), 200);
  EXPECT_EQ(status("GET /metrics HTTP/1.0\n\n"), 200) << "bare line feeds";
}

TEST(Http, HeadHasTheLengthAndNoBody) {
  const std::string reply = http_answer("HEAD /metrics HTTP/1.0\r\n\r\n", page);
  EXPECT_NE(reply.find("Content-Length: 5\r\n"), std::string::npos);
  EXPECT_TRUE(reply.ends_with("\r\n\r\n"));
}

TEST(Http, WrongRequests) {
  const std::string host = "Host: a\r\n\r\n";
  EXPECT_EQ(status("GET / HTTP/1.1\r\n" + host), 404);
  EXPECT_EQ(status("GET /metricsx HTTP/1.1\r\n" + host), 404);
  EXPECT_EQ(status("DELETE /metrics HTTP/1.1\r\n" + host), 405);
  EXPECT_EQ(status("GET /metrics HTTP/3\r\n" + host), 505);
  EXPECT_EQ(status("GET /metrics HTTP/1.1\r\n\r\n"), 400) << "no Host";
  EXPECT_EQ(status("GET /metrics FTP/1.1\r\n" + host), 400);
  EXPECT_EQ(status("GET  /metrics HTTP/1.1\r\n" + host), 400);
  EXPECT_EQ(status("GET /me trics HTTP/1.1\r\n" + host), 400);
  EXPECT_EQ(status("G@T /metrics HTTP/1.1\r\n" + host), 400);
  EXPECT_EQ(status("GET /metrics HTTP/1.1\r\n: x\r\n" + host), 400);
  EXPECT_EQ(status("GET /metrics HTTP/1.1\r\nfolded: x\r\n y\r\n" + host), 400);
  EXPECT_EQ(status(std::string("GET /metrics\0 HTTP/1.1\r\n", 24) + host), 400);
  EXPECT_EQ(status("\r\n\r\n"), 400);
}

TEST(Http, Limits) {
  EXPECT_FALSE(http_complete(""));
  EXPECT_FALSE(http_complete("GET /metrics HTTP/1.1\r\nHost: a\r\n"));
  EXPECT_EQ(status("GET /metrics HTTP/1.1\r\nx: " + std::string(kHttpMaxRequest, 'y')), 431);
}

TEST(Http, AFailureTellsNothing) {
  const std::string reply = http_answer("GET /metrics HTTP/1.0\r\n\r\n", []() -> vz::Result<std::string> {
    return vz::fail(vz::Code::system, "secret path");
  });
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 500 "));
  EXPECT_EQ(reply.find("secret"), std::string::npos);
}

}  // namespace
}  // namespace vzctl
