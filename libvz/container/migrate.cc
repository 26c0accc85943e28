// SPDX-License-Identifier: LGPL-2.1-or-later
// The source of a migration, which decides. The disk is copied while the container runs, then what changed since, until
// little does. Then the container is stopped, the rest follows, and it is started on the other host; or, live, it
// stands still while the rest and its memory follow, the other host restores it up to the last step, and only then are
// its processes here ended. On storage that both hosts have, nothing is copied: stopped or suspended here, it goes on
// there.
#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include <fcntl.h>

#include <fmt/format.h>
#include <vz/migrate.h>

#include "libvz/base/random.h"
#include "libvz/base/text.h"
#include "libvz/container/archive_stream.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/context.h"
#include "libvz/container/dir_layout.h"
#include "libvz/container/dump_stream.h"
#include "libvz/container/image.h"
#include "libvz/container/image_delta.h"
#include "libvz/container/image_pass.h"
#include "libvz/container/last_pass.h"
#include "libvz/container/lock.h"
#include "libvz/container/memory_sender.h"
#include "libvz/container/migration_connection.h"
#include "libvz/container/migration_finish.h"
#include "libvz/container/migration_journal.h"
#include "libvz/container/migration_message.h"
#include "libvz/container/network_handover.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/running.h"
#include "libvz/container/shared_storage.h"
#include "libvz/container/snapshot_store.h"
#include "libvz/container/state.h"
#include "libvz/container/usage_keep.h"
#include "libvz/container/user_limits.h"
#include "libvz/container/value.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hardware.h"
#include "libvz/kernel/hostinfo.h"
#include "libvz/kernel/loopdev.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/namespace.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

// Another live pass pays while it is shorter than this, or at least half of the last one.
constexpr std::uint64_t kSmallPass = 8u << 20;
// Less private memory than this is read and sent in the pause that a dump makes anyway.
constexpr std::uint64_t kSmallMemory = 32u << 20;
constexpr int kMemoryPasses = 10;

std::uint64_t now_ms() { return monotonic_ns() / 1'000'000; }

// What is known of the container when everything begins.
struct Outgoing {
  Context& ct;
  const MigrateOptions& options;
  Layout layout = Layout::image;
  IdMap idmap;
  bool running = false;
  bool live = false;
  std::string config;       // the text of ID.conf
  std::uint64_t bytes = 0;  // what it takes on a disk
  std::uint64_t size = 0;   // of the image
  UniqueFd image;
  std::optional<ImageSender> sender;  // of the image
  std::uint64_t stopped_at = 0;       // when it runs no more
  MigrationJournal journal;
  std::string replaces;  // the session of an earlier attempt whose traces the other host may still have
  MigrateReport report;
};

Result<Outgoing> look_at(Context& ct, const MigrateOptions& options) {
  Outgoing out{ct, options, {}, {}, false, false, {}, 0, 0, {}, {}, 0, {}, {}, {}};
  if (!private_exists(ct.private_path))
    return fail(Code::no_private, fmt::format("Container private area {} does not exist", ct.private_path));
  if (is_mount_point(ct.root_path))
    return fail(Error(Code::mounted, fmt::format("Container is mounted on {}", ct.root_path))
                    .with_hint(fmt::format("`vzctl umount {}`", ct.id.value())));
  VZ_TRY(refuse_snapshots(ct, "Cannot migrate", Code::unsupported));
  out.layout = VZ_TRY(private_layout(ct.private_path));
  out.idmap = VZ_TRY(allocate_idmap(ct.host, ct.id));
  out.running = VZ_TRY(running_state(ct.host, ct.id)).has_value();
  out.config = VZ_TRY(read_file(ct.host.config_path(ct.id)));
  if (out.layout == Layout::image) {
    out.image = VZ_TRY(open_file(image_path(ct.private_path), O_RDONLY));
    out.size = VZ_TRY(file_size(out.image.get()));
    out.bytes = VZ_TRY(allocated_bytes(out.image.get()));
  }
  out.live = out.running && options.live;
  out.report.mode = out.live ? "live" : out.running && out.layout == Layout::image ? "near-live" : "offline";
  if (out.running && !out.live)
    out.report.why = out.layout == Layout::image
                         ? "its memory is not moved (--live): it is stopped here and started there"
                         : "files of the dir layout are copied while it is stopped";
  return out;
}

std::string source_name() {
  auto host = host_identity();
  return host ? host->name : "the source";
}

MigrationMessage describe(const Outgoing& out, const char* name) {
  return {name,
          {{"ctid", out.ct.id.str()},
           {"session", out.journal.session},
           {"source", source_name()},
           {"config", out.config},
           {"layout", layout_name(out.layout)},
           {"ids", std::to_string(out.idmap.base)},
           {"size", std::to_string(out.size)},
           {"bytes", std::to_string(out.bytes)},
           {"replaces", out.replaces},
           {"shared", out.journal.is_shared() ? "yes" : "no"},
           {"late", out.options.late ? "yes" : "no"},
           {"force", out.options.force ? "yes" : "no"}}};
}

// What the other host must have for its processes as they are.
Result<> describe_processes(const Outgoing& out, MigrationMessage& request) {
  request.fields["criu"] = VZ_TRY(choose_criu()).version.str();
  request.fields["machine"] = VZ_TRY(host_identity()).machine;
  request.fields["cpu"] = join(instruction_sets(), " ");
  request.fields["memory"] = "0";
  if (!out.live) return {};
  auto running = VZ_TRY(open_running(out.ct.host, out.ct.id));
  request.fields["memory"] = std::to_string(private_memory(VZ_TRY(running.cgroups.pids())));
  return {};
}

// They are the file system's, not the directory's. In one frame.
Result<> describe_user_limits(const Outgoing& out, MigrationMessage& request) {
  constexpr std::size_t kLongest = 512u << 10;
  if (out.layout != Layout::dir || out.journal.is_shared()) return {};
  auto text = VZ_TRY(read_user_limits(out.ct.private_path, out.idmap));
  if (text.size() > kLongest)
    return fail(Code::unsupported, fmt::format("container {}: disk limits of more than 8000 users", out.ct.id.value()));
  request.fields["user_limits"] = std::move(text);
  return {};
}

Result<> save_phase(Outgoing& out, const char* phase) {
  const auto before = std::exchange(out.journal.phase, phase);
  out.ct.reporter.step(fmt::format("migrate.{}", phase));
  auto saved = save_migration(out.ct.host, out.ct.id, out.journal);
  if (!saved) out.journal.phase = before;
  return saved;
}

// One pass; the answer comes when the other end has written everything.
Result<MigratePass> files_pass(Outgoing& out, FrameChannel& channel) {
  const auto began = now_ms();
  MigratePass pass;
  VZ_TRY(ask(channel, {"pass", {}}));
  pass.sent = pass.read =
      VZ_TRY(send_archive(channel, dir_path(out.ct.private_path), out.idmap, [&](std::uint64_t sent) {
        out.ct.reporter.progress("copy", sent, 0);
        return !out.ct.reporter.cancelled();
      }));
  VZ_TRY(receive_answer(channel, "pass"));
  pass.took_ms = now_ms() - began;
  return pass;
}

void report_pass(Outgoing& out, MigratePass pass, bool frozen) {
  pass.frozen = frozen;
  out.report.passes.push_back(pass);
  out.ct.reporter.info(fmt::format("Pass {}: {} MiB read, {} MiB sent, {} ms{}", out.report.passes.size(),
                                   pass.read >> 20, pass.sent >> 20, pass.took_ms, frozen ? ", stopped" : ""));
}

void report_dump(Outgoing& out, std::uint64_t sent, std::uint64_t began) {
  MigratePass pass;
  pass.kind = "dump";
  pass.sent = pass.read = sent;
  pass.took_ms = now_ms() - began;
  pass.frozen = true;
  out.report.passes.push_back(pass);
  out.ct.reporter.info(fmt::format("Dump: {} MiB sent, {} ms", pass.sent >> 20, pass.took_ms));
}

Result<MigratePass> send_pass(Outgoing& out, FrameChannel& channel, ImageSender* sender, bool frozen) {
  auto progress = [&](std::uint64_t done, std::uint64_t all) {
    out.ct.reporter.progress("copy", done, all);
    return !out.ct.reporter.cancelled();
  };
  PassOutbox outbox(channel);
  auto pass = VZ_TRY(sender ? send_image_pass(outbox, *sender, progress, sender->next_parts(frozen))
                            : files_pass(out, channel));
  report_pass(out, pass, frozen);
  return pass;
}

Result<> copy_while_it_runs(Outgoing& out, FrameChannel& channel, ImageSender& sender) {
  std::uint64_t last = UINT64_MAX;
  for (std::uint64_t i = 0; i < out.options.max_passes; ++i) {
    out.ct.reporter.step("migrate.pass");
    auto pass = VZ_TRY(send_pass(out, channel, &sender, false));
    if (pass.sent <= kSmallPass || pass.sent > last / 2) return {};
    last = pass.sent;
  }
  return {};
}

std::string usage_text(const Context& ct) {
  auto sources = UsageSources::open();
  if (!sources) return {};
  auto record = keep_usage(ct.host, *sources, ct.id, ct.reporter);
  return record && *record ? usage_record_text(**record) : std::string();
}

// Of a container that is suspended, by us or before, and will be restored when it is all there.
Result<> copy_dump(Outgoing& out, FrameChannel& channel) {
  out.ct.reporter.step("migrate.dump");
  const auto began = now_ms();
  VZ_TRY(ask(channel, {"dump", {{"durable", out.live ? "no" : "yes"}}}));
  const auto sent = VZ_TRY(send_dump(channel, default_dump_path(out.ct.host, out.ct.id)));
  VZ_TRY(receive_answer(channel, "dump"));
  report_dump(out, sent, began);
  return {};
}

// The dump that is on its way, and what of the disk is not there yet.
Result<> finish_last_pass(Outgoing& out, FrameChannel& channel, LastPass& last_pass) {
  out.ct.reporter.step("migrate.dump");
  const auto began = now_ms();
  report_dump(out, VZ_TRY(last_pass.send_dump(default_dump_path(out.ct.host, out.ct.id))), began);
  if (!out.sender) return send_pass(out, channel, nullptr, true).map([](const MigratePass&) {});
  if (auto second = VZ_TRY(last_pass.second())) report_pass(out, *second, true);
  return {};
}

Result<MigratePass> send_memory(Outgoing& out, FrameChannel& channel, MemorySender& memory, bool frozen) {
  const auto began = now_ms();
  MigratePass pass;
  pass.kind = "memory";
  pass.frozen = frozen;
  out.ct.reporter.step("migrate.memory");
  VZ_TRY(ask(channel, {"memory", {}}));
  auto go_on = [&](std::uint64_t sent) {
    out.ct.reporter.progress("memory", sent, 0);
    return !out.ct.reporter.cancelled();
  };
  pass.sent = frozen ? VZ_TRY(memory.send_rest(channel)) : VZ_TRY(memory.send(channel, go_on));
  pass.read = pass.sent;
  VZ_TRY(receive_answer(channel, "memory"));
  pass.took_ms = now_ms() - began;
  out.report.passes.push_back(pass);
  out.ct.reporter.info(
      fmt::format("Memory: {} MiB sent, {} ms{}", pass.sent >> 20, pass.took_ms, frozen ? ", stopped" : ""));
  return pass;
}

// From here on somebody waits for the end.
void hurry(FrameChannel& channel) { channel.set_rate(0); }

// Sending it ahead, while it runs, is worth its while for all but small containers.
Result<bool> can_send_memory_ahead(Outgoing& out, const Cgroups& cgroups) {
  if (private_memory(VZ_TRY(cgroups.pids())) < kSmallMemory) return false;
  auto able = check_page_tracking();
  if (!able) out.report.why = "its memory is sent while it stands still: " + able.error().message();
  return able.has_value();
}

Result<> send_memory_ahead(Outgoing& out, FrameChannel& channel, MemorySender& memory) {
  std::uint64_t last = UINT64_MAX;
  for (int i = 0; i < kMemoryPasses; ++i) {
    const auto waited = channel.waited_ns();
    auto pass = VZ_TRY(send_memory(out, channel, memory, false));
    // Without what the limit of the bandwidth takes, which does not hold in the pause.
    const auto busy_ms = pass.took_ms - std::min(pass.took_ms, (channel.waited_ns() - waited) / 1'000'000);
    // What is written during a pass as short as this fits into the pause; and a pass that is not shorter than the last
    // one shows that no later one will be.
    if (busy_ms <= out.options.max_downtime_ms / 4 || pass.sent > last / 10 * 9) return {};
    last = pass.sent;
  }
  return {};
}

// Of what does not run any more, or stands still: all but its disk and its dump. Then the other host could run it.
// `token`: of the dump; "": there is none.
Result<> send_rest(Outgoing& out, FrameChannel& channel, const char* request_name, const std::string& token) {
  auto request = describe(out, request_name);
  VZ_TRY(describe_user_limits(out, request));
  request.fields["token"] = token;
  request.fields["usage"] = usage_text(out.ct);
  request.fields["start"] = out.live ? "restore" : out.running ? "yes" : "no";
  VZ_TRY(ask(channel, request));
  return {};
}

// So that the passes after the first, of which one or two are in the pause, need not read the whole image.
void watch_writes(Outgoing& out) {
  auto state = running_state(out.ct.host, out.ct.id);
  if (!state || !*state || !loop_serves((*state)->root_device, image_path(out.ct.private_path))) return;
  if (auto watched = out.sender->watch((*state)->root_device); !watched)
    out.ct.reporter.debug("each pass reads the whole image: " + watched.error().message());
}

Result<> copy_before(Outgoing& out, FrameChannel& channel) {
  VZ_TRY(ask(channel, describe(out, "begin")));
  if (out.journal.is_shared()) return {};
  if (out.layout == Layout::image) out.sender.emplace(VZ_TRY(ImageSender::open(out.image.get())));
  if (out.live && out.sender) watch_writes(out);
  if (out.running && out.sender) VZ_TRY(copy_while_it_runs(out, channel, *out.sender));
  return {};
}

Result<> copy_and_prepare(Outgoing& out, FrameChannel& channel) {
  VZ_TRY(copy_before(out, channel));
  out.stopped_at = now_ms();
  if (out.running) VZ_TRY(out.live ? checkpoint_locked(out.ct, {}) : stop_locked(out.ct, {}));
  // Files of the dir layout are all still to come.
  if (out.running && (out.sender || out.journal.is_shared())) hurry(channel);
  std::string token;
  if (has_good_dump(out.ct.host, out.ct.id, out.ct.private_path)) token = VZ_TRY(read_token(out.ct.private_path));
  if (!out.journal.is_shared()) {
    out.ct.reporter.step("migrate.pass");
    VZ_TRY(send_pass(out, channel, out.sender ? &*out.sender : nullptr, true));
  }
  if (!token.empty()) VZ_TRY(copy_dump(out, channel));
  VZ_TRY(send_rest(out, channel, "prepare", token));
  return save_phase(out, "committed");
}

// It ran before. From its dump, if there is one, as if nothing had been.
void continue_here(Context& ct) {
  auto alive = running_state(ct.host, ct.id);
  if (alive && *alive) return;
  Result<> done;
  if (has_good_dump(ct.host, ct.id, ct.private_path)) {
    ct.reporter.warn("Restoring the container here");
    done = restore_locked(ct, {});
  } else {
    ct.reporter.warn("Starting the container here again");
    done = start_locked(ct, {});
  }
  if (!done) ct.reporter.warn("Warning: it did not start: " + done.error().message());
}

// It is here, as it was: before the commit nothing was taken from it but its run. While the other host does not know,
// the journal stays, so that the next attempt or --resolve tells it.
void restore_source(Outgoing& out, FrameChannel& channel) {
  (void)save_phase(out, "sending");
  if (out.running) continue_here(out.ct);
  if (ask(channel, {"abort", {{"ctid", out.ct.id.str()}, {"session", out.journal.session}}}))
    (void)remove_migration(out.ct.host, out.ct.id);
}

// The other host could not continue it, and says that nothing of it is left there.
Result<> take_returned(Context& ct, FrameChannel& channel, MigrationJournal journal, const std::string& why) {
  journal.phase = "sending";
  ct.reporter.step("migrate.returned");
  VZ_TRY(save_migration(ct.host, ct.id, journal));
  (void)ask(channel, {"forget", {{"ctid", ct.id.str()}, {"session", journal.session}}});
  VZ_TRY(remove_migration(ct.host, ct.id));
  continue_here(ct);
  return fail(Error(Code::restore, fmt::format("{} cannot continue it: {}", journal.peer, why))
                  .with_hint("it is here; without --live it can be stopped here and started there"));
}

using HandedOver = Result<MigrationMessage>;

MigrationMessage go_request(const Context& ct, const MigrationJournal& journal) {
  return {"go", {{"ctid", ct.id.str()}, {"session", journal.session}}};
}

// After the commit only the other host may run it. Asked again, it does what is left to do.
HandedOver say_go(const Context& ct, FrameChannel& channel, const MigrationJournal& journal) {
  ct.reporter.step("migrate.go");
  return ask(channel, go_request(ct, journal));
}

Result<> hand_over(Context& ct, FrameChannel& channel, MigrationJournal journal, HandedOver done, bool* started) {
  if (!done)
    return fail(std::move(done).error().with_hint(fmt::format(
        "the container was given up here and may run there; `vzctl migrate {} --resolve` asks again", ct.id.value())));
  *started = done->text("started") == "yes";
  if (done->text("returned") == "yes") return take_returned(ct, channel, std::move(journal), done->text("note"));
  if (auto note = done->text("note"); !note.empty())
    ct.reporter.warn(fmt::format("Warning: it does not start on {}: {}", journal.peer, note));
  return {};
}

// What the other host answers to the word that it may run. An error before `committed` leaves the container here. Not
// mounted here any more when it is mounted there: so does what is live move in a private area that both have.
HandedOver move_stopped(Outgoing& out, FrameChannel& channel) {
  VZ_TRY(copy_and_prepare(out, channel));
  auto handed = say_go(out.ct, channel, out.journal);
  if (out.running) out.report.down_ms = now_ms() - out.stopped_at;
  return handed;
}

// The same, with something to do between the word and its answer.
class Go {
 public:
  Go(Outgoing& out, FrameChannel& channel) : out_(out), channel_(channel) {}

  void say() {
    // The other host begins now, and not when this one has made a thread.
    out_.ct.reporter.step("migrate.go");
    sent_.emplace(send_request(channel_, go_request(out_.ct, out_.journal)));
    if (*sent_) answer_ = std::async(std::launch::async, [this] { return wait(); });
    out_.ct.reporter.step("migrate.going");
  }
  HandedOver take() {
    if (!sent_) say();
    if (!*sent_) return fail(std::move(*sent_).error());
    return answer_.get();
  }

 private:
  HandedOver wait() {
    auto answer = receive_answer(channel_, "go");
    out_.report.down_ms = now_ms() - out_.stopped_at;
    return answer;
  }

  Outgoing& out_;
  FrameChannel& channel_;
  std::optional<Result<>> sent_;
  std::future<HandedOver> answer_;
};

// Its packets were sent to the other host in the meantime.
void announce_here(const Context& ct) {
  auto running = open_running(ct.host, ct.id);
  if (!running) return;
  if (auto netns = open_namespace(running->state.init.pid, "net")) announce_network(ct.config, *netns);
}

HandedOver move_live(Outgoing& out, FrameChannel& channel) {
  VZ_TRY(copy_before(out, channel));
  auto running = VZ_TRY(open_running(out.ct.host, out.ct.id));
  MemorySender memory(running.cgroups);
  LastPass last_pass(channel, running.state.root_device, out.options.late,
                     [&] { return !out.ct.reporter.cancelled(); });
  Go go(out, channel);
  std::optional<HandedOver> handed;
  CheckpointHooks hooks;
  hooks.durable = false;  // it is good as long as this host is, and of use only if the other one dies now
  hooks.freezing = [&] {
    // A dump that was refused for a moment is tried again: the client has waited since the first time.
    if (out.stopped_at != 0) return;
    hurry(channel);
    // Without it some packets are lost, and come again.
    if (auto taken = ask(channel, {"takeover", {}}); !taken) out.ct.reporter.debug(taken.error().message());
    out.stopped_at = now_ms();
  };
  if (VZ_TRY(can_send_memory_ahead(out, running.cgroups))) {
    VZ_TRY(send_memory_ahead(out, channel, memory));
    hooks.memory_sent = true;
  }
  hooks.again = [&]() -> Result<> {
    last_pass.drop();
    return hooks.memory_sent ? send_memory_ahead(out, channel, memory) : Result<>();
  };
  hooks.frozen = [&](const UniqueFd& images) -> Result<> {
    if (hooks.memory_sent) VZ_TRY(send_memory(out, channel, memory, true));
    out.ct.reporter.step("migrate.pass");
    return last_pass.begin(images, out.sender ? &*out.sender : nullptr);
  };
  hooks.written = [&]() -> Result<KnownFiles> {
    VZ_TRY(last_pass.written());
    if (const auto& first = last_pass.first()) report_pass(out, *first, true);
    return last_pass.known();
  };
  hooks.dumped = [&](const std::string& token) -> Result<> {
    VZ_TRY(finish_last_pass(out, channel, last_pass));
    return send_rest(out, channel, "restore", token);
  };
  hooks.giving_away = [&] { return save_phase(out, "committed"); };
  hooks.given_away = [&] { go.say(); };
  hooks.ended = [&] { handed.emplace(go.take()); };
  auto gone = checkpoint_locked(out.ct, {}, hooks);
  last_pass.drop();
  if (out.journal.phase != "committed") {
    announce_here(out.ct);
    return fail(std::move(gone).error());
  }
  if (!gone) out.ct.reporter.warn("Warning: what it left here: " + gone.error().message());
  return handed ? *std::move(handed) : go.take();
}

// After the other host has looked for our mark.
Result<> take_for_shared(Outgoing& out) {
  if (out.options.keep_source)
    return fail(Error(Code::bad_value, fmt::format("--remove-area no: {} has the same private area {}",
                                                   out.journal.peer, out.ct.private_path))
                    .with_hint("there would be nothing to keep"));
  out.journal.shared = "yes";
  out.image.reset();
  out.report.shared = true;
  if (out.live) out.report.why = "both hosts have its private area: it is suspended here and restored there";
  return {};
}

Result<> finish_source(Context& ct, FrameChannel& channel, const MigrationJournal& journal) {
  VZ_TRY(finish_outgoing(ct, journal));
  ct.reporter.step("migrate.forget");
  // Its journal there is of no use any more; when it cannot be told, it stays and does no harm.
  (void)ask(channel, {"forget", {{"ctid", ct.id.str()}, {"session", journal.session}}});
  return remove_migration(ct.host, ct.id);
}

}  // namespace

Result<MigrateReport> migrate(const Host& host, Ctid id, const MigrateOptions& options, Reporter& reporter) {
  const auto began = now_ms();
  const auto bandwidth =
      VZ_TRY_CTX(parse_io_rate(options.bandwidth.empty() ? "0" : options.bandwidth, 1u << 20), "--bandwidth");
  auto lock = VZ_TRY(CtLock::take(host, id, "migrating"));
  Context ct = VZ_TRY(load_context(host, id, reporter));
  VZ_TRY(check_not_migrating(host, id));
  Outgoing out = VZ_TRY(look_at(ct, options));
  MigrationConnection connection = VZ_TRY(MigrationConnection::open(options.transport, options.destination));
  FrameChannel& channel = connection.channel;
  channel.set_rate(bandwidth);
  channel.set_compression(options.compress);
  if (auto earlier = VZ_TRY(load_migration(host, id))) out.replaces = earlier->session;
  out.journal.session = random_hex(16);
  out.journal.peer = options.destination;
  // A full disk does not hinder one from leaving it. If the storage is shared after all, the other host refuses an area
  // that is there already.
  auto mark = StorageMark::leave(ct.private_path, out.journal.session);
  if (!mark) reporter.debug(mark.error().message());
  auto request = describe(out, "check");
  if (out.live || has_good_dump(host, id, ct.private_path)) VZ_TRY(describe_processes(out, request));
  VZ_TRY(describe_user_limits(out, request));
  auto checked = VZ_TRY(ask(channel, request));
  if (checked.text("shared") == "yes") VZ_TRY(take_for_shared(out));
  if (options.check_only) return out.report;

  out.journal.side = "source";
  out.journal.transport = join(options.transport, " ");
  out.journal.keep = options.keep_source ? "yes" : "no";
  VZ_TRY(save_phase(out, "sending"));
  auto handed = out.live && !out.journal.is_shared() ? move_live(out, channel) : move_stopped(out, channel);
  if (!handed && out.journal.phase != "committed") {
    restore_source(out, channel);
    return fail(std::move(handed).error());
  }
  if (handed) out.report.kept_packets = handed->number("packets").value_or(0);
  if (handed) out.report.late = handed->number("late").value_or(0);
  VZ_TRY(hand_over(ct, channel, out.journal, std::move(handed), &out.report.started));
  VZ_TRY(finish_source(ct, channel, out.journal));
  out.report.sent = channel.sent();
  out.report.carried = channel.carried();
  out.report.total_ms = now_ms() - began;
  return out.report;
}

namespace {

Result<> ask_and_finish(Context& ct, const MigrationJournal& journal, const std::vector<std::string>& transport) {
  auto connection = VZ_TRY(MigrationConnection::open(transport, journal.peer));
  auto status = VZ_TRY(ask(connection.channel, {"status", {{"ctid", ct.id.str()}, {"session", journal.session}}}));
  if (status.text("phase") == "unknown")
    return fail(
        Error(Code::locked, fmt::format("{} knows nothing of this migration", journal.peer))
            .with_hint(fmt::format("when it is certain that container {} is not there: `vzctl migrate {} --resolve "
                                   "--take-back`",
                                   ct.id.value(), ct.id.value())));
  bool started = false;
  VZ_TRY(hand_over(ct, connection.channel, journal, say_go(ct, connection.channel, journal), &started));
  VZ_TRY(finish_source(ct, connection.channel, journal));
  ct.reporter.info(
      fmt::format("Container {} is on {}{}", ct.id.value(), journal.peer, started ? " and runs there" : ""));
  return {};
}

Result<> resolve_source(const Host& host, Ctid id, MigrationJournal journal, Resolve how,
                        std::vector<std::string> transport, Reporter& reporter) {
  if (transport.empty()) transport = split_blank(journal.transport);
  if (journal.phase == "sending" || how == Resolve::take_back) {
    reporter.step("migrate.takeback");
    if (how == Resolve::ask) {
      auto connection = VZ_TRY(MigrationConnection::open(transport, journal.peer));
      auto told = ask(connection.channel, {"abort", {{"ctid", id.str()}, {"session", journal.session}}});
      if (!told)
        reporter.warn(
            fmt::format("Warning: what was copied to {} may still be there: {}; there: `vzctl migrate {} "
                        "--resolve --drop`, or migrate it again",
                        journal.peer, told.error().message(), id.value()));
    }
    VZ_TRY(remove_migration(host, id));
    reporter.info(fmt::format("Container {} is here", id.value()));
    return {};
  }
  // Killed after the last of its configuration went, only the journal is left.
  if (!exists(host.config_path(id))) return remove_migration(host, id);
  Context ct = VZ_TRY(load_context(host, id, reporter));
  return ask_and_finish(ct, journal, transport);
}

}  // namespace

Result<> resolve_migration(const Host& host, Ctid id, Resolve how, const std::vector<std::string>& transport,
                           Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(host, id, "migrating"));
  auto journal = VZ_TRY(load_migration(host, id));
  if (!journal) return fail(Code::bad_value, fmt::format("Container {}: no migration to resolve", id.value()));
  const bool source = journal->side == "source";
  if (source && how != Resolve::drop) return resolve_source(host, id, *std::move(journal), how, transport, reporter);
  if (!source && how == Resolve::drop && is_undecided(*journal)) return drop_incoming(host, id, *journal, reporter);
  if (!source && journal->phase == "committed") {
    reporter.info(fmt::format("The other host gave container {} up: it is here", id.value()));
    VZ_TRY(finish_incoming(host, id, &*journal, reporter));
    return {};
  }
  if (!source && journal->phase == "returned") return drop_incoming(host, id, *journal, reporter);
  if (!source && journal->phase == "done") return remove_migration(host, id);
  return fail(
      Error(Code::locked,
            fmt::format("Container {} comes from {}, which alone knows how far it is", id.value(), journal->peer))
          .with_hint(fmt::format("`vzctl migrate {0} --resolve` there; when that host is lost and the container "
                                 "is to be thrown away here: `vzctl migrate {0} --resolve --drop`",
                                 id.value())));
}

}  // namespace vz
