// SPDX-License-Identifier: LGPL-2.1-or-later
// Error, Result and the exit codes of the OpenVZ 6 dialect: the vocabulary that every layer speaks.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <tl/expected.hpp>

#define VZ_API __attribute__((visibility("default")))

namespace vz {

// What went wrong, numbered as vzctl's exit status has been since OpenVZ 4.
// The numbers are an interface (scripts test them): never change one, add new ones above 170.
enum class Code : int {
  ok = 0,
  set_ubc = 1,
  system = 3,
  bad_kernel = 5,
  no_resources = 6,
  env_create = 7,
  exec_failed = 8,
  locked = 9,
  no_global_config = 10,
  no_script = 11,
  no_access = 12,
  capability = 13,
  no_config = 14,
  exec_timeout = 15,
  checkpoint = 16,
  restore = 17,
  bad_syntax = 20,
  bad_value = 21,
  no_ve_root = 22,
  no_ve_private = 23,
  no_template_dir = 24,
  not_enough_params = 27,
  not_enough_ubc = 28,
  no_ostemplate = 29,
  not_running = 31,
  running = 32,
  stop_failed = 33,
  add_ip = 34,
  validate = 35,
  overcommit = 36,
  not_mounted = 40,
  mounted = 41,
  no_private = 43,
  private_exists = 44,
  no_disk_space = 46,
  bad_template = 47,
  create_private = 48,
  mount_point = 49,
  mount = 50,
  umount = 51,
  delete_private = 52,
  unknown_mount_type = 53,
  mkdir = 54,
  quota_set = 62,
  no_diskspace = 63,
  no_diskinodes = 64,
  hostname = 70,
  ip = 71,
  nameserver = 72,
  searchdomain = 73,
  password = 74,
  no_lockdir = 77,
  ip_in_use = 78,
  action_script = 79,
  copy_config = 82,
  bad_config = 85,
  devices = 86,
  ip_not_available = 89,
  no_template = 91,
  image_unsupported = 99,
  netdev = 104,
  disabled = 105,
  apply_config = 109,
  veth = 130,
  name = 131,
  wait_failed = 133,
  save_config = 139,
  io = 148,
  create_image = 151,
  mount_image = 152,
  umount_image = 153,
  resize_image = 154,
  convert_image = 155,
  create_snapshot = 156,
  delete_snapshot = 158,
  switch_snapshot = 159,
  mount_snapshot = 160,
  umount_snapshot = 161,
  compact_image = 166,
  list_snapshots = 167,
  // vz's own, above everything that OpenVZ 6 used.
  not_enforced = 171,  // the setting is known, kept in the file, and cannot be enforced on this host
  unsupported = 172,   // this host lacks a kernel feature that the request needs
  connect = 173,       // the other host of a migration cannot be reached, or was lost on the way
  bad_backup = 174,    // a backup is damaged, cut short, incomplete, or none
};

// One failure: which code, which errno (0 if none), what happened, and what to do next.
// The message is lower case and names the object and the value; each layer adds context in front.
class [[nodiscard]] Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  // "what: strerror(err)", code `system` unless given.
  VZ_API static Error from_errno(int err, std::string_view what, Code code = Code::system);

  Code code() const { return code_; }
  int sys_errno() const { return errno_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }  // the next step for the user; may be empty

  Error&& context(std::string_view what) && {
    message_ = std::string(what) + ": " + message_;
    return std::move(*this);
  }
  Error&& with_code(Code code) && {
    code_ = code;
    return std::move(*this);
  }
  Error&& with_hint(std::string hint) && {
    hint_ = std::move(hint);
    return std::move(*this);
  }

 private:
  Code code_;
  int errno_ = 0;
  std::string message_;
  std::string hint_;
};

template <class T = void>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Error e) { return tl::unexpected<Error>(std::move(e)); }
inline tl::unexpected<Error> fail(Code code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}
// Fails with the current errno; read it before anything else can change it.
VZ_API tl::unexpected<Error> fail_errno(std::string_view what, Code code = Code::system);

namespace detail {
// tl 1.0.0: expected<void>&& has no usable value(); unwrap here.
template <class T>
T take(Result<T>&& r) {
  if constexpr (!std::is_void_v<T>) return *std::move(r);
}
}  // namespace detail

}  // namespace vz

// Unwraps a Result or returns its error from the calling function. Do not nest.
#define VZ_TRY(expr)                                                    \
  __extension__({                                                       \
    auto&& vz_try_ = (expr);                                            \
    if (!vz_try_) [[unlikely]]                                          \
      return ::tl::unexpected<::vz::Error>(std::move(vz_try_).error()); \
    ::vz::detail::take(std::move(vz_try_));                             \
  })

// The same, with context put in front of the error's message.
#define VZ_TRY_CTX(expr, ctx)                                                        \
  __extension__({                                                                    \
    auto&& vz_try_ = (expr);                                                         \
    if (!vz_try_) [[unlikely]]                                                       \
      return ::tl::unexpected<::vz::Error>(std::move(vz_try_).error().context(ctx)); \
    ::vz::detail::take(std::move(vz_try_));                                          \
  })
