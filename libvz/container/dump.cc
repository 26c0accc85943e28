// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/dump.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/stream_hash.h"
#include "libvz/base/text.h"
#include "libvz/kernel/criu_ids.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/rename.h"

namespace vz {

namespace {

constexpr std::string_view kLayerPrefix = "memory.";
constexpr std::size_t kManifestMax = 16u << 20;
constexpr std::size_t kPiece = 1u << 20;

std::string temporary(const std::string& path) { return path + ".tmp"; }
std::string token_path(const std::string& private_path) { return private_path + "/checkpoint"; }

std::string parent_of(const std::string& path) {
  auto slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<DumpFile> hash_file(int dir, const std::string& name) {
  return read_dump_file(VZ_TRY(open_at(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)), name);
}

Result<DumpFile> finish_file(int images, const std::string& name, bool durable) {
  UniqueFd fd = VZ_TRY(open_written_image(images, name));
  auto file = VZ_TRY(read_dump_file(fd, name));
  if (durable) VZ_TRY(sync_file(fd.get()));
  return file;
}

Result<> write_manifest(const std::string& dir, const std::string& text, bool durable) {
  UniqueFd fd = VZ_TRY(open_file(dir + "/" + kDumpManifest, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  VZ_TRY(write_all(fd.get(), text));
  if (!durable) return {};
  VZ_TRY(sync_file(fd.get()));
  UniqueFd directory = VZ_TRY(open_file(dir, O_RDONLY | O_DIRECTORY));
  return sync_file(directory.get());
}

Result<> finish_images(const UniqueFd& images, DumpManifest& manifest, bool durable, const KnownFiles& known) {
  for (const auto& name : VZ_TRY(list_dir_at(images.get(), "."))) {
    auto at = known.find(name);
    if (at != known.end() && !durable)
      manifest.files.push_back(at->second);
    else
      manifest.files.push_back(VZ_TRY_CTX(finish_file(images.get(), name, durable), "dump file " + name));
  }
  return durable ? sync_file(images.get()) : Result<>();
}

tl::unexpected<Error> unsafe(const std::string& path, Error error) {
  return fail(std::move(error)
                  .context("dump " + path + " cannot be trusted")
                  .with_code(Code::restore)
                  .with_hint("CRIU runs as root and does what is in it: only root's own is used"));
}

Result<> check_safe(const std::string& path, const UniqueFd& dir, const UniqueFd& images) {
  if (auto safe = check_own_private_dir(dir.get()); !safe) return unsafe(path, std::move(safe).error());
  for (const auto& name : VZ_TRY(list_dir_at(images.get(), "."))) {
    if (name == kParentLink && !is_layer_name(VZ_TRY(read_link_at(images.get(), name))))
      return unsafe(path, Error(Code::no_access, name + " leads out of it"));
    if (is_of_layers(name)) continue;
    auto fd = VZ_TRY(open_at(images.get(), name, O_PATH | O_NOFOLLOW));
    if (auto safe = check_own_file(fd.get()); !safe) return unsafe(path, std::move(safe).error().context(name));
  }
  return {};
}

}  // namespace

Result<DumpFile> read_dump_file(const UniqueFd& fd, const std::string& name,
                                const std::function<Result<>(std::string_view)>& sink) {
  DumpFile out{name, VZ_TRY(file_size(fd.get())), 0};
  StreamHash hash;
  for (std::uint64_t at = 0; at < out.size;) {
    // Most files are small, there is one for each connection, and a container waits.
    auto piece =
        VZ_TRY(read_at(fd.get(), at, static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, out.size - at))));
    if (piece.empty()) return fail(Code::io, name + " became shorter while it was read");
    hash.add(piece);
    if (sink) VZ_TRY(sink(piece));
    at += piece.size();
  }
  out.hash = hash.value();
  return out;
}

Result<UniqueFd> open_written_image(int images, const std::string& name) {
  UniqueFd fd = VZ_TRY(open_at(images, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  VZ_TRY(set_mode_of(fd.get(), 0644));
  return fd;
}

std::string default_dump_path(const Host& host, Ctid id) { return host.dump_dir() + "/Dump." + id.str(); }

std::string layer_name(std::size_t number) { return fmt::format("{}{}", kLayerPrefix, number); }

bool is_layer_name(const std::string& name) {
  return name.starts_with(kLayerPrefix) && parse_u64(std::string_view(name).substr(kLayerPrefix.size())).has_value();
}

bool is_of_layers(const std::string& name) { return name == kParentLink || name == kLateImages || is_layer_name(name); }

Result<UniqueFd> begin_dump(const std::string& path) {
  const std::string temp = temporary(path), images = temp + "/" + kDumpImages;
  VZ_TRY(make_dirs(parent_of(path), 0700));
  VZ_TRY(remove_tree(temp));
  VZ_TRY(make_dirs(temp, 0700));
  VZ_TRY(make_dirs(images, 0755));
  UniqueFd fd = VZ_TRY(open_file(images, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  VZ_TRY(set_mode_of(fd.get(), 0755));  // whatever the caller's umask is
  return fd;
}

Result<> commit_dump(const UniqueFd& images, const std::string& path, DumpManifest& manifest, bool durable,
                     const KnownFiles& known) {
  VZ_TRY(finish_images(images, manifest, durable, known));
  VZ_TRY(write_manifest(temporary(path), manifest_text(manifest), durable));
  // What had this name belongs to a time before.
  VZ_TRY(remove_tree(path));
  return rename_durably(temporary(path), path);
}

Result<> remove_dump(const std::string& path) {
  VZ_TRY(remove_tree(temporary(path)));
  return remove_tree(path);
}

Result<Dump> open_dump(const std::string& path) {
  auto no_dump = [&](const Error& why) {
    return fail(Error(Code::restore, fmt::format("{} is no dump: {}", path, why.message()))
                    .with_hint("vzctl chkpnt makes one; one that it did not finish ends in .tmp"));
  };
  auto dir = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir) return no_dump(dir.error());
  auto images = open_at(dir->get(), kDumpImages, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!images) return no_dump(images.error());
  VZ_TRY(check_safe(path, *dir, *images));
  auto manifest = open_at(dir->get(), kDumpManifest, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!manifest) return no_dump(manifest.error());
  if (auto safe = check_own_file(manifest->get()); !safe) return unsafe(path, std::move(safe).error());
  auto text = VZ_TRY(read_fd(manifest->get(), kManifestMax));
  return Dump{path, std::move(*images), VZ_TRY(parse_manifest(text, path))};
}

Result<> verify_dump(const Dump& dump, const KnownFiles& known) {
  auto damaged = [&](const std::string& what) {
    return fail(Error(Code::restore, fmt::format("dump {} is damaged: {}", dump.path, what))
                    .with_hint("copy it again, or start the container without it"));
  };
  auto names = VZ_TRY(list_dir_at(dump.images.get(), "."));
  std::erase_if(names, is_of_layers);
  if (names.size() != dump.manifest.files.size()) return damaged("files are missing, or were added");
  for (const auto& file : dump.manifest.files) {
    auto at = known.find(file.name);
    auto now = at != known.end() ? Result<DumpFile>(at->second) : hash_file(dump.images.get(), file.name);
    if (!now) return damaged(file.name + ": " + now.error().message());
    if (now->size != file.size) return damaged(fmt::format("{} has {} bytes, not {}", file.name, now->size, file.size));
    if (now->hash != file.hash) return damaged(file.name + " has other contents");
  }
  return {};
}

Result<> adapt_dump(Dump& dump, IdMap idmap, bool durable) {
  if (dump.manifest.idmap != idmap) VZ_TRY(move_ids(dump.images.get(), dump.manifest.idmap, idmap));
  dump.manifest.idmap = idmap;
  for (auto& file : dump.manifest.files)
    if (file.name.starts_with("pagemap-") || file.name.starts_with("userns-"))
      file = VZ_TRY(finish_file(dump.images.get(), file.name, durable));
  VZ_TRY(remove_tree(dump.path + "/" + kDumpManifest));
  return write_manifest(dump.path, manifest_text(dump.manifest), durable);
}

Result<> write_token(const std::string& private_path, const std::string& token) {
  return replace_file(token_path(private_path), token + "\n", 0600);
}

Result<std::string> read_token(const std::string& private_path) {
  auto text = read_file(token_path(private_path), 4096);
  if (!text && text.error().sys_errno() == ENOENT) return std::string();
  if (!text) return fail(std::move(text).error());
  return std::string(trim(*text));
}

Result<> remove_token(const std::string& private_path) {
  if (!exists(token_path(private_path))) return {};
  VZ_TRY(remove_tree(token_path(private_path)));
  UniqueFd dir = VZ_TRY(open_file(private_path, O_RDONLY | O_DIRECTORY));
  return sync_file(dir.get());
}

}  // namespace vz
