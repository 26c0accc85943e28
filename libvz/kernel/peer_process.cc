// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/peer_process.h"

#include <cerrno>
#include <csignal>
#include <utility>

#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vz {

namespace {

constexpr unsigned kPatienceMs = 3000;

// Destroyed in the order of their kind whatever happens between.
struct SpawnActions {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  SpawnActions() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  ~SpawnActions() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
  }
};

int status_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

// 0: it runs on.
bool reap_within(int pid, unsigned milliseconds, int* status) {
  for (unsigned waited = 0;; waited += 10) {
    int got = ::waitpid(pid, status, WNOHANG);
    if (got == pid || (got < 0 && errno == ECHILD)) return true;
    if (waited >= milliseconds) return false;
    ::usleep(10000);
  }
}

}  // namespace

PeerProcess::PeerProcess(PeerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), stream_(std::move(other.stream_)) {}

int PeerProcess::end() {
  stream_.reset();
  const int pid = std::exchange(pid_, -1);
  int status = 0;
  if (reap_within(pid, kPatienceMs, &status)) return status_of(status);
  (void)::kill(pid, SIGTERM);
  if (reap_within(pid, kPatienceMs, &status)) return status_of(status);
  (void)::kill(pid, SIGKILL);
  (void)::waitpid(pid, &status, 0);
  return status_of(status);
}

PeerProcess::~PeerProcess() {
  if (pid_ >= 0) (void)end();
}

Result<PeerProcess> start_peer(const std::vector<std::string>& argv) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return fail_errno("socketpair");
  UniqueFd ours(ends[0]), theirs(ends[1]);
  SpawnActions actions;
  posix_spawn_file_actions_adddup2(&actions.files, theirs.get(), 0);
  posix_spawn_file_actions_adddup2(&actions.files, theirs.get(), 1);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&actions.attributes, &none);
  posix_spawnattr_setsigdefault(&actions.attributes, &all);
  posix_spawnattr_setflags(&actions.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  std::vector<char*> pointers;
  for (const auto& word : argv) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  pid_t pid = -1;
  int err = ::posix_spawnp(&pid, pointers[0], &actions.files, &actions.attributes, pointers.data(), environ);
  if (err != 0) return fail(Error::from_errno(err, "run " + argv[0], Code::connect));
  return PeerProcess(pid, std::move(ours));
}

}  // namespace vz
