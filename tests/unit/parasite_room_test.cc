// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/parasite_room.h"

#include <csignal>

#include <fstream>
#include <sstream>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace vz {
namespace {

TEST(ParasiteRoom, IsLackingWhereTheFirstCodeIsShared) {
  EXPECT_FALSE(lacks_parasite_room(""));
  EXPECT_FALSE(lacks_parasite_room("garbage\n\n1-2 r"));
  EXPECT_FALSE(
      lacks_parasite_room("1000-2000 rw-s 00000000 00:01 5 /dev/zero (deleted)\n2000-3000 r-xp 0 07:00 6 /bin/sh\n"
                          "3000-4000 r-xs 0 00:01 5\n"));
  EXPECT_TRUE(
      lacks_parasite_room("1000-2000 rw-s 00000000 00:01 5 /dev/zero (deleted)\n2000-3000 r-xs 08000000 00:01 5\n"
                          "3000-4000 r-xp 0 07:00 6 /bin/sh\n"));
}

std::string maps_of(pid_t pid) {
  std::stringstream out;
  out << std::ifstream("/proc/" + std::to_string(pid) + "/maps").rdbuf();
  return out.str();
}

TEST(ParasiteRoom, IsMade) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::mmap(reinterpret_cast<void*>(0x40000), 4096, PROT_READ | PROT_EXEC,
           MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    for (;;) ::pause();
  }
  ASSERT_GT(child, 0);
  for (int i = 0; i < 1000 && !lacks_parasite_room(maps_of(child)); ++i) ::usleep(1000);
  ASSERT_TRUE(lacks_parasite_room(maps_of(child)));
  EXPECT_TRUE(make_parasite_room({child, ::getppid()}));
  EXPECT_FALSE(lacks_parasite_room(maps_of(child))) << maps_of(child);
  std::ifstream memory("/proc/" + std::to_string(child) + "/mem", std::ios::binary);
  memory.seekg(0x10000);
  EXPECT_EQ(memory.get(), 0xcc);
  EXPECT_EQ(::kill(child, 0), 0);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it went on until then";
}

}  // namespace
}  // namespace vz
