// SPDX-License-Identifier: LGPL-2.1-or-later
// Beancounters: what each container holds of every kernel resource, the most it ever held, up to where it may go, and
// how often it was refused more. One table says for each of them where the numbers come from and what enforces limits.
#pragma once

#include <array>
#include <bitset>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>

namespace vz {

// The rows of /proc/user_beancounters, in its order; swappages, the last one, is only in /proc/bc.
enum class Ub : std::uint8_t {
  kmemsize,
  lockedpages,
  privvmpages,
  shmpages,
  dummy4,
  numproc,
  physpages,
  vmguarpages,
  oomguarpages,
  numtcpsock,
  numflock,
  numpty,
  numsiginfo,
  tcpsndbuf,
  tcprcvbuf,
  othersockbuf,
  dgramrcvbuf,
  numothersock,
  dcachesize,
  numfile,
  dummy20,
  dummy21,
  dummy22,
  numiptent,
  swappages,
};
inline constexpr std::size_t kUbRows = 25;

enum class UbUnit : std::uint8_t { bytes, pages, objects };  // a page is 4 KiB on every host
VZ_API const char* ub_unit_name(UbUnit unit);                // "bytes", "pages", "objects"

// What refuses more than the barrier or the limit.
enum class UbLimiter : std::uint8_t { nothing, control_group, program };

// One row of the table that everything else follows from. Texts are reStructuredText without line breaks.
struct UbResource {
  Ub id;
  const char* name;  // "numfile"
  const char* key;   // in a configuration, "NUMFILE"; nullptr for a dummy row
  UbUnit unit;
  const char* counter;  // BPF program that counts it, as it is pinned, or several with '|', of which one is enough
  const char* stock;    // where the numbers come from with the BPF programs loaded
  const char* without;  // where from without them; nullptr: nowhere
  UbLimiter limiter;
  const char* program;  // BPF program that limits it; nullptr: the counter
  const char* by;       // what enforces the limit; where nothing does: why, and what bounds it instead
  int error;            // errno of a refused call; 0: the call waits, or a process is killed
};
VZ_API std::span<const UbResource> ub_resources();  // kUbRows, in order
VZ_API const UbResource& ub_resource(Ub id);
VZ_API const UbResource* find_ub_resource(std::string_view name_or_key);

// Whether a row of this table is one that a container has: not a dummy.
inline bool ub_is_real(const UbResource& r) { return r.key != nullptr; }

// What this host makes of one row.
struct UbAbility {
  bool counted = false;  // by a program, at every change; else `held` is read where possible, when it is asked for
  bool limited = false;  // a limit is enforced here
  std::string why;       // why not; empty when it is
};
using UbAbilities = std::array<UbAbility, kUbRows>;
VZ_API UbAbilities ub_abilities();

// nullopt: this host has no such number. Barrier and limit are kUnlimited when none is set.
struct UbCounter {
  std::optional<std::uint64_t> held, maxheld;
  std::uint64_t barrier = Limit::kUnlimited, limit = Limit::kUnlimited;
  std::optional<std::uint64_t> failcnt;
};

struct UbSnapshot {
  Ctid id{0};
  std::array<UbCounter, kUbRows> rows;
  UbCounter& operator[](Ub r) { return rows[static_cast<std::size_t>(r)]; }
  const UbCounter& operator[](Ub r) const { return rows[static_cast<std::size_t>(r)]; }
};

enum class UbPart : std::uint8_t { held, maxheld, barrier, limit, failcnt };

// Which numbers are asked for: only what they need is read.
class UbParts {
 public:
  static UbParts all() {
    UbParts out;
    out.bits_.set();
    return out;
  }
  bool has(Ub r, UbPart p) const { return bits_[at(r, p)]; }
  bool has(Ub r) const {
    return has(r, UbPart::held) || has(r, UbPart::maxheld) || has(r, UbPart::barrier) || has(r, UbPart::limit) ||
           has(r, UbPart::failcnt);
  }
  bool any() const { return bits_.any(); }
  UbParts& add(Ub r, UbPart p) {
    bits_.set(at(r, p));
    return *this;
  }
  UbParts& add(const UbParts& more) {
    bits_ |= more.bits_;
    return *this;
  }

 private:
  static std::size_t at(Ub r, UbPart p) { return static_cast<std::size_t>(r) * 5 + static_cast<std::size_t>(p); }
  std::bitset<kUbRows * 5> bits_;
};

// Barrier and limit of every row that a configuration asks for, with what follows from RAM and swap.
VZ_API std::array<Limit, kUbRows> ub_limits(const Config& config);

// Reads beancounters of a Host, which must outlive it. What all containers share (maps, mounts) is opened once; opening
// is cheap. Not thread-safe: where there are no programs, reading sockets enters the containers' network namespaces
// with the calling thread.
class VZ_API Beancounters {
 public:
  static Result<Beancounters> open(const Host& host);
  Beancounters(Beancounters&&) noexcept;
  Beancounters& operator=(Beancounters&&) noexcept;
  ~Beancounters();

  // All running containers, by number. One that stops meanwhile is left out, or has rows without numbers.
  Result<std::vector<UbSnapshot>> read(const UbParts& wanted = UbParts::all()) const;
  // These; an entry for each, in their order. Without numbers where it does not run.
  Result<std::vector<UbSnapshot>> read(std::span<const Ctid> ids, const UbParts& wanted = UbParts::all()) const;

 private:
  struct Impl;
  explicit Beancounters(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A snapshot's rows as /proc/user_beancounters and /proc/bc/ID/resources print them, read back: any mix of lines with
// "ID:", with a header or without. `otherwise`: whose rows come before the first "ID:". Rows that are not known are
// skipped. Code::bad_value names the line that is not one.
VZ_API Result<std::vector<UbSnapshot>> parse_ub_text(std::string_view text, Ctid otherwise);

// What happened to a container's beancounters.
struct UbEvent {
  enum class Kind : std::uint8_t {
    refused,    // failcnt rose: `delta` refusals since it was last looked at
    threshold,  // held reached the threshold; told again only after it fell below
    oom_kill,   // the kernel killed `delta` of its processes for want of memory
    started,    // seen for the first time
    stopped,
  };
  Kind kind = Kind::refused;
  Ctid id{0};
  Ub resource = Ub::kmemsize;  // of refused and threshold
  std::uint64_t delta = 0;
  UbCounter counter;  // as it is now
};
VZ_API const char* ub_event_name(UbEvent::Kind kind);  // "refused", …

struct UbEventOptions {
  // How often counters are compared. OOM kills are told at once where the kernel notifies (cgroup v2).
  std::chrono::milliseconds interval{1000};
  std::vector<Ctid> only;                           // empty: all containers
  std::vector<std::pair<Ub, unsigned>> thresholds;  // percent of the barrier, or of the limit when there is no barrier
};

// A subscription to events of this host's containers. What was before open() is no event.
class VZ_API UbEvents {
 public:
  static Result<UbEvents> open(const Host& host, UbEventOptions options = {});
  UbEvents(UbEvents&&) noexcept;
  UbEvents& operator=(UbEvents&&) noexcept;
  ~UbEvents();

  int fd() const;  // poll for POLLIN: then next() has something to look at, not necessarily an event
  // The next event, or nullopt when there is none now. Never waits.
  Result<std::optional<UbEvent>> next();

 private:
  struct Impl;
  explicit UbEvents(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vz
