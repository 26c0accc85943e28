// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/systemd.h"

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dlfcn.h>

#include <fmt/format.h>

namespace vz {

namespace {

constexpr const char* kLibrary = "libsystemd.so.0";
constexpr const char* kManager = "org.freedesktop.systemd1";
constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManagerInterface = "org.freedesktop.systemd1.Manager";
// The manager's own socket: works before and without dbus-daemon, and without its hop.
constexpr const char* kPrivateSocket = "unix:path=/run/systemd/private";
constexpr std::uint64_t kJobTimeoutUs = 30'000'000;

// sd_bus_error is part of libsystemd's ABI (sd-bus(3)); the header itself is not needed to build vz.
struct BusError {
  const char* name = nullptr;
  const char* message = nullptr;
  int need_free = 0;
};
struct Bus;
struct Message;
struct Slot;
using Handler = int (*)(Message*, void*, BusError*);

// The entry points that we use, under their names without sd_bus_.
struct Library {
  int (*bus_new)(Bus**);
  int (*set_address)(Bus*, const char*);
  int (*start)(Bus*);
  int (*open_system)(Bus**);
  Bus* (*flush_close_unref)(Bus*);
  int (*call_method)(Bus*, const char*, const char*, const char*, const char*, BusError*, Message**, const char*, ...);
  int (*message_new_method_call)(Bus*, Message**, const char*, const char*, const char*, const char*);
  int (*message_append)(Message*, const char*, ...);
  int (*message_read)(Message*, const char*, ...);
  Message* (*message_unref)(Message*);
  int (*call)(Bus*, Message*, std::uint64_t, BusError*, Message**);
  int (*match_signal)(Bus*, Slot**, const char*, const char*, const char*, const char*, Handler, void*);
  int (*process)(Bus*, Message**);
  int (*wait)(Bus*, std::uint64_t);
  void (*error_free)(BusError*);
};

template <class F>
bool load(void* handle, const char* name, F& out) {
  void* symbol = ::dlsym(handle, name);
  static_assert(sizeof symbol == sizeof out);
  std::memcpy(&out, &symbol, sizeof out);  // ISO C++ has no cast from object to function pointers
  return symbol != nullptr;
}

// Never unloaded: the library keeps thread-local state. dlopen counts references, so calling again is cheap.
Result<Library> load_library() {
  void* h = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!h) return fail(Error(Code::unsupported, ::dlerror()).with_hint("install the package libsystemd0"));
  Library l;
  bool ok = load(h, "sd_bus_new", l.bus_new) && load(h, "sd_bus_set_address", l.set_address) &&
            load(h, "sd_bus_start", l.start) && load(h, "sd_bus_open_system", l.open_system) &&
            load(h, "sd_bus_flush_close_unref", l.flush_close_unref) && load(h, "sd_bus_call_method", l.call_method) &&
            load(h, "sd_bus_message_new_method_call", l.message_new_method_call) &&
            load(h, "sd_bus_message_append", l.message_append) && load(h, "sd_bus_message_read", l.message_read) &&
            load(h, "sd_bus_message_unref", l.message_unref) && load(h, "sd_bus_call", l.call) &&
            load(h, "sd_bus_match_signal", l.match_signal) && load(h, "sd_bus_process", l.process) &&
            load(h, "sd_bus_wait", l.wait) && load(h, "sd_bus_error_free", l.error_free);
  if (!ok) return fail(Code::unsupported, fmt::format("{} is too old", kLibrary));
  return l;
}

// What JobRemoved says about the job that we wait for. Signals may overtake the reply, so all are looked at.
struct Job {
  const Library* library;
  std::string path;
  std::vector<std::pair<std::string, std::string>> removed;  // job path, result
};

int on_job_removed(Message* m, void* data, BusError*) {
  auto* job = static_cast<Job*>(data);
  std::uint32_t number = 0;
  const char *path = nullptr, *unit = nullptr, *result = nullptr;
  if (job->library->message_read(m, "uoss", &number, &path, &unit, &result) >= 0)
    job->removed.emplace_back(path, result);
  return 0;
}

// A failed call: its text, and the D-Bus name of the error.
struct Refusal {
  std::string name, text;
};

class Connection {
 public:
  static Result<std::unique_ptr<Connection>> open() {
    auto c = std::make_unique<Connection>();
    c->lib_ = VZ_TRY(load_library());
    c->job_.library = &c->lib_;
    VZ_TRY(c->connect());
    return c;
  }
  ~Connection() {
    if (bus_) lib_.flush_close_unref(bus_);
  }

  const Library& lib() const { return lib_; }
  Bus* bus() const { return bus_; }

  // Sends `m` and returns the job that it queued; takes the message.
  tl::expected<void, Refusal> queue(Message* m) {
    BusError error;
    Message* reply = nullptr;
    int r = lib_.call(bus_, m, kJobTimeoutUs, &error, &reply);
    lib_.message_unref(m);
    if (r < 0) {
      Refusal refusal{error.name ? error.name : "", error.message ? error.message : strerror(-r)};
      lib_.error_free(&error);
      return tl::unexpected(refusal);
    }
    const char* path = nullptr;
    if (lib_.message_read(reply, "o", &path) >= 0 && path) job_.path = path;
    lib_.message_unref(reply);
    return {};
  }

  // "done", or why not: "failed", "timeout", "canceled", "dependency", …
  Result<std::string> wait_job() {
    using namespace std::chrono;
    for (const auto deadline = steady_clock::now() + microseconds(kJobTimeoutUs); steady_clock::now() < deadline;) {
      int r = lib_.process(bus_, nullptr);
      if (r < 0) return fail(Error::from_errno(-r, "talk to systemd"));
      for (const auto& [path, result] : job_.removed)
        if (path == job_.path) return result;
      if (r == 0) (void)lib_.wait(bus_, 1'000'000);
    }
    return fail(Error::from_errno(ETIMEDOUT, "wait for systemd's job"));
  }

 private:
  Result<> connect() {
    bool direct = lib_.bus_new(&bus_) >= 0 && lib_.set_address(bus_, kPrivateSocket) >= 0 && lib_.start(bus_) >= 0;
    if (!direct) {
      if (bus_) lib_.flush_close_unref(bus_);
      bus_ = nullptr;
      if (int r = lib_.open_system(&bus_); r < 0) return fail(Error::from_errno(-r, "connect to systemd"));
    }
    int r = lib_.match_signal(bus_, nullptr, direct ? nullptr : kManager, kManagerPath, kManagerInterface, "JobRemoved",
                              on_job_removed, &job_);
    if (r < 0) return fail(Error::from_errno(-r, "watch systemd's jobs"));
    // On its own socket the manager tells everybody; on the bus only who asked.
    BusError error;
    if (!direct)
      (void)lib_.call_method(bus_, kManager, kManagerPath, kManagerInterface, "Subscribe", &error, nullptr, "");
    lib_.error_free(&error);
    return {};
  }

  Library lib_{};
  Bus* bus_ = nullptr;
  Job job_{};
};

Message* new_call(Connection& c, const char* method) {
  Message* m = nullptr;
  (void)c.lib().message_new_method_call(c.bus(), &m, kManager, kManagerPath, kManagerInterface, method);
  return m;
}

// Shutdown order: the scope must outlive vz.service, whose stop shuts containers down properly. "Before" in start
// order is "after" when stopping; the default dependencies would stop both at once.
// No limits here: they sit in P/ct, where a daemon-reload cannot touch them. MemoryLow=, MemoryMin= follow P/ct:
// Cgroups::apply(). `systemctl stop` of the scope: SIGTERM would reboot a container with busybox init and be ignored by
// systemd, so the signal is the one that systemd(1) shuts down on; whatever is left after the time gets SIGKILL.
constexpr std::int32_t kPoweroffSignal = 34 + 4;             // SIGRTMIN+4, as systemd counts
constexpr std::uint64_t kStopTimeout = 30ull * 1000 * 1000;  // microseconds

Message* scope_call(Connection& c, const Scope& s) {
  Message* m = new_call(c, "StartTransientUnit");
  if (!m) return nullptr;
  int r = c.lib().message_append(m, "ssa(sv)a(sa(sv))", s.name.c_str(), "fail", 12,   //
                                 "Description", "s", s.description.c_str(),           //
                                 "Slice", "s", s.slice.c_str(),                       //
                                 "Delegate", "b", 1,                                  //
                                 "CollectMode", "s", "inactive-or-failed",            //
                                 "TasksMax", "t", UINT64_MAX,                         //
                                 "MemoryMax", "t", UINT64_MAX,                        //
                                 "KillSignal", "i", kPoweroffSignal,                  //
                                 "TimeoutStopUSec", "t", kStopTimeout,                //
                                 "DefaultDependencies", "b", 0,                       //
                                 "Conflicts", "as", 1, "shutdown.target",             //
                                 "Before", "as", 2, "vz.service", "shutdown.target",  //
                                 "PIDs", "au", 1, static_cast<std::uint32_t>(s.pid), 0);
  if (r >= 0) return m;
  c.lib().message_unref(m);
  return nullptr;
}

Result<> stop_on(Connection& c, const std::string& name) {
  Message* m = new_call(c, "StopUnit");
  if (!m || c.lib().message_append(m, "ss", name.c_str(), "replace") < 0)
    return fail(Code::system, "cannot compose a message to systemd");
  auto queued = c.queue(m);
  if (!queued) {
    if (queued.error().name == "org.freedesktop.systemd1.NoSuchUnit") return {};
    return fail(Code::system, fmt::format("systemd does not stop {}: {}", name, queued.error().text));
  }
  (void)VZ_TRY(c.wait_job());
  return {};
}

}  // namespace

Result<> start_scope(const Scope& scope) {
  auto c = VZ_TRY(Connection::open());
  for (int attempt = 0;; ++attempt) {
    Message* m = scope_call(*c, scope);
    if (!m) return fail(Code::system, "cannot compose a message to systemd");
    auto queued = c->queue(m);
    if (queued) break;
    if (attempt == 0 && queued.error().name == "org.freedesktop.systemd1.UnitExists") {
      VZ_TRY(stop_on(*c, scope.name));
      continue;
    }
    return fail(Error(Code::system, fmt::format("systemd does not make {}: {}", scope.name, queued.error().text))
                    .with_hint("see `systemctl status " + scope.name + "` and the journal"));
  }
  auto result = VZ_TRY(c->wait_job());
  if (result != "done") return fail(Code::system, fmt::format("systemd does not make {}: job {}", scope.name, result));
  return {};
}

Result<> stop_unit(const std::string& name) {
  auto c = VZ_TRY(Connection::open());
  return stop_on(*c, name);
}

Result<> set_unit_bytes(const std::string& name, const char* property, std::uint64_t bytes) {
  auto c = VZ_TRY(Connection::open());
  Message* m = new_call(*c, "SetUnitProperties");
  constexpr int kRuntime = 1;
  if (!m || c->lib().message_append(m, "sba(sv)", name.c_str(), kRuntime, 1, property, "t", bytes) < 0)
    return fail(Code::system, "cannot compose a message to systemd");
  auto done = c->queue(m);
  if (!done)
    return fail(Code::system, fmt::format("systemd does not set {}= of {}: {}", property, name, done.error().text));
  return {};
}

Result<std::string> libsystemd() {
  (void)VZ_TRY(load_library());
  return std::string(kLibrary);
}

}  // namespace vz
