// SPDX-License-Identifier: LGPL-2.1-or-later
// Moving a container to another host. The other end is a vzctl there, reached by a command that carries bytes (ssh).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

struct MigrateOptions {
  std::string destination;             // as the user names it, for messages and the journal
  std::vector<std::string> transport;  // command whose standard input and output reach `vzctl agent` there
  bool keep_source = false;            // the stopped container stays here, renamed to *.migrated
  bool check_only = false;             // all checks, nothing is changed
  bool live = false;                   // with its memory and connections, by a checkpoint
  bool late = false;   // live: processes run there before all of their memory is in its place (Linux 6.1 there)
  bool force = false;  // neither limits, processor nor free memory of the other host are a reason to refuse
  std::uint64_t max_passes = 4;         // copies of what changed, before the container is stopped
  std::uint64_t max_downtime_ms = 300;  // live: memory is sent ahead until about so much is left
  // Bytes per second on the wire as long as nobody waits, as --iolimit has it ("10M"); "", "0": no limit.
  std::string bandwidth;
  std::optional<bool> compress;  // what is sent; nullopt: where that was seen to be faster
};

// One copy of the container's disk or memory, or of what changed in it since the last one.
struct MigratePass {
  std::string kind = "disk";         // "disk", "memory", "dump": what a checkpoint wrote
  std::uint64_t read = 0, sent = 0;  // bytes of the disk
  std::uint64_t took_ms = 0;
  bool frozen = false;  // the container did not run
};

struct MigrateReport {
  std::string mode;  // "offline": it did not run; "near-live": stopped for the last pass; "live": suspended for it
  std::string why;   // why not a better one
  std::vector<MigratePass> passes;
  std::uint64_t sent = 0;     // bytes on the wire
  std::uint64_t carried = 0;  // bytes that they were before they were compressed
  std::uint64_t down_ms = 0;  // from the request to stop until it was started there
  std::uint64_t total_ms = 0;
  std::uint64_t late = 0;          // live: bytes of memory that came into their place when it ran already
  std::uint64_t kept_packets = 0;  // live: sent to it meanwhile, and given to it when it went on
  bool shared = false;             // both hosts have its private area: it was not copied
  bool started = false;            // it runs there
};

// Moves container `id` to the other host: two-phase commit with a journal on both sides, so that whoever is killed
// when, at most one host can start the container, and one can. Until the commit every failure leaves it here, running
// if it ran. Codes: connect, private_exists (or its number, name, addresses are taken there), no_disk_space, locked,
// unsupported (an older vz there), and what stop and start return.
VZ_API Result<MigrateReport> migrate(const Host& host, Ctid id, const MigrateOptions& options, Reporter& reporter);

enum class Resolve {
  ask,        // on the source: ask the other host how far it is, and finish
  take_back,  // on the source: the other host is lost for good; the container is here again
  drop,       // on the destination: what was copied is thrown away
};
// After a failure of both hosts or of the connection at the worst moment. `transport` as above, empty: as it was.
VZ_API Result<> resolve_migration(const Host& host, Ctid id, Resolve how, const std::vector<std::string>& transport,
                                  Reporter& reporter);

// Migrations that are under way on this host, or were left so: of containers that leave, and of those that come.
struct MigrationStatus {
  Ctid id{0};
  std::string side;   // "source", "destination"; "" where the journal is damaged
  std::string phase;  // "sending", "committed", "incoming", "prepared", "held", "done", "returned"; "damaged"
};
VZ_API std::vector<MigrationStatus> list_migrations(const Host& host);

// The other end: serves one migration on two file descriptors (owned from now on) until the stream ends.
VZ_API Result<> serve_migration(const Host& host, int in, int out, Reporter& reporter);

}  // namespace vz
