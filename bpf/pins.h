// SPDX-License-Identifier: GPL-2.0-only
// The pin directory: links and maps that outlive vz-bpf, as files of a BPF file system.
#pragma once

#include <string>
#include <vector>

#include <tl/expected.hpp>

namespace vzbpf {

// What went wrong, for a person; no codes: the caller prints it.
template <class T = void>
using Result = tl::expected<T, std::string>;

class Pins {
 public:
  // Makes the directory below a BPF file system that somebody else mounted, and waits for other vz-bpf to end.
  static Result<Pins> lock(const std::string& dir, bool make);
  Pins(Pins&& other) noexcept;
  Pins& operator=(Pins&&) = delete;
  ~Pins();

  const std::string& dir() const { return dir_; }
  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  std::vector<std::string> names(const std::string& prefix = "") const;
  bool has(const std::string& name) const;
  Result<> rename(const std::string& from, const std::string& to) const;  // in one step, over what is there
  Result<> remove(const std::string& name) const;                         // missing is fine
  Result<> remove_all() const;                                            // links before maps, and the directory

 private:
  Pins(std::string dir, int lock) : dir_(std::move(dir)), lock_(lock) {}
  std::string dir_;
  int lock_;
};

}  // namespace vzbpf
