// SPDX-License-Identifier: LGPL-2.1-or-later
// The destination of a migration. It does what the source asks, one request after the other, and gives up what was not
// committed when the stream ends.
#include <algorithm>
#include <map>
#include <optional>

#include <fcntl.h>

#include <fmt/format.h>
#include <vz/migrate.h>
#include <vz/version.h>

#include "libvz/base/text.h"
#include "libvz/container/archive_stream.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/context.h"
#include "libvz/container/dir_layout.h"
#include "libvz/container/dump.h"
#include "libvz/container/dump_stream.h"
#include "libvz/container/idalloc.h"
#include "libvz/container/image.h"
#include "libvz/container/image_delta.h"
#include "libvz/container/limits.h"
#include "libvz/container/lock.h"
#include "libvz/container/migration_check.h"
#include "libvz/container/migration_finish.h"
#include "libvz/container/migration_journal.h"
#include "libvz/container/migration_message.h"
#include "libvz/container/names.h"
#include "libvz/container/network_handover.h"
#include "libvz/container/page_store.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/shared_storage.h"
#include "libvz/container/user_limits.h"
#include "libvz/container/value.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/console.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/page_placer.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/process_usage.h"

namespace vz {

namespace {

using Answer = Result<MigrationMessage>;

class Agent {
 public:
  Agent(const Host& host, FrameChannel& channel, Reporter& reporter)
      : host_(host), channel_(channel), reporter_(reporter) {}
  ~Agent();

  Result<> serve();

 private:
  Answer dispatch(const MigrationMessage& request);
  Answer hello(const MigrationMessage& request);
  Answer check(const MigrationMessage& request);
  Answer begin(const MigrationMessage& request);
  Answer receive_pass(const MigrationMessage& request);
  Answer receive_dump_files(const MigrationMessage& request);
  Answer prepare(const MigrationMessage& request);
  Answer receive_memory(const MigrationMessage& request);
  Answer take_over(const MigrationMessage& request);
  Answer restore(const MigrationMessage& request);
  Answer go(const MigrationMessage& request);
  Answer status(const MigrationMessage& request);
  Answer forget(const MigrationMessage& request);
  Answer abort(const MigrationMessage& request);

  Result<> check_free(Ctid id, const Config& config) const;
  Result<> make_area();
  Result<CtLock> lock_for(Ctid id, const std::string& session) const;
  Result<> drop_replaced(Ctid id, const std::string& replaces) const;
  Result<> take_user_limits(const MigrationMessage& request) const;
  Result<> save_prepared(const MigrationMessage& request, const char* phase);
  Result<> hold();
  void deliver_packets();
  Result<> place_late(const Cgroups& cgroups, const ProcessId& init);
  Answer after_hold(Result<> restored);
  Result<> adopt(const MigrationMessage& request);  // the lock and the journal of a session that was begun earlier

  const Host& host_;
  FrameChannel& channel_;
  Reporter& reporter_;
  bool greeted_ = false;
  std::optional<Ctid> id_;
  std::optional<CtLock> lock_;
  MigrationJournal journal_;
  Layout layout_ = Layout::image;
  Config config_;  // as it will be here
  DiskLimits disk_;
  std::uint64_t size_ = 0;
  UniqueFd image_;
  IdMap idmap_;
  UniqueFd vzd_;  // keeps it from ending
  std::optional<NetworkTakeover> takeover_;
  std::optional<PageStore> memory_;
  LateMemory late_;
  std::optional<PagePlacer> placer_;
  std::optional<CriuProgram> criu_;
  std::size_t kept_packets_ = 0;
  bool held_ = false, aborted_ = false;
};

// The connection is gone: what was not prepared will never be.
Agent::~Agent() {
  placer_.reset();  // before the lock: nobody may save a memory that is not all there
  if (!id_ || journal_.phase != "incoming") return;
  reporter_.step("migrate.abandon");
  (void)drop_incoming(host_, *id_, journal_, reporter_);
}

Error private_taken(const std::string& path) {
  return Error(Code::private_exists, fmt::format("Private area already exists there in {}", path));
}

Result<Ctid> ctid_of(const MigrationMessage& request) {
  auto number = VZ_TRY(request.number("ctid"));
  if (number == 0 || number > UINT32_MAX) return fail(Code::bad_value, fmt::format("Bad CT ID {}", number));
  return Ctid(static_cast<std::uint32_t>(number));
}

Answer Agent::hello(const MigrationMessage& request) {
  if (VZ_TRY(request.number("protocol")) != kMigrationProtocol)
    return fail(Error(Code::unsupported, fmt::format("the other vz ({}) speaks version {} of the protocol, this one {}",
                                                     printable(request.text("vz")), printable(request.text("protocol")),
                                                     kMigrationProtocol))
                    .with_hint("install the same version of vz on both hosts"));
  greeted_ = true;
  return MigrationMessage{"hello", {{"vz", VZ_VERSION_STRING}}};
}

// The agent of a connection that was cut may wait for hours until the network tells it so. It does no more than wait:
// the source, which alone knows this session, has come again. What it leaves is what any death of it leaves.
Result<CtLock> Agent::lock_for(Ctid id, const std::string& session) const {
  auto lock = CtLock::take(host_, id, "migrating");
  if (lock || lock.error().code() != Code::locked || session.empty()) return lock;
  auto journal = VZ_TRY(load_migration(host_, id));
  if (!journal || journal->side != "destination" || journal->session != session) return lock;
  reporter_.step("migrate.replace");
  VZ_TRY(end_lock_holder(host_, id, "agent"));
  // What it had begun ends after it.
  return CtLock::take(host_, id, "migrating", std::chrono::seconds(10));
}

// What an earlier attempt left, of which the source says that it took the container back, or of which we know it.
Result<> Agent::drop_replaced(Ctid id, const std::string& replaces) const {
  auto old = VZ_TRY(load_migration(host_, id));
  if (!old || old->side != "destination") return {};
  if (old->phase != "returned" && (old->session != replaces || !is_undecided(*old))) return {};
  return drop_incoming(host_, id, *old, reporter_);
}

// Nothing here may have its number, its name or one of its addresses.
Result<> Agent::check_free(Ctid id, const Config& config) const {
  if (exists(host_.config_path(id)))
    return fail(Error(Code::private_exists, fmt::format("Container {} exists there already", id.value()))
                    .with_hint("destroy or renumber one of the two"));
  VZ_TRY(check_not_migrating(host_, id));
  if (auto name = config.get("NAME"); name && !name->empty()) VZ_TRY(check_name(host_, *name, id));
  const auto wanted = config.words("IP_ADDRESS");
  for (Ctid other : VZ_TRY(host_.containers())) {
    auto theirs = host_.load(other);
    if (!theirs) continue;
    for (const auto& address : theirs->words("IP_ADDRESS"))
      if (std::find(wanted.begin(), wanted.end(), address) != wanted.end())
        return fail(
            Error(Code::ip_in_use, fmt::format("IP address {} belongs to container {} there", address, other.value()))
                .with_hint(
                    fmt::format("vzctl set {} --ipdel {} --save, on one of the two hosts", id.value(), address)));
  }
  return {};
}

Answer Agent::check(const MigrationMessage& request) {
  Ctid id = VZ_TRY(ctid_of(request));
  criu_ = VZ_TRY(check_processes(request));
  Config own = Config::parse(request.text("config"), "the container's configuration");
  Config merged = merged_config(host_, own);
  {
    auto lock = VZ_TRY(lock_for(id, request.text("replaces")));
    VZ_TRY(drop_replaced(id, request.text("replaces")));
  }
  VZ_TRY(check_free(id, own));
  const auto private_path = host_.private_path(id, merged);
  const bool shared = has_mark(private_path, request.text("session"));
  if (!shared) {
    if (exists(private_path)) return fail(private_taken(private_path));
    VZ_TRY(check_room(private_path, VZ_TRY(request.number("bytes"))));
  }
  const Layout layout = VZ_TRY(parse_layout(request.text("layout")));
  if (layout == Layout::dir && request.text("force") != "yes") {
    VZ_TRY(check_dir_quota(private_path, disk_limits(merged)));
    if (!shared)
      VZ_TRY(check_user_limits(existing_dir(private_path), {0, kIdsPerContainer}, request.text("user_limits")));
  }
  if (request.text("late") == "yes") VZ_TRY(check_page_placing());
  auto cgroups = VZ_TRY(CgroupHost::probe());
  auto facts = VZ_TRY(read_limit_facts(cgroups, host_.paths().lib));
  auto plan = VZ_TRY(plan_limits(merged, facts));
  if (!plan.not_enforceable.empty() && request.text("force") != "yes")
    return fail(std::move(plan.not_enforceable.front()));
  return MigrationMessage{"ok", {{"shared", shared ? "yes" : "no"}}};
}

Result<> Agent::make_area() {
  const auto dest = incoming_path(journal_);
  VZ_TRY(remove_private(dest));
  VZ_TRY(make_dirs(dest.substr(0, dest.rfind('/')), 0755));
  VZ_TRY(make_dirs(dest, 0700));
  if (layout_ == Layout::dir) {
    VZ_TRY(make_dirs(dir_path(dest), 0755));
    VZ_TRY(set_owner(dir_path(dest), idmap_.base, idmap_.base));
    // Where limits cannot hold, the start says so, or was forced.
    return quota_support(dest).enforced ? start_dir_quota(dest, idmap_, disk_) : Result<>();
  }
  image_ = VZ_TRY(open_file(image_path(dest), O_RDWR | O_CREAT | O_EXCL, 0600));
  return set_file_size(image_.get(), size_);
}

Answer Agent::begin(const MigrationMessage& request) {
  if (id_) return fail(Code::bad_value, "a migration was begun already");
  Ctid id = VZ_TRY(ctid_of(request));
  layout_ = VZ_TRY(parse_layout(request.text("layout")));
  size_ = VZ_TRY(request.number("size"));
  auto lock = VZ_TRY(CtLock::take(host_, id, "migrating"));
  Config own = Config::parse(request.text("config"), "the container's configuration");
  VZ_TRY(drop_replaced(id, request.text("replaces")));
  VZ_TRY(check_free(id, own));
  // Of a session that was cut off: nobody will ask for it again.
  if (auto old = VZ_TRY(load_migration(host_, id)); old && old->phase != "done")
    VZ_TRY(drop_incoming(host_, id, *old, reporter_));
  journal_ = {};
  journal_.session = request.text("session");
  journal_.side = "destination";
  journal_.phase = "incoming";
  journal_.peer = printable(request.text("source"));
  config_ = merged_config(host_, own);
  disk_ = disk_limits(config_);
  journal_.private_path = host_.private_path(id, config_);
  const bool shared = request.text("shared") == "yes";
  if (shared != has_mark(journal_.private_path, journal_.session))
    return fail(Code::private_exists, "the private area is not where it was a moment ago: " + journal_.private_path);
  if (!shared && exists(journal_.private_path)) return fail(private_taken(journal_.private_path));
  journal_.shared = shared ? "yes" : "";
  reporter_.step("migrate.incoming");
  VZ_TRY(save_migration(host_, id, journal_));
  id_ = id;
  lock_.emplace(std::move(lock));
  auto ids = VZ_TRY(request.number("ids"));
  if (ids > UINT32_MAX) return fail(Code::bad_value, fmt::format("ids from {} on do not exist", ids));
  // The same as there, when nobody else has them.
  idmap_ = VZ_TRY(allocate_idmap(host_, id, IdMap{static_cast<std::uint32_t>(ids), kIdsPerContainer}));
  if (!shared)
    VZ_TRY(make_area());
  else if (layout_ == Layout::dir && idmap_.base != ids)  // in an image they begin at 0
    return fail(
        Error(
            Code::unsupported,
            fmt::format("the files in its shared private area belong to ids from {} on, which are not free there", ids))
            .with_hint("ranges in /etc/subuid are not given out: reserve on each host those of the others"));
  // Best effort: starting it takes a while, and a container that moves live would have to wait for it.
  if (auto vzd = vzd_hold(host_.paths().run, id, /*start=*/true)) vzd_ = *std::move(vzd);
  return MigrationMessage{"ok", {}};
}

// The answer says when all is written; what comes before it are frames.
Answer Agent::receive_pass(const MigrationMessage&) {
  if (!id_ || journal_.phase != "incoming") return fail(Code::bad_value, "no migration was begun");
  if (journal_.is_shared()) return fail(Code::bad_value, "a copy of a private area that is shared");
  VZ_TRY(channel_.send(kAnswer, encode({"ready", {}})));
  std::uint64_t received = 0;
  if (layout_ == Layout::image) {
    received = VZ_TRY(receive_image(channel_, image_.get(), size_));
    // Now, so that the last time, when the container waits for it, has little to do.
    VZ_TRY_CTX(sync_file(image_.get()), image_path(incoming_path(journal_)));
  } else {
    received = VZ_TRY(receive_archive(channel_, dir_path(incoming_path(journal_)), idmap_));
  }
  return MigrationMessage{"ok", {{"bytes", std::to_string(received)}}};
}

Answer Agent::receive_dump_files(const MigrationMessage& request) {
  if (!id_ || journal_.phase != "incoming") return fail(Code::bad_value, "no migration was begun");
  const auto path = incoming_dump_path(default_dump_path(host_, *id_));
  if (!memory_) VZ_TRY(remove_tree(path));
  VZ_TRY(channel_.send(kAnswer, encode({"ready", {}})));
  const bool durable = request.text("durable") != "no";
  auto received = VZ_TRY(receive_dump(channel_, path, durable));
  if (!received.whole) {
    UniqueFd images = VZ_TRY(open_file(path + "/" + kDumpImages, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    VZ_TRY(drop_images(images, received.images, nullptr));
    return MigrationMessage{"ok", {}};
  }
  // What is wrong with it is better known before the commit.
  Dump dump = VZ_TRY(open_dump(path));
  VZ_TRY(drop_images(dump.images, received.images, &dump.manifest));
  VZ_TRY(verify_dump(dump, received.images));
  if (memory_) VZ_TRY(memory_->finish());
  if (memory_ && request.text("late") == "yes") late_ = VZ_TRY(memory_->set_apart());
  if (memory_ || dump.manifest.idmap != idmap_) VZ_TRY(adapt_dump(dump, idmap_, durable));
  return MigrationMessage{"ok", {{"bytes", std::to_string(received.bytes)}}};
}

// One pass over the memory of a container that still runs, or the last one.
Answer Agent::receive_memory(const MigrationMessage&) {
  if (!id_ || journal_.phase != "incoming") return fail(Code::bad_value, "no migration was begun");
  if (!memory_) {
    const auto path = incoming_dump_path(default_dump_path(host_, *id_));
    VZ_TRY(remove_tree(path));
    VZ_TRY(make_dirs(path.substr(0, path.rfind('/')), 0700));
    VZ_TRY(make_dirs(path, 0700));
    memory_.emplace(path);
  }
  VZ_TRY(memory_->begin_layer());
  VZ_TRY(channel_.send(kAnswer, encode({"ready", {}})));
  for (;;) {
    Frame frame = VZ_TRY(channel_.receive());
    if (frame.type == kEnd) break;
    if (frame.type != kPages)
      return fail(Code::bad_value, fmt::format("{} sends a frame of type {} among pages", channel_.peer(), frame.type));
    VZ_TRY(memory_->add(VZ_TRY(parse_pages(frame.payload))));
  }
  return MigrationMessage{"ok", {{"bytes", std::to_string(memory_->bytes())}}};
}

MigrationMessage outcome(const FinishedIncoming& finished) {
  return {"ok",
          {{"started", finished.started ? "yes" : "no"},
           {"returned", finished.returned ? "yes" : "no"},
           {"note", finished.note}}};
}

Result<> Agent::take_user_limits(const MigrationMessage& request) const {
  const auto dir = incoming_path(journal_);
  const auto text = request.text("user_limits");
  auto able = check_user_limits(dir, idmap_, text);
  if (able) return write_user_limits(dir, idmap_, text);
  return able.error().code() == Code::unsupported && request.text("force") == "yes" ? Result<>() : able;
}

// From here on it survives the end of the connection: only the source knows whether it gave the container up.
Result<> Agent::save_prepared(const MigrationMessage& request, const char* phase) {
  if (!id_ || journal_.phase != "incoming") return fail(Code::bad_value, "no migration was begun");
  if (!journal_.is_shared()) {
    VZ_TRY(write_layout(incoming_path(journal_), layout_));
    if (layout_ == Layout::dir) VZ_TRY(take_user_limits(request));
  }
  image_.reset();
  journal_.config = request.text("config");
  journal_.usage = request.text("usage");
  journal_.start = request.text("start");
  journal_.token = request.text("token");
  journal_.phase = phase;
  reporter_.step(fmt::format("migrate.{}", phase));
  auto saved = save_migration(host_, *id_, journal_);
  if (!saved) journal_.phase = "incoming";
  return saved;
}

Answer Agent::prepare(const MigrationMessage& request) {
  VZ_TRY(save_prepared(request, "prepared"));
  return MigrationMessage{"ok", {}};
}

// The container waits, complete, for the word of the source, which it gets as an answer to what it says here.
Result<> Agent::hold() {
  VZ_TRY(answer(channel_, {"ok", {{"held", "yes"}}}));
  held_ = true;
  Frame frame = VZ_TRY(channel_.receive());
  auto request = VZ_TRY(decode_message(frame.payload));
  if (frame.type != kRequest || request.text("session") != journal_.session)
    return fail(Code::bad_value, "a container is held, and the source speaks of something else");
  if (request.name != "go") {
    aborted_ = request.name == "abort";
    return fail(Code::restore, "the source keeps the container");
  }
  journal_.phase = "committed";
  reporter_.step("migrate.committed");
  VZ_TRY(save_migration(host_, *id_, journal_));
  if (placer_) lock_->set_status(kPlacing);
  return {};
}

// What the source hears last, and what becomes of what is here.
Answer Agent::after_hold(Result<> restored) {
  if (journal_.phase == "committed") {
    FinishedIncoming finished{restored.has_value(), !restored, restored ? "" : restored.error().message()};
    if (restored) {
      journal_.phase = "done";
      reporter_.step("migrate.done");
      VZ_TRY(save_migration(host_, *id_, journal_));
    } else {
      VZ_TRY(give_back(host_, *id_, &journal_, reporter_));
    }
    auto out = outcome(finished);
    out.fields["packets"] = std::to_string(kept_packets_);
    out.fields["late"] = std::to_string(restored ? late_.bytes() : 0);
    return out;
  }
  placer_.reset();  // CRIU has ended everybody
  // Held, and the connection is lost: the source may have given it up, and come again.
  if (held_ && !aborted_) return fail(std::move(restored).error());
  reporter_.step("migrate.abort");
  auto dropped = drop_incoming(host_, *id_, journal_, reporter_);
  id_.reset();
  lock_.reset();
  // Why it cannot run here is what the source wants to know; what is left here goes with its next attempt.
  if (!aborted_) return fail(std::move(restored).error());
  if (!dropped) return fail(std::move(dropped).error());
  return MigrationMessage{"ok", {}};
}

// The source is about to freeze it: nobody can receive what is sent to it.
Answer Agent::take_over(const MigrationMessage&) {
  if (!id_ || journal_.phase != "incoming") return fail(Code::bad_value, "no migration was begun");
  takeover_ = VZ_TRY(NetworkTakeover::begin(config_));
  return MigrationMessage{"ok", {}};
}

void Agent::deliver_packets() {
  if (!takeover_) return;
  if (auto count = takeover_->deliver(*id_)) kept_packets_ = *count;
}

// Its processes are there and have not run: from here on who places their memory waits for them.
Result<> Agent::place_late(const Cgroups& cgroups, const ProcessId& init) {
  std::vector<LateProcess> processes;
  for (pid_t pid : VZ_TRY(cgroups.pids())) {
    const pid_t inside = innermost_pid(pid);
    auto found = inside > 0 ? late_.runs.find(static_cast<std::uint32_t>(inside)) : late_.runs.end();
    if (found != late_.runs.end()) processes.push_back({pid, found->second});
  }
  if (processes.size() != late_.runs.size()) return fail(Code::restore, "processes with late memory are missing");
  auto pidfd = VZ_TRY(open_process(init));
  placer_.emplace(VZ_TRY(PagePlacer::start(late_.files, processes, pidfd, lock_->fd())));
  return {};
}

// As prepare, and as much of the restore as can be undone.
Answer Agent::restore(const MigrationMessage& request) {
  if (journal_.is_shared()) return fail(Code::bad_value, "it is mounted there still, and shared");
  VZ_TRY(save_prepared(request, "held"));
  auto done = [&]() -> Result<> {
    VZ_TRY(put_in_place(host_, *id_, journal_, reporter_));
    Context ct = VZ_TRY(load_context(host_, *id_, reporter_));
    RestoreOptions options;
    options.force = true;      // limits: they were checked, or forced, before it came
    options.skip_fsck = true;  // it was in use a moment ago
    RestoreHooks hooks;
    hooks.held = [&] { return hold(); };
    hooks.resuming = [&] { deliver_packets(); };
    hooks.criu = criu_;
    hooks.verified = true;
    if (!late_.runs.empty()) {
      hooks.images = late_images_path(default_dump_path(host_, *id_));
      hooks.made = [&](const Cgroups& cgroups, const ProcessId& init) { return place_late(cgroups, init); };
    }
    return restore_locked(ct, options, hooks);
  };
  return after_hold(done());
}

Result<> Agent::adopt(const MigrationMessage& request) {
  if (id_) return {};
  Ctid id = VZ_TRY(ctid_of(request));
  auto lock = VZ_TRY(lock_for(id, request.text("session")));
  auto journal = VZ_TRY(load_migration(host_, id));
  if (!journal || journal->side != "destination" || journal->session != request.text("session"))
    return fail(Code::bad_value, fmt::format("container {}: nothing is known of this migration", id.value()));
  journal_ = *std::move(journal);
  id_ = id;
  lock_.emplace(std::move(lock));
  return {};
}

// The source has given it up. Every step can be repeated: whoever is killed on the way, `go` comes again.
Answer Agent::go(const MigrationMessage& request) {
  VZ_TRY(adopt(request));
  if (journal_.session != request.text("session")) return fail(Code::bad_value, "another migration");
  auto finished = VZ_TRY(finish_incoming(host_, *id_, &journal_, reporter_));
  return outcome(finished);
}

Answer Agent::status(const MigrationMessage& request) {
  Ctid id = VZ_TRY(ctid_of(request));
  auto journal = VZ_TRY(load_migration(host_, id));
  if (!journal || journal->session != request.text("session"))
    return MigrationMessage{"status", {{"phase", "unknown"}}};
  return MigrationMessage{"status", {{"phase", journal->phase}}};
}

// The source has removed what it had: the journal has told all that it had to tell.
Answer Agent::forget(const MigrationMessage& request) {
  VZ_TRY(adopt(request));
  if (journal_.phase != "done" && journal_.phase != "returned")
    return fail(Code::bad_value, "the migration is not finished");
  reporter_.step("migrate.forget");
  VZ_TRY(remove_migration(host_, *id_));
  return MigrationMessage{"ok", {}};
}

// The source keeps it.
Answer Agent::abort(const MigrationMessage& request) {
  if (!id_ && !VZ_TRY(load_migration(host_, VZ_TRY(ctid_of(request))))) return MigrationMessage{"ok", {}};
  VZ_TRY(adopt(request));
  if (!is_undecided(journal_))
    return fail(Code::locked, fmt::format("Container {} was handed over already", id_->value()));
  reporter_.step("migrate.abort");
  image_.reset();
  VZ_TRY(drop_incoming(host_, *id_, journal_, reporter_));
  id_.reset();
  lock_.reset();
  return MigrationMessage{"ok", {}};
}

Answer Agent::dispatch(const MigrationMessage& request) {
  using Handler = Answer (Agent::*)(const MigrationMessage&);
  static const std::map<std::string, Handler> kHandlers = {
      {"hello", &Agent::hello},        {"check", &Agent::check},
      {"begin", &Agent::begin},        {"pass", &Agent::receive_pass},
      {"prepare", &Agent::prepare},    {"dump", &Agent::receive_dump_files},
      {"takeover", &Agent::take_over}, {"memory", &Agent::receive_memory},
      {"restore", &Agent::restore},    {"go", &Agent::go},
      {"status", &Agent::status},      {"forget", &Agent::forget},
      {"abort", &Agent::abort}};
  auto at = kHandlers.find(request.name);
  if (at == kHandlers.end()) return fail(Code::bad_value, "unknown request: " + printable(request.name));
  if (!greeted_ && request.name != "hello") return fail(Code::bad_value, "the first request must be hello");
  return (this->*at->second)(request);
}

Result<> Agent::serve() {
  for (;;) {
    auto frame = channel_.receive();
    if (!frame) return frame.error().code() == Code::connect ? Result<>() : fail(std::move(frame).error());
    if (frame->type != kRequest)
      return fail(Code::bad_value, fmt::format("a frame of type {} instead of a request", frame->type));
    auto request = decode_message(frame->payload);
    if (!request) return fail(std::move(request).error());
    auto result = dispatch(*request);
    if (result) {
      VZ_TRY(answer(channel_, *result));
      continue;
    }
    // In the middle of a stream of frames nobody knows any more what comes next.
    const bool out_of_step = request->name == "pass" || request->name == "dump" || request->name == "memory";
    VZ_TRY(answer_error(channel_, result.error()));
    if (out_of_step) return fail(std::move(result).error());
  }
}

}  // namespace

Result<> serve_migration(const Host& host, int in, int out, Reporter& reporter) {
  FrameChannel channel(UniqueFd(in), UniqueFd(out), "the source");
  return Agent(host, channel, reporter).serve();
}

}  // namespace vz
