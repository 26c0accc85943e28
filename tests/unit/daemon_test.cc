// SPDX-License-Identifier: GPL-2.0-or-later
// vzd through its real socket, with fake containers: any process and a pty.
#include <vz/daemon.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "libvz/container/state.h"
#include "libvz/kernel/console.h"
#include "libvz/kernel/console_log.h"
#include "libvz/kernel/console_proxy.h"
#include "libvz/kernel/dir_watch.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/vzd_protocol.h"

namespace vz {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// A process that lives until it is killed, and a pty: what vzd takes for a container.
struct Fake {
  pid_t pid = -1;
  UniqueFd pidfd, master, slave;

  Fake() {
    pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    master.reset(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_EQ(unlockpt(master.get()), 0);
    slave.reset(ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_TRUE(pidfd && master && slave);
  }
  Fake(Fake&& other) noexcept
      : pid(std::exchange(other.pid, -1)),
        pidfd(std::move(other.pidfd)),
        master(std::move(other.master)),
        slave(std::move(other.slave)) {}
  ~Fake() { end(); }
  void end() {
    if (pid <= 0) return;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    pid = -1;
  }
  void print(const std::string& text) const {
    ASSERT_EQ(write(slave.get(), text.data(), text.size()), std::ssize(text));
  }
};

class DaemonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vz-daemon-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    fs::create_directories(run());
    fs::create_directories(root_ + "/etc/conf");
    std::ofstream(root_ + "/etc/vz.conf") << "LOCKDIR=\"" << root_ << "/lock\"\nTEMPLATE=\"" << root_ << "\"\n";
    start_daemon();
  }
  void TearDown() override {
    stop_daemon(SIGKILL);
    fs::remove_all(root_);
  }

  std::string run() const { return root_ + "/run"; }
  std::string log_path(unsigned id) const { return run() + "/" + std::to_string(id) + "/console.log"; }
  std::string console_log(unsigned id) const { return read_file(log_path(id)).value_or(""); }

  // Returns when the socket accepts.
  void start_daemon(std::optional<std::chrono::seconds> idle = std::nullopt) {
    auto watch = DirWatch::create();
    ASSERT_TRUE(watch && watch->add(run()));
    fs::remove(vzd_socket_path(run()));
    daemon_ = fork();
    if (daemon_ == 0) {
      unsetenv("NOTIFY_SOCKET");
      auto host = Host::open({root_ + "/etc", run(), root_ + "/lib"});
      Reporter quiet;
      DaemonOptions options;
      options.idle_exit = idle;
      _exit(host && run_daemon(*host, quiet, options) ? 0 : 1);
    }
    while (!fs::exists(vzd_socket_path(run()))) ASSERT_TRUE(watch->wait(5s));
    idle_fds_ = daemon_fds();
  }
  int stop_daemon(int signal) {
    if (daemon_ <= 0) return -1;
    kill(daemon_, signal);
    int status = 0;
    waitpid(daemon_, &status, 0);
    daemon_ = -1;
    return status;
  }
  Result<> adopt(unsigned id, const Fake& fake) {
    fs::create_directories(run() + "/" + std::to_string(id));
    return vzd_adopt(run(), Ctid(id), fake.master, fake.pidfd);
  }
  static bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 5000; ++i) {
      if (condition()) return true;
      poll(nullptr, 0, 1);
    }
    return false;
  }
  std::size_t daemon_fds() const {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/" + std::to_string(daemon_) + "/fd")) ++n;
    return n;
  }
  // Anonymous memory of the daemon, KiB.
  long daemon_memory() const {
    auto text = read_file("/proc/" + std::to_string(daemon_) + "/status").value_or("");
    std::size_t at = text.find("RssAnon:");
    return at == text.npos ? -1 : std::atol(text.c_str() + at + 8);
  }

  std::string root_;
  pid_t daemon_ = -1;
  std::size_t idle_fds_ = 0;
};

TEST_F(DaemonTest, DrainsTheConsoleIntoItsLog) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  fake.print("login: ");
  EXPECT_TRUE(eventually([&] { return console_log(101) == "login: "; })) << console_log(101);
}

TEST_F(DaemonTest, DrainsAfterEveryoneClosedTheConsole) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  fake.print("one ");
  fake.slave.reset();  // systemd closes /dev/console after each message
  EXPECT_TRUE(eventually([&] { return console_log(101) == "one "; }));
  fake.slave.reset(ioctl(fake.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  fake.print("two");
  EXPECT_TRUE(eventually([&] { return console_log(101) == "one two"; }));
}

TEST_F(DaemonTest, LogKeepsTheNewestAndStaysBounded) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  std::string block(1000, 'x');
  for (int i = 0; i < 300; ++i) fake.print(block);
  fake.print("the end");
  ASSERT_TRUE(eventually([&] { return console_log(101).ends_with("the end"); }));
  EXPECT_LE(fs::file_size(log_path(101)), kConsoleLogMax);
  EXPECT_GE(fs::file_size(log_path(101)), kConsoleLogMax / 2);
}

TEST_F(DaemonTest, LeaseGivesBacklogAndStopsDraining) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  fake.print("before ");
  auto lease = vzd_console(run(), Ctid(101));
  ASSERT_TRUE(lease) << lease.error().message();
  EXPECT_EQ(lease->backlog, "before ");
  fake.print("mine");
  char buffer[16] = {};
  pollfd p{lease->master.get(), POLLIN, 0};
  ASSERT_EQ(poll(&p, 1, 5000), 1);
  EXPECT_EQ(read(lease->master.get(), buffer, sizeof buffer), 4);
  EXPECT_STREQ(buffer, "mine");
  fake.print("later");
  // A second request makes vzd go through its loop: by then it would have drained.
  auto second = vzd_console(run(), Ctid(101));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::locked);
  EXPECT_EQ(console_log(101), "before ");
  lease->lease.reset();
  EXPECT_TRUE(eventually([&] { return console_log(101) == "before later"; })) << console_log(101);
}

// One that vzctl had started before systemd starts the service.
TEST_F(DaemonTest, AServiceTakesOverWhatAnotherHas) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  fake.print("before ");
  ASSERT_TRUE(eventually([&] { return console_log(101) == "before "; }));
  auto host = Host::open({root_ + "/etc", run(), root_ + "/lib"});
  ASSERT_TRUE(host);
  State state;
  state.id = Ctid(101);
  state.init = identify(fake.pid).value();
  state.phase = "running";
  ASSERT_TRUE(save_state(*host, state));

  const std::string notify = root_ + "/notify";
  UniqueFd manager(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{AF_UNIX, {}};
  std::strncpy(address.sun_path, notify.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(bind(manager.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const pid_t service = fork();
  if (service == 0) {
    setenv("NOTIFY_SOCKET", notify.c_str(), 1);
    auto own = Host::open({root_ + "/etc", run(), root_ + "/lib"});
    Reporter quiet;
    _exit(own && run_daemon(*own, quiet, {}) ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(waitpid(daemon_, &status, 0), daemon_);
  EXPECT_EQ(status, 0) << "the old one ends well";
  daemon_ = service;
  std::string told;
  while (told.find("READY=1") == told.npos) {
    pollfd p{manager.get(), POLLIN, 0};
    ASSERT_EQ(poll(&p, 1, 5000), 1) << told;
    char buffer[512];
    const auto n = recv(manager.get(), buffer, sizeof buffer, 0);
    ASSERT_GT(n, 0);
    told.append(buffer, static_cast<std::size_t>(n)).append("\n");
  }
  EXPECT_NE(told.find("FDNAME=ct-101"), told.npos) << told;
  fake.print("after");
  EXPECT_TRUE(eventually([&] { return console_log(101) == "before after"; })) << console_log(101);
}

TEST_F(DaemonTest, LeaseEndsWithItsClient) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  pid_t client = fork();
  if (client == 0) {
    auto lease = vzd_console(run(), Ctid(101));
    raise(SIGKILL);
  }
  waitpid(client, nullptr, 0);
  fake.print("after");
  EXPECT_TRUE(eventually([&] { return console_log(101) == "after"; }));
}

TEST_F(DaemonTest, EndOfContainerEndsTheLeasedConsole) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  auto lease = vzd_console(run(), Ctid(101));
  ASSERT_TRUE(lease);
  fake.master.reset();
  fake.slave.reset();
  fake.end();
  pollfd p{lease->master.get(), POLLIN, 0};
  ASSERT_EQ(poll(&p, 1, 5000), 1);
  EXPECT_TRUE(p.revents & POLLHUP);
  EXPECT_TRUE(eventually([&] { return vzd_console(run(), Ctid(101)).error().code() == Code::not_running; }));
}

TEST_F(DaemonTest, UnknownContainerHasNoConsole) {
  auto lease = vzd_console(run(), Ctid(7));
  ASSERT_FALSE(lease);
  EXPECT_EQ(lease.error().code(), Code::not_running);
}

TEST_F(DaemonTest, HoldIsGrantedForAnyContainer) {
  auto hold = vzd_hold(run(), Ctid(7));
  ASSERT_TRUE(hold);
  EXPECT_TRUE(hold->valid());
}

TEST_F(DaemonTest, HeldContainerIsLeftAloneUntilTheHoldEnds) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  std::ofstream(run() + "/101/state.json") << "not json";  // something to clean up; repair will say so
  auto hold = vzd_hold(run(), Ctid(101));
  ASSERT_TRUE(hold);
  fake.end();
  // Master, slave and pidfd are released, the connection of the hold is there.
  ASSERT_TRUE(eventually([&] { return daemon_fds() == idle_fds_ + 1; })) << daemon_fds();
  fs::remove(run() + "/101/state.json");  // what vzctl does while it holds
  hold->reset();
  EXPECT_TRUE(eventually([&] { return daemon_fds() == idle_fds_; }));
}

TEST_F(DaemonTest, AdoptReplacesAnEarlierInit) {
  Fake first, second;
  ASSERT_TRUE(adopt(101, first));
  ASSERT_TRUE(adopt(101, second));
  first.end();
  second.print("second");
  EXPECT_TRUE(eventually([&] { return console_log(101) == "second"; }));
  EXPECT_TRUE(eventually([&] { return daemon_fds() == idle_fds_ + 3; })) << daemon_fds();
}

// Everything that is not a request gets an error or a closed connection, and the next client is served.
TEST_F(DaemonTest, SurvivesHostileClients) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  VzdRequest good;
  good.op = VzdOp::adopt;
  good.ctid = 101;
  VzdRequest unknown = good;
  unknown.op = static_cast<VzdOp>(77);
  VzdRequest version = good;
  version.magic = 1;
  VzdRequest zero = good;
  zero.ctid = 0;
  VzdRequest big = good;
  big.ctid = Ctid::kMax + 1;
  std::string huge(100000, 'A');
  struct Case {
    const char* what;
    const void* data;
    std::size_t size;
    std::vector<int> fds;
  };
  int n = null.get(), p = fake.pidfd.get(), m = fake.master.get(), s = fake.slave.get();
  const Case cases[] = {
      {"one byte", "x", 1, {}},
      {"short", &good, sizeof good - 1, {p}},
      {"huge", huge.data(), huge.size(), {}},
      {"unknown request", &unknown, sizeof unknown, {}},
      {"other version", &version, sizeof version, {p}},
      {"container 0", &zero, sizeof zero, {p}},
      {"container beyond the last", &big, sizeof big, {p}},
      {"no descriptors", &good, sizeof good, {}},
      {"no pidfd", &good, sizeof good, {n}},
      {"no master", &good, sizeof good, {n, p}},
      {"slave for master", &good, sizeof good, {s, p}},
      {"order", &good, sizeof good, {p, m}},
      {"too many", &good, sizeof good, {m, m, p}},
  };
  for (const Case& c : cases) {
    auto sock = connect_local(vzd_socket_path(run()));
    ASSERT_TRUE(sock) << c.what;
    ASSERT_TRUE(send_message(sock->get(), c.data, c.size, c.fds)) << c.what;
    VzdReply reply;
    auto answer = receive_message(sock->get(), &reply, sizeof reply);
    ASSERT_TRUE(answer && answer->size == sizeof reply) << c.what;
    EXPECT_NE(reply.code, 0) << c.what;
    EXPECT_TRUE(answer->fds.empty()) << c.what;
  }
  { auto silent = connect_local(vzd_socket_path(run())); }
  fake.print("still here");
  EXPECT_TRUE(eventually([&] { return console_log(101) == "still here"; })) << console_log(101);
  EXPECT_TRUE(eventually([&] { return daemon_fds() == idle_fds_ + 3; })) << daemon_fds();
}

TEST_F(DaemonTest, SecondRequestOnALeaseEndsIt) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  auto lease = vzd_console(run(), Ctid(101));
  ASSERT_TRUE(lease);
  ASSERT_TRUE(send_message(lease->lease.get(), "again", 5, {}));
  char byte;
  EXPECT_EQ(recv(lease->lease.get(), &byte, 1, 0), 0);
  fake.print("drained");
  EXPECT_TRUE(eventually([&] { return console_log(101) == "drained"; }));
}

TEST_F(DaemonTest, MemoryDoesNotGrowWithContainers) {
  std::vector<Fake> fakes(200);
  ASSERT_TRUE(adopt(1, fakes[0]));
  long before = daemon_memory();
  for (unsigned i = 1; i < 200; ++i) {
    ASSERT_TRUE(adopt(1 + i, fakes[i]));
    fakes[i].print("up");
  }
  for (unsigned i = 1; i < 200; ++i) ASSERT_TRUE(eventually([&] { return console_log(1 + i) == "up"; })) << i;
  long grown = daemon_memory() - before;
  RecordProperty("KiB_for_200", static_cast<int>(grown));
  EXPECT_LT(grown, 256);  // KiB; 200 entries of less than 300 bytes, in whole pages
}

TEST_F(DaemonTest, OnlyOneServesAHost) {
  pid_t second = fork();
  if (second == 0) {
    auto host = Host::open({root_ + "/etc", run(), root_ + "/lib"});
    Reporter quiet;
    _exit(host && run_daemon(*host, quiet) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(second, &status, 0), second);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(vzd_hold(run(), Ctid(1)));
}

TEST_F(DaemonTest, KilledAndStartedAgain) {
  Fake fake;
  ASSERT_TRUE(adopt(101, fake));
  stop_daemon(SIGKILL);
  auto lost = vzd_console(run(), Ctid(101));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code(), Code::not_running);
  auto hold = vzd_hold(run(), Ctid(101));  // a dead vzd holds nobody up
  ASSERT_TRUE(hold);
  EXPECT_FALSE(hold->valid());
  start_daemon();
  ASSERT_TRUE(adopt(101, fake));
  fake.print("back");
  EXPECT_TRUE(eventually([&] { return console_log(101) == "back"; }));
}

TEST_F(DaemonTest, EndsOnSignalAndWhenIdle) {
  int status = stop_daemon(SIGTERM);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_FALSE(fs::exists(vzd_socket_path(run())));
  start_daemon(1s);
  ASSERT_EQ(waitpid(daemon_, &status, 0), daemon_);
  daemon_ = -1;
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(fs::exists(vzd_socket_path(run())));
}

TEST_F(DaemonTest, AdoptWithoutProgramSaysWhatIsMissing) {
  stop_daemon(SIGTERM);
  Fake fake;
  auto adopted = adopt(101, fake);  // there is no vzd beside the test program
  ASSERT_FALSE(adopted);
  EXPECT_NE(adopted.error().message().find("vzd"), std::string::npos);
}

TEST(ConsoleLog, KeepsTheEnd) {
  std::string path = ::testing::TempDir() + "vz-console-log-" + std::to_string(getpid());
  struct Case {
    std::vector<std::string> writes;
    std::string result;
  };
  const Case cases[] = {
      {{"abc", "def"}, "abcdef"},
      {{"abcdefgh"}, "abcdefgh"},
      {{"abcdefghij"}, "cdefghij"},
      {{"abcdefgh", "i"}, "cdefghi"},
      {{"abcdefgh", "1234567"}, "h1234567"},
      {{"abcdefgh", "12345678"}, "12345678"},
      {{"abc", ""}, "abc"},
  };
  for (const Case& c : cases) {
    fs::remove(path);
    for (const auto& text : c.writes) ASSERT_TRUE(append_bounded(path, text, 8));
    EXPECT_EQ(read_file(path).value_or(""), c.result) << c.writes[0];
  }
  fs::remove(path);
}

TEST(EscapeFilter, FindsCommands) {
  struct Case {
    std::string typed, text;
    bool detach, pending;
  };
  const Case cases[] = {
      {"ls\r", "ls\r", false, false},     {"\x1b.", "", true, false},    {"a\x1b.b", "a", true, false},
      {"\x1b[A", "\x1b[A", false, false}, {"\x1b!x", "x", false, false}, {"\x1b", "", false, true},
      {"\x1b\x1b.", "\x1b", true, false}, {"..", "..", false, false},    {"", "", false, false},
  };
  for (const Case& c : cases) {
    EscapeFilter filter;
    auto out = filter.feed(c.typed);
    EXPECT_EQ(out.text, c.text);
    EXPECT_EQ(out.detach, c.detach);
    EXPECT_EQ(filter.pending(), c.pending);
  }
  EscapeFilter filter;
  EXPECT_FALSE(filter.feed("\x1b").detach);
  EXPECT_TRUE(filter.feed(".").detach);
  EXPECT_EQ(filter.feed("\x1b").text, "");
  EXPECT_EQ(filter.flush(), "\x1b");
  EXPECT_EQ(filter.flush(), "");
}

}  // namespace
}  // namespace vz
