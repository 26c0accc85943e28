// SPDX-License-Identifier: LGPL-2.1-or-later
// LIB/migrate/ID.json: how far a migration is, on either side, durable before the other side is told.
//
//   source       sending ----> committed ----> (gone)        sending: the container is ours. committed: it is not.
//   destination  incoming -> prepared -> committed -> done   prepared: whole, waits for the word. done: it is ours.
//                        \-> held ----/            \--> returned   it cannot go on here: it is the source's again.
//
// held: as prepared, and already in its place and restored up to the last step before it runs.
//
// At every moment at most one side may run it, and one side can: the source until it has written `committed`, the
// destination from the moment it was told so, which it is only after that was written.
#pragma once

#include <optional>
#include <string>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>

namespace vz {

struct MigrationJournal {
  // Of a shared private area: a vz that does not know this would remove it.
  int version() const { return is_shared() ? 2 : 1; }
  bool is_shared() const { return shared == "yes"; }
  std::string session;       // random, the same on both sides
  std::string side;          // "source", "destination"
  std::string phase;         // see above
  std::string peer;          // the other host, as it was named
  std::string transport;     // source: the command that reaches it, words separated by blanks
  std::string config;        // destination, from `prepared` on: the text of ID.conf
  std::string usage;         // destination: the usage record, may be empty
  std::string keep;          // source: "yes": the stopped container stays, renamed
  std::string start;         // destination: "yes": start it; "restore": continue it from its dump
  std::string token;         // destination: of the dump that came along; empty: none
  std::string private_path;  // destination: where the private area goes
  std::string shared;        // "yes": both hosts have the same private area, which stays where it is
};

std::string migration_journal_path(const Host& host, Ctid id);
// A destination's that has not been told yet that it may run here: it can be thrown away.
bool is_undecided(const MigrationJournal& journal);
// nullopt: none. Code::bad_config for one that is damaged or of another version: nobody knows then who owns it.
Result<std::optional<MigrationJournal>> load_migration(const Host& host, Ctid id);
Result<> save_migration(const Host& host, Ctid id, const MigrationJournal& journal);
Result<> remove_migration(const Host& host, Ctid id);

// May this host start, change or destroy it, or make one of this number? Code::locked with what to do.
Result<> check_not_migrating(const Host& host, Ctid id);

}  // namespace vz
