// SPDX-License-Identifier: LGPL-2.1-or-later
// The state of vzd. daemon.cc is its loop, daemon_client.cc answers requests, daemon_console.cc drains consoles,
// daemon_reaper.cc follows the end of containers, daemon_usage.cc keeps what they used, daemon_oom.cc reports OOM
// kills, daemon_quota.cc has quotactl(2) answered, daemon_quota_events.cc reports limits of disk quotas,
// daemon_owner.cc lets owners of containers back them up from inside.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <vz/daemon.h>
#include "libvz/base/fd.h"
#include "libvz/container/owner_request.h"
#include "libvz/container/quota_broker.h"
#include "libvz/container/quota_events.h"
#include "libvz/container/usage_keep.h"
#include "libvz/kernel/kmsg.h"
#include "libvz/kernel/poller.h"
#include "libvz/kernel/quota_netlink.h"
#include "libvz/kernel/reboot_watch.h"
#include "libvz/kernel/service.h"
#include "libvz/kernel/vzd_protocol.h"
#include "libvz/kernel/vzdev.h"

namespace vz {

// One running (or just ended) container. Small on purpose: it is all that vzd keeps of it in memory.
struct Ward {
  UniqueFd master, slave;  // none after a restart of vzd without systemd
  UniqueFd pidfd;
  UniqueFd job;  // the child that cleans up or restarts
  InitIdentity init;
  std::int32_t lease = -1;    // connection that reads the console instead of us
  std::uint32_t drained = 0;  // bytes since `drained_since`
  std::uint32_t reboots = 0;
  std::uint32_t retries = 0;                            // of a job that found the container locked
  std::chrono::steady_clock::time_point reboots_since;  // start of the window that `reboots` counts
  std::chrono::steady_clock::time_point due;            // when to go on, see `state`
  std::chrono::steady_clock::time_point drained_since, throttled_until;
  enum class State : std::uint8_t {
    running,
    dying,    // init is a zombie; waits for the reaper at most until `due`
    ended,    // waits for a job: not before `due`, and not while somebody holds it
    working,  // the job runs
  } state = State::running;
  EndKind end = EndKind::unknown;
  bool throttled = false;
};

struct OomReport;

// One that asks for quotactl(2): of the processes that a start or a `vzctl exec` made, and of their children.
struct QuotaListener {
  Ctid id;
  std::uint32_t number = 0;  // among those of its container: RUN/ID/quota.NUMBER
  std::shared_ptr<SeccompListener> listener;
};

// A container with listeners.
struct QuotaWard {
  std::shared_ptr<const QuotaScope> scope;
  bool busy = false;  // a thread works for it
  std::uint32_t next = 0;
};

// A connection of somebody inside: its request comes in, a process may work on it, the reply goes out, and then what
// else it says is thrown away until it closes.
struct OwnerClient {
  enum class State : std::uint8_t { request, waiting, reply, closing };
  UniqueFd sock;
  Ctid id{0};
  std::uint64_t serial = 0;  // the descriptor's number comes again, this does not
  bool root = false;         // the container's
  State state = State::request;
  std::string in, out;
  std::size_t sent = 0;
  std::chrono::steady_clock::time_point due;
};

// A process that works on a request, and the pipe in which it says what is to be replied.
struct OwnerJob {
  UniqueFd process, answer;
  std::string text;
  int client = -1;
  std::uint64_t serial = 0;
};

// A container whose root may ask for backups, or for which something of the kind still works.
struct OwnerWard {
  UniqueFd listener;
  std::uint32_t root = 0;  // its root's number on the host
  OwnerJob reader, operation;
  std::uint32_t accepted = 0;  // since `window` began
  std::chrono::steady_clock::time_point window;
  bool paused = false;  // nobody is accepted
  bool settle = false;  // what an operation left, at `settle_at`
  std::chrono::steady_clock::time_point settle_at;
  std::uint32_t retries = 0, failures = 0;  // of settling
};

// Its name in the service manager's store.
std::string stored_name(const QuotaListener& listener);

class Daemon {
 public:
  Daemon(const Host& host, Reporter& reporter, const DaemonOptions& options)
      : host_(host), reporter_(reporter), options_(options) {}
  // False: another vzd is there.
  Result<bool> open();
  Result<> run();

 private:
  using Clock = std::chrono::steady_clock;
  struct Connection {
    UniqueFd sock;
    std::uint32_t ctid = 0;
    VzdOp op{};  // console: a lease; hold: a hold; 0: has not asked yet
  };

  // daemon.cc
  Result<> dispatch(const epoll_event& event);
  std::optional<std::chrono::milliseconds> next_timeout() const;
  void tick();
  bool idle_too_long() const;
  void adopt_running(std::map<std::string, UniqueFd> handed);
  void log(Reporter::Level level, Ctid id, const std::string& text);
  void drop_descriptors();

  // daemon_handover.cc
  Result<> hand_over(int sock);
  Result<std::map<std::string, UniqueFd>> take_over();

  // daemon_client.cc
  void accept_clients();
  void serve(int sock);
  void close_connection(int sock);
  Result<int> answer(Connection& connection, const VzdRequest& request, std::size_t size, std::vector<UniqueFd>& fds);
  Result<> adopt(Ctid id, UniqueFd master, UniqueFd pidfd);
  Result<int> lease_console(Connection& connection, Ctid id);
  bool held(Ctid id) const;

  // daemon_console.cc
  void attach_console(Ctid id, Ward& ward, UniqueFd master);
  void drain(Ctid id, Ward& ward);
  void resume_console(Ctid id, Ward& ward);
  void close_console(Ctid id, Ward& ward);

  // daemon_reaper.cc
  void init_event(Ctid id, Ward& ward);
  void init_ended(Ctid id, Ward& ward);
  void next_step(Ctid id, Ward& ward);
  void start_job_for(Ctid id, Ward& ward);
  void job_ended(Ctid id, Ward& ward);
  bool may_reboot(Ctid id, Ward& ward);
  void erase(Ctid id);
  std::size_t jobs_running() const;

  // daemon_usage.cc
  void sample_usage();
  void sample_all();
  void keep_ended(Ctid id);

  // daemon_oom.cc
  void watch_oom();
  void oom_event();
  void say_oom(const OomReport& report);

  // daemon_quota.cc
  Result<> adopt_listener(Ctid id, UniqueFd fd, std::optional<std::uint32_t> number);
  void restore_listeners(std::map<std::string, UniqueFd>& stored);
  void quota_asked(int fd);
  void quota_answered();
  void serve_quota(QuotaListener& listener);
  void arm_quota(Ctid id, bool on);
  void close_listener(int fd);
  void close_quota(Ctid id);

  // daemon_quota_events.cc
  void watch_quota();
  void quota_event();

  // daemon_owner.cc
  void open_owner(Ctid id);
  void close_owner(Ctid id);
  void forget_owner(Ctid id);
  std::size_t count_owner_clients(Ctid id) const;
  void accept_owner(Ctid id);
  void resume_owner(Ctid id, OwnerWard& ward);
  void close_owner_client(int fd);
  void owner_event(int fd);
  void take_request(int fd, OwnerClient& client);
  bool start_owner_job(Ctid id, OwnerJob& job, const std::optional<OwnerRequest>& request);
  void owner_job_event(Ctid id);
  void read_owner_answer(OwnerJob& job, bool ended);
  void operation_ended(Ctid id, OwnerWard& ward, int status);
  void adopt_unknown(Ctid id);
  void reply_owner(int fd, OwnerClient& client, std::string text);
  void send_owner(int fd, OwnerClient& client);
  void adopt_operations();
  std::optional<Clock::time_point> next_owner_time() const;
  void tick_owner();
  bool owner_busy() const;

  const Host& host_;
  Reporter& reporter_;
  DaemonOptions options_;
  UniqueFd instance_, listener_;
  Poller poller_;
  std::optional<EndSignals> signals_;
  std::optional<ServiceManager> manager_;
  RebootWatch reboots_;
  std::optional<VzEvents> oom_events_;  // one of these two
  std::optional<KernelLog> kernel_log_;
  std::map<Ctid, Ward> wards_;
  std::map<Ctid, RunSample> samples_;  // where systemd may take the groups of one that ended before we read them
  std::optional<Clock::time_point> next_sample_;  // none: nobody but us removes groups here
  std::map<int, Connection> connections_;
  std::map<int, QuotaListener> quota_listeners_;
  std::map<Ctid, QuotaWard> quota_wards_;
  std::optional<QuotaBroker> quota_broker_;
  std::optional<QuotaEvents> quota_events_;
  std::map<Ctid, QuotaVoice> quota_voices_;
  std::map<int, OwnerClient> owner_clients_;
  std::map<Ctid, OwnerWard> owner_wards_;
  std::uint64_t owner_serial_ = 0;
  Clock::time_point idle_since_ = Clock::now();
  bool ending_ = false;
};

// Tokens of the poller: what in the upper half, container or descriptor in the lower one.
enum class Token : std::uint32_t {
  listener,
  signals,
  client,
  console,
  init,
  job,
  oom,
  quota,         // descriptor of a listener
  quota_answer,  // the broker's
  quota_event,
  owner_listener,
  owner_client,  // descriptor
  owner_job,     // its end, or what it says
};
inline std::uint64_t token(Token what, std::uint32_t which = 0) {
  return (static_cast<std::uint64_t>(what) << 32) | which;
}

}  // namespace vz
