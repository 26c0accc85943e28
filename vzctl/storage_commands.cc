// SPDX-License-Identifier: GPL-2.0-or-later
// The rows of the command table for snapshots, backups and monitor.
#include "vzctl/command.h"

namespace vzctl {
namespace {

constexpr Option kSnapshotOptions[] = {
    {"--id", "UUID", "Its UUID; a random one otherwise"},
    {"--name", "NAME", "A name for people, one line"},
    {"--desc,--description", "TEXT", "One line of text for people"},
    {"--skip-suspend", nullptr, "Without the processes: it will start from the files alone"},
    {"--skip-config", nullptr, "Without the configuration"},
    {"-j,--json", nullptr, "Print the UUID as JSON"},
};
constexpr Option kSnapshotListOptions[] = {
    {"-H,--no-header", nullptr, "Print no header line"},
    {"-o,--output", "FIELD[,FIELD...]", "Print only these, in this order"},
    {"-L,--list", nullptr, "Print the names of all fields"},
    {"--id", "UUID", "Only this one"},
    {"-j,--json", nullptr, "Print JSON: all fields"},
    {"--format", "FORMAT", "table, json, csv or yaml", Values::format},
};
constexpr Option kSnapshotSwitchOptions[] = {
    {"--id", "UUID", "The snapshot"},
    {"--skip-resume", nullptr, "Leave the container stopped although the snapshot has its processes"},
    {"--must-resume", nullptr, "Fail, and change nothing, if the snapshot has no processes"},
    {"--skip-config", nullptr, "Keep the present configuration"},
};
constexpr Option kSnapshotOption[] = {{"--id", "UUID", "The snapshot"}};
constexpr Option kSnapshotMountOptions[] = {
    {"--id", "UUID", "The snapshot"},
    {"--target", "DIRECTORY", "Where to mount it", Values::directory},
};
constexpr Option kBackupOptions[] = {
    {"-o,--output", "PATH", "A directory, or the file to be made; BACKUPDIR/CTID otherwise", Values::file},
    {"-i,--incremental", nullptr, "Only what has changed since the newest backup in that directory"},
    {"--desc,--description", "TEXT", "One line of text for people"},
    {"-j,--json", nullptr, "Print what was made as JSON"},
};
constexpr Option kBackupListOptions[] = {
    {"-H,--no-header", nullptr, "Print no header line"},
    {"-j,--json", nullptr, "Print JSON: all fields"},
    {"--format", "FORMAT", "table, json, csv or yaml", Values::format},
};
constexpr Option kBackupVerifyOptions[] = {{"-j,--json", nullptr, "Print what was read as JSON"}};
constexpr Option kRestoreBackupOptions[] = {
    {"--ctid", "CTID", "Restore it under this number; that of the backup otherwise"},
    {"--name", "NAME", "Give it this name"},
    {"--replace", nullptr, "Put it in place of the stopped container of this number, whose present state is lost"},
    {"--force", nullptr, "Take capabilities and devices from a file that is not in BACKUPDIR, too"},
};
constexpr Option kMonitorOptions[] = {
    {"-j,--json", nullptr, "One JSON object a line"},
    {"--interval", "SECONDS", "How often counters are compared; 1 otherwise"},
};

}  // namespace

std::vector<Command> storage_commands() {
  return {
      {"snapshot",
       {},
       Needs::container,
       "CTID [--id UUID] [--name NAME] [--description TEXT] [--skip-suspend] [--skip-config]",
       "Take a snapshot",
       "Keeps the container as it is now: its file system, its configuration and, if it runs, its processes. It stands "
       "still for the moment in which they are saved and goes on. For the image layout. Each snapshot is complete in "
       "itself; where the file system shares blocks (XFS, btrfs) it takes no more room than what changes, elsewhere "
       "that of the image.",
       kSnapshotOptions,
       0,
       run_snapshot,
       Settings::none,
       true},
      {"snapshot-list",
       {},
       Needs::container,
       "CTID [-H] [-o FIELD[,FIELD...]] [--id UUID] [--json]",
       "List snapshots",
       "The one with * is that which the container's present state goes back to.",
       kSnapshotListOptions,
       0,
       run_snapshot_list},
      {"snapshot-switch",
       {},
       Needs::container,
       "CTID --id UUID [--skip-resume|--must-resume] [--skip-config]",
       "Return to a snapshot",
       "The container becomes what it was then, with its configuration; what it is now is lost. If the snapshot has "
       "its processes they go on, otherwise it is stopped afterwards. The snapshot stays and can be used again.",
       kSnapshotSwitchOptions,
       0,
       run_snapshot_switch,
       Settings::none,
       true},
      {"snapshot-delete",
       {},
       Needs::container,
       "CTID --id UUID",
       "Delete a snapshot",
       "No other one is changed.",
       kSnapshotOption,
       0,
       run_snapshot_delete,
       Settings::none,
       true},
      {"snapshot-mount",
       {},
       Needs::container,
       "CTID --id UUID --target DIRECTORY",
       "Mount a snapshot",
       "Read-only, to look at it and to copy files from it.",
       kSnapshotMountOptions,
       0,
       run_snapshot_mount,
       Settings::none,
       true},
      {"snapshot-umount",
       {},
       Needs::container,
       "CTID --id UUID",
       "Unmount a snapshot",
       "",
       kSnapshotOption,
       0,
       run_snapshot_umount,
       Settings::none,
       true},
      {"backup",
       {},
       Needs::container,
       "CTID [--output PATH] [--incremental] [--description TEXT] [--json]",
       "Make a backup",
       "One file with the container's files, its configuration and checksums. The container may run: it stands still "
       "only while what changed during the backup is added. With --incremental the file has only what is new since "
       "the backup before, and needs all before it, back to the full one. --backup-space limits what the backups of a "
       "container in BACKUPDIR take.",
       kBackupOptions,
       0,
       run_backup,
       Settings::none,
       true},
      {"backup-list",
       {},
       Needs::host,
       "[CTID] [-H] [--json]",
       "List backups",
       "Those in BACKUPDIR, of one container or of all, oldest first.",
       kBackupListOptions,
       1,
       run_backup_list},
      {"backup-verify",
       {},
       Needs::host,
       "NAME|FILE [--json]",
       "Read a backup and compare its checksums",
       "Also what it builds on. Exit status 174 when something is wrong.",
       kBackupVerifyOptions,
       1,
       run_backup_verify,
       Settings::none,
       true},
      {"backup-delete",
       {},
       Needs::host,
       "NAME|FILE",
       "Delete a backup",
       "Refused while another one builds on it.",
       {},
       1,
       run_backup_delete,
       Settings::none,
       true},
      {"restore-backup",
       {},
       Needs::host,
       "NAME|FILE [--ctid CTID] [--name NAME] [--replace] [--force]",
       "Make a container from a backup",
       "On this host or another one, under its number or under --ctid. Names and addresses that another container has "
       "by now are left out with a warning, and so are privileges that a file from outside of BACKUPDIR asks for. A "
       "file that is damaged in any place is refused, and nothing is left of it.",
       kRestoreBackupOptions,
       1,
       run_restore_backup,
       Settings::none,
       true},
      {"monitor",
       {},
       Needs::host,
       "[CTID...] [--json] [--interval SECONDS]",
       "Follow what happens to containers",
       "Prints a line when a container starts or stops, when the kernel kills one of its processes for want of "
       "memory, when a beancounter refuses something, and when a disk quota is exceeded. Ends with Ctrl-C.",
       kMonitorOptions,
       1000,
       run_monitor},
  };
}

}  // namespace vzctl
