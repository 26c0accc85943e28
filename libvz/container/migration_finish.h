// SPDX-License-Identifier: LGPL-2.1-or-later
// What becomes of a container that came from, or went to, another host, once that is decided. Every function can be
// repeated after a kill at any of its steps.
#pragma once

#include <string>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include "libvz/container/context.h"
#include "libvz/container/migration_journal.h"

namespace vz {

// Where the private area grows until it is whole.
std::string incoming_path(const MigrationJournal& journal);

// Destination, before the commit: nothing of it is left.
Result<> drop_incoming(const Host& host, Ctid id, const MigrationJournal& journal, Reporter& reporter);

// Destination, from `held` or `committed` on: configuration, name, usage, dump and private area where they belong.
Result<> put_in_place(const Host& host, Ctid id, const MigrationJournal& journal, Reporter& reporter);

struct FinishedIncoming {
  bool started = false;
  bool returned = false;  // it could not go on from its dump: nothing of it is left, the source may have it again
  std::string note;       // why not, when it should have been
};
// Destination, after it: everything is put in its place, and it is started or restored. The caller holds the lock. A
// container that does not start is a note: it is here, and nowhere else.
Result<FinishedIncoming> finish_incoming(const Host& host, Ctid id, MigrationJournal* journal, Reporter& reporter);

// Destination, after a restore that failed, and again for who asks again: nothing of it can run here.
Result<> give_back(const Host& host, Ctid id, MigrationJournal* journal, Reporter& reporter);

// Source, after it: destroyed, or renamed to *.migrated; a shared private area stays. The caller holds the lock.
Result<> finish_outgoing(Context& ct, const MigrationJournal& journal);

}  // namespace vz
