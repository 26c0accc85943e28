// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/mount_options.h"

#include <string_view>

#include <fmt/format.h>

#include "libvz/base/text.h"

namespace vz {

namespace {

struct AttrOption {
  const char* name;
  std::uint64_t set;
  std::uint64_t clear;
};
constexpr AttrOption kAttrOptions[] = {
    {"defaults", 0, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nodev", 0, 0},  // always set
};

enum class Takes { nothing, number, word };
struct Ext4Option {
  const char* name;
  Takes takes;
  const char* words;  // allowed ones, '|' at both ends
};
constexpr Ext4Option kExt4Options[] = {
    {"discard", Takes::nothing, ""},
    {"nodiscard", Takes::nothing, ""},
    {"barrier", Takes::nothing, ""},
    {"nobarrier", Takes::nothing, ""},
    {"barrier", Takes::word, "|0|1|"},
    {"data", Takes::word, "|ordered|writeback|journal|"},
    {"commit", Takes::number, ""},
    {"delalloc", Takes::nothing, ""},
    {"nodelalloc", Takes::nothing, ""},
    {"auto_da_alloc", Takes::nothing, ""},
    {"noauto_da_alloc", Takes::nothing, ""},
    {"errors", Takes::word, "|remount-ro|continue|"},  // not panic: a container must not stop the host
    {"lazytime", Takes::nothing, ""},
    {"nolazytime", Takes::nothing, ""},
    {"acl", Takes::nothing, ""},
    {"noacl", Takes::nothing, ""},
    {"dioread_lock", Takes::nothing, ""},
    {"dioread_nolock", Takes::nothing, ""},
    {"max_batch_time", Takes::number, ""},
    {"min_batch_time", Takes::number, ""},
    {"inode_readahead_blks", Takes::number, ""},
};

bool accepts(const Ext4Option& option, std::string_view name, std::string_view value, bool has_value) {
  if (name != option.name || has_value != (option.takes != Takes::nothing)) return false;
  if (option.takes == Takes::number) return parse_u64(value).has_value();
  if (option.takes == Takes::word)
    return std::string_view(option.words).find(fmt::format("|{}|", value)) != std::string_view::npos;
  return true;
}

bool apply_attr(RootOptions& out, std::string_view word) {
  for (const auto& option : kAttrOptions) {
    if (word != option.name) continue;
    out.attrs = (out.attrs & ~option.clear) | option.set;
    return true;
  }
  return false;
}

}  // namespace

Result<RootOptions> parse_mount_opts(const std::string& text, Layout layout) {
  RootOptions out;
  for (const auto& part : split(text, ',')) {
    std::string word(trim(part));
    if (word.empty() || apply_attr(out, word)) continue;
    auto equals = word.find('=');
    std::string name = word.substr(0, equals);
    std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    bool known = false;
    for (const auto& option : kExt4Options) known |= accepts(option, name, value, equals != std::string::npos);
    if (!known) return fail(Code::bad_value, fmt::format("mount option '{}' is unknown or not allowed", word));
    if (layout == Layout::dir)
      return fail(Code::bad_value, fmt::format("mount option '{}' is not for the dir layout", word));
    out.ext4.emplace_back(std::move(name), std::move(value));
  }
  return out;
}

}  // namespace vz
