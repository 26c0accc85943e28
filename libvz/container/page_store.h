// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory that arrived before the dump that belongs to it. What came in one pass is a layer, a directory memory.N among
// the dump's images; at the end every layer gets CRIU's table of contents, in which later passes hide earlier ones, and
// the dump's own tables say that the pages are in its "parent".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/container/memory_sender.h"
#include "libvz/kernel/criu_pagemap.h"

namespace vz {

class PageStore {
 public:
  // Below `dump`, a directory.
  explicit PageStore(const std::string& dump);

  Result<> begin_layer();
  Result<> add(const PagesFrame& frame);
  std::uint64_t bytes() const { return bytes_; }

  // Completes the images in `dump`'s images, of a dump that left out what is here. Code::restore when a page is
  // missing.
  Result<> finish();

 private:
  struct Piece {
    std::vector<PageRun> runs;  // ascending
    UniqueFd file;
  };
  using Layer = std::map<std::uint32_t, Piece>;  // by process
  std::string layer_path(std::size_t index) const;
  Result<Piece*> piece_for(const PagesFrame& frame);
  Result<> finish_process(std::uint32_t pid, const std::string& path);

  std::string images_;
  std::vector<Layer> layers_;
  std::uint64_t bytes_ = 0;
};

// Runs of `need` that `have` lacks; both ascending, of `have` only the extent counts.
std::vector<PageRun> missing_from(const std::vector<PageRun>& need, const std::vector<PageRun>& have);

}  // namespace vz
