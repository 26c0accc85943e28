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
#include "libvz/kernel/pending_pages.h"

namespace vz {

// Pages that may come after the processes run: of each of them (its number in the container), and the files.
struct LateMemory {
  std::map<std::uint32_t, std::vector<LateRun>> runs;
  std::vector<UniqueFd> files;
  std::uint64_t bytes() const;
};

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
  // After that: the same images once more, in late_images_path(), without most of the large programs' memory. Nothing
  // is late that a parent and its child may share, nor what a program has locked, nor what the kernel writes by itself.
  Result<LateMemory> set_apart();

 private:
  struct Piece {
    std::vector<PageRun> runs;  // ascending
    UniqueFd file;
  };
  using Layer = std::map<std::uint32_t, Piece>;  // by process
  std::string layer_path(std::size_t index) const;
  Result<Piece*> piece_for(const PagesFrame& frame);
  Result<> finish_process(std::uint32_t pid, const std::string& path);
  Result<std::vector<LateRun>> find(std::uint32_t pid, std::vector<PageRun> runs, LateMemory* memory) const;

  std::string images_;
  std::vector<Layer> layers_;
  std::uint64_t bytes_ = 0;
};

// Runs of `need` that `have` lacks; both ascending, of `have` only the extent counts.
std::vector<PageRun> missing_from(const std::vector<PageRun>& need, const std::vector<PageRun>& have);

// What both have, cut wherever one of them is.
std::vector<PageRun> common_to(const std::vector<PageRun>& a, const std::vector<PageRun>& b);
// In a dump's directory.
std::string late_images_path(const std::string& dump);

}  // namespace vz
