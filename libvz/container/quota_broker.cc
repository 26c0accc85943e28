// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/quota_broker.h"

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "libvz/kernel/event_counter.h"
#include "libvz/kernel/quota.h"

namespace vz {

namespace {

constexpr auto kIdle = std::chrono::seconds(10);  // after that a thread ends

// One call, from its arguments to its answer. Each step returns 0 or the errno that the caller gets.
class Service {
 public:
  Service(const SeccompListener& listener, const QuotaScope& scope, const SeccompCall& call)
      : listener_(listener), scope_(scope), call_(call) {}
  int run();

 private:
  bool by_descriptor() const { return call_.number == kQuotactlFdNumber; }
  std::uint64_t address() const { return call_.args[3]; }
  bool gone() const { return !listener_.waits(call_.id); }
  int decode();
  int check_target(const CallingThread& caller, int fs) const;
  int check_special(const CallingThread& caller) const;
  int act(const CallingThread& caller);

  const SeccompListener& listener_;
  const QuotaScope& scope_;
  const SeccompCall& call_;
  QuotaCall what_;
};

// quotactl(op, special, id, addr), quotactl_fd(fd, op, id, addr)
int Service::decode() {
  if (!call_.native || call_.thread <= 0) return EPERM;
  if (call_.number != kQuotactlNumber && !by_descriptor()) return ENOSYS;
  auto op = static_cast<std::uint32_t>(call_.args[by_descriptor() ? 1 : 0]);
  return decode_quota_call(op, static_cast<std::uint32_t>(call_.args[2]), &what_);
}

// The path is a name here and nothing else: it is never looked up, neither on the host nor in the container.
int Service::check_special(const CallingThread& caller) const {
  if (call_.args[1] == 0) return what_.is_sync() ? 0 : ENODEV;
  std::string special;
  if (int error = caller.read_path(call_.args[1], &special)) return error;
  return special == scope_.special ? 0 : ENODEV;
}

int Service::check_target(const CallingThread& caller, int fs) const {
  if (!by_descriptor()) return 0;
  dev_t asked = 0;
  if (int error = caller.device_of(static_cast<int>(call_.args[0]), &asked)) return error;
  auto own = device_of(fs);
  return own && *own == asked ? 0 : ENODEV;
}

int Service::act(const CallingThread& caller) {
  alignas(8) char data[kQuotaDataMax] = {};
  if (what_.command->in > 0) {
    if (int error = caller.read(address(), data, what_.command->in)) return error;
    if (int error = check_quota_data(what_, data)) return error;
  }
  auto fs = open_quota_file_system(scope_);
  if (!fs) return fs.error().sys_errno() ? fs.error().sys_errno() : EIO;
  if (int error = check_target(caller, fs->get())) return error;
  // Quotas are written with the files they count: there is nothing to wait for, and not everybody may make us.
  if (what_.is_sync()) return 0;
  if (gone()) return ESRCH;
  const std::uint32_t id = quota_id_on_disk(what_, scope_.view);
  if (int error = quotactl_on(fs->get(), what_.command->command, what_.type, id, data)) return error;
  if (int error = translate_quota_answer(what_, scope_.view, data)) return error;
  return what_.command->out > 0 ? caller.write(address(), data, what_.command->out) : 0;
}

int Service::run() {
  if (int error = decode()) return error;
  auto caller = CallingThread::open(call_.thread);
  // All that was opened is the caller's, if it still waits: its number cannot have gone to another process.
  if (!caller || gone()) return EPERM;
  auto who = parse_quota_caller(caller->status(), scope_.idmap, caller->user_namespace() == scope_.user_namespace);
  if (!who) return EPERM;
  if (!by_descriptor())
    if (int error = check_special(*caller)) return error;
  if (int error = permit_quota_call(what_, *who, scope_.view)) return error;
  return act(*caller);
}

}  // namespace

void serve_quota_call(SeccompListener& listener, const QuotaScope& scope) {
  auto call = listener.next();
  if (!call || !*call) return;
  listener.answer((*call)->id, Service(listener, scope, **call).run());
}

void refuse_quota_call(SeccompListener& listener, int error) {
  auto call = listener.next();
  if (call && *call) listener.answer((*call)->id, error);
}

struct QuotaBroker::Shared {
  struct Work {
    Ctid id;
    std::shared_ptr<SeccompListener> listener;
    std::shared_ptr<const QuotaScope> scope;
  };
  EventCounter done_event;
  std::mutex mutex;  // guards what follows
  std::condition_variable more;
  std::deque<Work> queue;
  std::vector<Ctid> done;
  std::size_t idle = 0, threads = 0;
  bool ending = false;
};

Result<QuotaBroker> QuotaBroker::create() {
  auto shared = std::make_shared<Shared>();
  shared->done_event = VZ_TRY(EventCounter::create());
  return QuotaBroker(std::move(shared));
}

QuotaBroker::~QuotaBroker() {
  if (!shared_) return;
  std::lock_guard lock(shared_->mutex);
  shared_->ending = true;
  shared_->more.notify_all();
}

int QuotaBroker::fd() const { return shared_->done_event.fd(); }

void QuotaBroker::submit(Ctid id, std::shared_ptr<SeccompListener> listener, std::shared_ptr<const QuotaScope> scope) {
  std::unique_lock lock(shared_->mutex);
  shared_->queue.push_back({id, std::move(listener), std::move(scope)});
  shared_->more.notify_one();
  if (shared_->queue.size() <= shared_->idle) return;
  ++shared_->threads;
  lock.unlock();
  try {
    // Not joined: what it waits for may never come.
    std::thread(work, shared_).detach();
  } catch (const std::system_error&) {
    lock.lock();
    if (--shared_->threads > 0 || shared_->queue.empty()) return;  // one of the others takes it
    Shared::Work work = std::move(shared_->queue.front());
    shared_->queue.pop_front();
    refuse_quota_call(*work.listener, EAGAIN);
    shared_->done.push_back(work.id);
    shared_->done_event.add();
  }
}

void QuotaBroker::work(std::shared_ptr<Shared> shared) {
  std::unique_lock lock(shared->mutex);
  for (;;) {
    ++shared->idle;
    bool woken = shared->more.wait_for(lock, kIdle, [&] { return shared->ending || !shared->queue.empty(); });
    --shared->idle;
    if (shared->ending) break;
    if (!woken && shared->threads > 1) break;
    if (!woken) continue;  // the last one stays: making one may fail
    Shared::Work work = std::move(shared->queue.front());
    shared->queue.pop_front();
    lock.unlock();
    serve_quota_call(*work.listener, *work.scope);
    Ctid id = work.id;
    work = {Ctid(0), nullptr, nullptr};
    lock.lock();
    shared->done.push_back(id);
    shared->done_event.add();
  }
  --shared->threads;
}

std::vector<Ctid> QuotaBroker::finished() {
  std::lock_guard lock(shared_->mutex);
  shared_->done_event.clear();
  return std::exchange(shared_->done, {});
}

void QuotaBroker::abandon() {
  if (!shared_) return;
  shared_->done_event.close();
  shared_.reset();  // the threads' own references stay, and with them what they may have locked
}

}  // namespace vz
