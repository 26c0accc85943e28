// SPDX-License-Identifier: LGPL-2.1-or-later
// A suspended container on disk: a directory, 0700, with CRIU's images in `images` and a manifest that names each with
// size and hash. What is below the closed door can be read by all: CRIU opens images as the container's root.
//
// A dump may be used once, and only with the file system as it was left: PRIVATE/checkpoint holds its token. Whatever
// lets the container run or changes its files removes the token first, durably. Without it a dump is rubbish, wherever
// it was copied to.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/cgroup_inner.h"
#include "libvz/kernel/idmap.h"
#include "libvz/kernel/netlink_state.h"
#include "libvz/kernel/task_scheduling.h"

namespace vz {

// In a dump's directory.
constexpr const char* kDumpManifest = "manifest.json";
constexpr const char* kDumpImages = "images";
// Among the images: memory that was sent ahead, a directory for each pass (PageStore), and the link to the last one.
constexpr const char* kParentLink = "parent";
// And the images as they are for processes that get most of their memory late.
constexpr const char* kLateImages = "late";
std::string layer_name(std::size_t number);  // "memory.3"
bool is_layer_name(const std::string& name);
bool is_of_layers(const std::string& name);  // these are beside the files that a manifest names

struct DumpFile {
  std::string name;
  std::uint64_t size = 0, hash = 0;  // XXH3, 64 bits: finds damage, not malice
  bool operator==(const DumpFile&) const = default;
};
// Of some that need not be read again, by name.
using KnownFiles = std::map<std::string, DumpFile>;
// All of it, from the file's beginning; each piece is shown to `sink`, whose error ends it.
Result<DumpFile> read_dump_file(const UniqueFd& fd, const std::string& name,
                                const std::function<Result<>(std::string_view)>& sink = {});
// One that CRIU wrote, and will open as the container's root.
Result<UniqueFd> open_written_image(int images, const std::string& name);

struct DumpManifest {
  static constexpr int kVersion = 1;
  Ctid id{0};
  std::string token;
  std::string host, kernel, machine, criu;  // where it was made
  std::int64_t created_at = 0;              // seconds since the epoch
  IdMap idmap;
  bool nesting = false;
  std::uint64_t capabilities = 0;
  std::vector<std::string> addresses;    // IP_ADDRESS
  std::string netif;                     // NETIF
  std::vector<std::string> external;     // what CRIU was told with the dump: "mnt[/dev/null]:node/null"
  std::vector<std::string> hierarchies;  // mount points of cgroups, "v2:/sys/fs/cgroup"
  std::vector<InnerGroup> groups;        // below P/ct/ns
  std::vector<TaskScheduling> scheduling;
  // Without it the images have the network: see NetState.
  std::optional<NetState> network;
  std::vector<DumpFile> files;
};
std::string manifest_text(const DumpManifest& manifest);
// Code::restore: not a manifest, or of another version.
Result<DumpManifest> parse_manifest(const std::string& text, const std::string& path);

std::string default_dump_path(const Host& host, Ctid id);  // DUMPDIR/Dump.ID

// PATH.tmp/images, empty, for CRIU to fill. PATH's parent is made when missing.
Result<UniqueFd> begin_dump(const std::string& path);
// Hashes what is in it, writes the manifest and gives it its name. A dump that was there is replaced.
// `durable`: it survives a crash of the host. `known`: came by open_written_image(), and did not change since.
Result<> commit_dump(const UniqueFd& images, const std::string& path, DumpManifest& manifest, bool durable = true,
                     const KnownFiles& known = {});
Result<> remove_dump(const std::string& path);  // also PATH.tmp; missing is fine

struct Dump {
  std::string path;
  UniqueFd images;
  DumpManifest manifest;
};
// Only root's own, closed to others: CRIU believes what is in it, and runs as root. Code::restore says what is wrong.
Result<Dump> open_dump(const std::string& path);
// Reads all of it but what is known: sizes and hashes.
Result<> verify_dump(const Dump& dump, const KnownFiles& known = {});

// A dump that came from another host: its images were completed (PageStore), and it gets the ids that the container has
// here. Not while it is the only one: who dies in between leaves it damaged.
Result<> adapt_dump(Dump& dump, IdMap idmap, bool durable);

Result<> write_token(const std::string& private_path, const std::string& token);
Result<std::string> read_token(const std::string& private_path);  // "": none
// Durably: from now on no dump of this container is of use.
Result<> remove_token(const std::string& private_path);

}  // namespace vz
