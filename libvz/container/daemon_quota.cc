// SPDX-License-Identifier: LGPL-2.1-or-later
// quotactl(2) of containers. A listener that nobody reads lets its callers wait; one that is closed gives them ENOSYS.
// So each is closed with us, unless systemd keeps it for our successor.
#include <algorithm>

#include "libvz/base/text.h"
#include "libvz/container/daemon.h"
#include "libvz/container/state.h"
#include "libvz/kernel/file.h"

namespace vz {
namespace {

// "quota-101-3" in systemd's descriptor store.
std::optional<std::pair<Ctid, std::uint32_t>> parse_stored(const std::string& name) {
  auto words = split(name, '-');
  if (words.size() != 3 || words[0] != "quota") return std::nullopt;
  auto id = Ctid::parse(words[1]);
  auto number = parse_u64(words[2]);
  if (!id || !number || *number > UINT32_MAX) return std::nullopt;
  return std::pair(*id, static_cast<std::uint32_t>(*number));
}

std::string pending_file(const Host& host, const QuotaListener& listener) {
  return host.run_dir(listener.id) + "/quota." + std::to_string(listener.number);
}

Result<std::shared_ptr<const QuotaScope>> load_scope(const Host& host, Ctid id) {
  auto state = VZ_TRY(running_state(host, id));
  if (!state || !state->user_quota) return fail(Code::not_running, "container " + id.str() + " asks for no quotas");
  Config config = Config::parse(state->config_snapshot, "state");
  return std::make_shared<const QuotaScope>(VZ_TRY(quota_scope(host.private_path(id, config), *state)));
}

}  // namespace

std::string stored_name(const QuotaListener& listener) {
  return "quota-" + listener.id.str() + "-" + std::to_string(listener.number);
}

Result<> Daemon::adopt_listener(Ctid id, UniqueFd fd, std::optional<std::uint32_t> number) {
  if (!is_seccomp_listener(fd.get())) return fail(Code::bad_value, "quota: the descriptor is no listener of a filter");
  if (auto ward = wards_.find(id); ward == wards_.end() || ward->second.state != Ward::State::running)
    return fail(Code::not_running, "container " + id.str() + " does not run");
  auto scope = VZ_TRY(load_scope(host_, id));
  if (!quota_broker_) {
    auto broker = VZ_TRY(QuotaBroker::create());
    VZ_TRY(poller_.add(broker.fd(), EPOLLIN, token(Token::quota_answer)));
    quota_broker_.emplace(std::move(broker));
  }
  QuotaWard& ward = quota_wards_[id];
  ward.scope = std::move(scope);
  QuotaListener listener{id, number.value_or(ward.next), nullptr};
  ward.next = std::max(ward.next, listener.number) + 1;
  listener.listener =
      std::make_shared<SeccompListener>(VZ_TRY(SeccompListener::open(std::move(fd), pending_file(host_, listener))));
  int raw = listener.listener->fd();
  VZ_TRY(
      poller_.add(raw, ward.busy ? 0U : std::uint32_t{EPOLLIN}, token(Token::quota, static_cast<std::uint32_t>(raw))));
  if (manager_ && !number) manager_->store_until_hangup(stored_name(listener), raw);
  auto& kept = quota_listeners_.insert_or_assign(raw, std::move(listener)).first->second;
  // Our predecessor died over it; to do it twice is to do it once.
  if (!ward.busy && kept.listener->has_unanswered()) serve_quota(kept);
  return {};
}

void Daemon::restore_listeners(std::map<std::string, UniqueFd>& stored) {
  for (auto& [name, fd] : stored) {
    auto parsed = parse_stored(name);
    if (!fd || !parsed) continue;
    auto [id, number] = *parsed;
    if (auto done = adopt_listener(id, std::move(fd), number); done) continue;
    fd.reset();
    manager_->forget(name);
  }
}

void Daemon::arm_quota(Ctid id, bool on) {
  for (auto& [fd, listener] : quota_listeners_)
    if (listener.id == id)
      poller_.modify(fd, on ? std::uint32_t{EPOLLIN} : 0U, token(Token::quota, static_cast<std::uint32_t>(fd)));
}

void Daemon::serve_quota(QuotaListener& listener) {
  QuotaWard& ward = quota_wards_[listener.id];
  ward.busy = true;
  arm_quota(listener.id, false);
  quota_broker_->submit(listener.id, listener.listener, ward.scope);
}

void Daemon::quota_asked(int fd) {
  auto found = quota_listeners_.find(fd);
  if (found == quota_listeners_.end()) return;
  std::uint32_t events = poll_now(fd);
  if (events & EPOLLHUP) return close_listener(fd);  // nobody is under this filter any more
  if ((events & EPOLLIN) && !quota_wards_[found->second.id].busy) serve_quota(found->second);
}

void Daemon::quota_answered() {
  for (Ctid id : quota_broker_->finished()) {
    auto ward = quota_wards_.find(id);
    if (ward == quota_wards_.end()) continue;
    ward->second.busy = false;
    arm_quota(id, true);
    // What came while it was busy, and was left unanswered by our predecessor.
    for (auto& [fd, listener] : quota_listeners_)
      if (listener.id == id && !ward->second.busy && listener.listener->has_unanswered()) serve_quota(listener);
  }
}

void Daemon::close_listener(int fd) {
  auto found = quota_listeners_.find(fd);
  if (found == quota_listeners_.end()) return;
  QuotaListener listener = std::move(found->second);
  quota_listeners_.erase(found);
  poller_.remove(fd);
  if (manager_) manager_->forget(stored_name(listener));
  (void)remove_tree(pending_file(host_, listener));
}

void Daemon::close_quota(Ctid id) {
  std::vector<int> fds;
  for (const auto& [fd, listener] : quota_listeners_)
    if (listener.id == id) fds.push_back(fd);
  for (int fd : fds) close_listener(fd);
  // `busy` must outlive a thread that still works.
  if (auto ward = quota_wards_.find(id); ward != quota_wards_.end() && !ward->second.busy) quota_wards_.erase(ward);
}

}  // namespace vz
