// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/file_watch.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace vz {

Result<FileWatch> FileWatch::create(std::chrono::milliseconds interval) {
  UniqueFd poll(::epoll_create1(EPOLL_CLOEXEC));
  if (!poll) return fail_errno("epoll_create1");
  UniqueFd notify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!notify) return fail_errno("inotify_init1");
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return fail_errno("timerfd_create");
  auto ms = std::max<std::int64_t>(interval.count(), 1);
  itimerspec spec{};
  spec.it_interval = {ms / 1000, ms % 1000 * 1000000};
  spec.it_value = spec.it_interval;
  if (::timerfd_settime(timer.get(), 0, &spec, nullptr) != 0) return fail_errno("timerfd_settime");
  FileWatch out(std::move(poll), std::move(notify), std::move(timer));
  VZ_TRY(out.also(out.notify_.get()));
  VZ_TRY(out.also(out.timer_.get()));
  return out;
}

Result<int> FileWatch::add(const std::string& path) {
  int watch = ::inotify_add_watch(notify_.get(), path.c_str(), IN_MODIFY);
  if (watch < 0) return fail_errno("watch " + path);
  return watch;
}

void FileWatch::remove(int watch) { (void)::inotify_rm_watch(notify_.get(), watch); }

Result<> FileWatch::also(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno("epoll_ctl");
  return {};
}

bool FileWatch::drain() {
  bool any = false;
  char buffer[4096];
  while (::read(notify_.get(), buffer, sizeof buffer) > 0) any = true;
  while (::read(timer_.get(), buffer, sizeof buffer) > 0) any = true;
  return any;
}

}  // namespace vz
