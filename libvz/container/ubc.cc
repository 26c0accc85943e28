// SPDX-License-Identifier: LGPL-2.1-or-later
// The C face of beancounters: handles, sizes and error texts around the C++ one.
#include <vz/ubc.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>

#include <vz/beancounters.h>
#include <vz/host.h>

struct vz_ubc_events {
  vz::UbEvents events;
};

struct vz_ubc {
  std::optional<vz::Host> host;
  std::optional<vz::Beancounters> counters;
  vz::UbAbilities abilities;
  std::vector<vz::UbSnapshot> snapshots;
  vz::UbEventOptions subscription;
  std::string error;
};

namespace {

static_assert(VZ_UBC_UNLIMITED == vz::Limit::kUnlimited);
static_assert(VZ_UBC_STOPPED == static_cast<int>(vz::UbEvent::Kind::stopped));

// A caller that was built with an older header gets what it knows; a newer one finds zeroes behind what we know.
template <class T>
void hand_out(const T& value, T* out, size_t size) {
  if (size > sizeof value) std::memset(reinterpret_cast<char*>(out) + sizeof value, 0, size - sizeof value);
  std::memcpy(out, &value, std::min(size, sizeof value));
}

constexpr int kFailure = 1000;  // above every exit code, some of which are 1

int failed(vz_ubc* ubc, const vz::Error& error) {
  ubc->error = error.message();
  if (!error.hint().empty()) ubc->error += " (" + error.hint() + ")";
  return static_cast<int>(error.code());
}

int bad(vz_ubc* ubc, const char* what) { return failed(ubc, vz::Error(vz::Code::bad_value, what)); }

uint64_t number(const std::optional<std::uint64_t>& n) { return n.value_or(VZ_UBC_UNKNOWN); }

vz_ubc_counter plain(const vz::UbCounter& c) {
  return {number(c.held), number(c.maxheld), c.barrier, c.limit, number(c.failcnt)};
}

vz::HostPaths paths_of(const vz_ubc_paths* given) {
  vz::HostPaths out;
  if (given && given->etc) out.etc = given->etc;
  if (given && given->run) out.run = given->run;
  if (given && given->lib) out.lib = given->lib;
  return out;
}

vz::Result<> open(vz_ubc& ubc, const vz_ubc_paths* paths) {
  ubc.host = VZ_TRY(vz::Host::open(paths_of(paths)));
  ubc.counters = VZ_TRY(vz::Beancounters::open(*ubc.host));
  ubc.abilities = vz::ub_abilities();
  return {};
}

// Nothing but bad_alloc is thrown below, and C callers know no exceptions.
template <class Function>
int guarded(vz_ubc* ubc, Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    ubc->error = "no memory";  // short enough to need none
    return static_cast<int>(vz::Code::no_resources);
  }
}

}  // namespace

extern "C" {

VZ_API int vz_ubc_open(vz_ubc** ubc, const vz_ubc_paths* paths) {
  *ubc = new (std::nothrow) vz_ubc;
  if (!*ubc) return static_cast<int>(vz::Code::no_resources);
  return guarded(*ubc, [&] {
    auto opened = open(**ubc, paths);
    return opened ? 0 : failed(*ubc, opened.error());
  });
}

VZ_API void vz_ubc_close(vz_ubc* ubc) { delete ubc; }

VZ_API const char* vz_ubc_error(const vz_ubc* ubc) { return ubc ? ubc->error.c_str() : "out of memory"; }

VZ_API size_t vz_ubc_rows(void) { return vz::kUbRows; }

VZ_API int vz_ubc_row(const char* name) {
  const auto* r = name ? vz::find_ub_resource(name) : nullptr;
  return r ? static_cast<int>(r->id) : -1;
}

VZ_API int vz_ubc_describe(vz_ubc* ubc, size_t row, vz_ubc_resource* out, size_t size) {
  if (row >= vz::kUbRows) return bad(ubc, "there is no such row");
  const auto& r = vz::ub_resources()[row];
  const auto& a = ubc->abilities[row];
  hand_out(vz_ubc_resource{r.name, r.key, vz::ub_unit_name(r.unit), r.error, a.counted, a.limited}, out, size);
  return 0;
}

VZ_API int vz_ubc_read(vz_ubc* ubc, size_t* containers) {
  *containers = 0;
  if (!ubc->counters) return bad(ubc, "not open");
  return guarded(ubc, [&] {
    auto all = ubc->counters->read();
    if (!all) return failed(ubc, all.error());
    ubc->snapshots = *std::move(all);
    *containers = ubc->snapshots.size();
    return 0;
  });
}

VZ_API uint32_t vz_ubc_ctid(const vz_ubc* ubc, size_t container) {
  return container < ubc->snapshots.size() ? ubc->snapshots[container].id.value() : 0;
}

VZ_API int vz_ubc_get(vz_ubc* ubc, size_t container, size_t row, vz_ubc_counter* out, size_t size) {
  if (container >= ubc->snapshots.size()) return bad(ubc, "there is no such container in what was read");
  if (row >= vz::kUbRows) return bad(ubc, "there is no such row");
  hand_out(plain(ubc->snapshots[container].rows[row]), out, size);
  return 0;
}

VZ_API int vz_ubc_threshold(vz_ubc* ubc, size_t row, uint32_t percent) {
  if (row >= vz::kUbRows) return bad(ubc, "there is no such row");
  return guarded(ubc, [&] {
    ubc->subscription.thresholds.emplace_back(static_cast<vz::Ub>(row), percent);
    return 0;
  });
}

VZ_API int vz_ubc_subscribe(vz_ubc* ubc, uint32_t interval_ms, vz_ubc_events** events) {
  *events = nullptr;
  if (!ubc->host) return bad(ubc, "not open");
  return guarded(ubc, [&] {
    auto options = ubc->subscription;
    if (interval_ms != 0) options.interval = std::chrono::milliseconds(interval_ms);
    auto opened = vz::UbEvents::open(*ubc->host, std::move(options));
    if (!opened) return failed(ubc, opened.error());
    *events = new vz_ubc_events{*std::move(opened)};
    return 0;
  });
}

VZ_API int vz_ubc_events_fd(const vz_ubc_events* events) { return events->events.fd(); }

VZ_API int vz_ubc_events_next(vz_ubc* ubc, vz_ubc_events* events, vz_ubc_event* out, size_t size) {
  int status = guarded(ubc, [&] {
    auto next = events->events.next();
    if (!next) return failed(ubc, next.error()) + kFailure;
    if (!*next) return 0;
    const auto& e = **next;
    vz_ubc_event plain_event{
        static_cast<uint32_t>(e.kind), e.id.value(), static_cast<uint32_t>(e.resource), 0, e.delta, plain(e.counter)};
    hand_out(plain_event, out, size);
    return 1;
  });
  return status > 1 ? -(status % kFailure) : status;
}

VZ_API void vz_ubc_events_close(vz_ubc_events* events) { delete events; }

}  // extern "C"
