// SPDX-License-Identifier: LGPL-2.1-or-later
// A container's directory as a tar archive: of everything, or of what changed since an earlier one. tar runs boxed:
// names, links and types in the tree are the container's. It finds changes by its own list of directories and times
// (--listed-incremental), which is kept between the passes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/box.h"
#include "libvz/kernel/idmap.h"

namespace vz {

// tar's list for the next pass: without the directories that `keep` (name, inode) refuses, and of a pass that began a
// second earlier. Code::bad_backup when it is none. Pure.
//
// tar takes what changed before its pass began for known. But it began by the clock, and files get the time of the
// last tick (coarse, Documentation/filesystems/multigrain-ts.rst): one that was read and then changed within a few
// milliseconds after the beginning has a time before it, and would never be in a backup.
Result<std::string> next_tar_list(std::string_view list,
                                  const std::function<bool(const std::string&, std::uint64_t)>& keep);

// Gets the archive piece by piece; an empty piece only asks whether to go on.
using ArchiveSink = std::function<Result<>(std::string_view)>;

// Everything, with the ids that it has inside. Returns the bytes of the archive.
Result<std::uint64_t> pack_tree(const std::string& dir, IdMap idmap, const ArchiveSink& sink);

class TreeArchiver {
 public:
  // `work`: a directory for tar's list, made and removed here. `state`: the list of the pass before; "": none.
  static Result<TreeArchiver> open(const std::string& dir, IdMap idmap, const std::string& work,
                                   const std::string& state);
  TreeArchiver(TreeArchiver&& other) noexcept
      : dir_(std::move(other.dir_)), idmap_(other.idmap_), work_(std::exchange(other.work_, {})) {}
  ~TreeArchiver();
  // `changing`: the files may change meanwhile, and another pass follows.
  Result<std::uint64_t> pass(bool changing, const ArchiveSink& sink);
  Result<std::string> state() const;

 private:
  TreeArchiver(std::string dir, IdMap idmap, std::string work)
      : dir_(std::move(dir)), idmap_(idmap), work_(std::move(work)) {}

  // A directory with the inode of one that is gone would be taken for that one, renamed, and tar would rename when it
  // unpacks, into whatever is there: nothing that moved is to be known.
  Result<> prepare_list();

  std::string dir_;
  IdMap idmap_;
  std::string work_;
};

class TreeUnpacker {
 public:
  // `over`: over what the archives before it made; what was removed in between goes.
  static Result<TreeUnpacker> start(const std::string& dir, IdMap idmap, bool over);
  Result<> write(std::string_view data);
  // Code::no_disk_space, Code::io. What it has written is not on disk yet.
  Result<> finish();

 private:
  TreeUnpacker(BoxedProcess tar, UniqueFd input, UniqueFd messages)
      : tar_(std::move(tar)), input_(std::move(input)), messages_(std::move(messages)) {}

  BoxedProcess tar_;
  UniqueFd input_, messages_;
  bool broken_ = false;  // tar reads no more; finish() says why
};

}  // namespace vz
