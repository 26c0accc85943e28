// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/guest.h"

#include <gtest/gtest.h>

namespace vz {
namespace {

TEST(Guest, HostsGetsOwnName) {
  EXPECT_EQ(edit_hosts("127.0.0.1\tlocalhost\n::1 ip6-localhost\n", "web.example.org"),
            "127.0.0.1\tlocalhost\n::1 ip6-localhost\n127.0.1.1\tweb.example.org web\n");
}

TEST(Guest, HostsReplacesOldNameOnce) {
  EXPECT_EQ(edit_hosts("127.0.0.1 localhost\n127.0.1.1 old\n10.0.0.1 db\n127.0.1.1 older\n", "new"),
            "127.0.0.1 localhost\n127.0.1.1\tnew\n10.0.0.1 db\n");
}

TEST(Guest, HostsFromNothing) { EXPECT_EQ(edit_hosts("", "a"), "127.0.0.1\tlocalhost\n127.0.1.1\ta\n"); }

TEST(Guest, ResolvRoundTrip) {
  std::vector<std::string> ns, dom;
  parse_resolv("# c\nsearch a.example b.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions x\nnameserver\n",
               &ns, &dom);
  EXPECT_EQ(format_resolv(ns, dom), "search a.example b.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n");
}

}  // namespace
}  // namespace vz
