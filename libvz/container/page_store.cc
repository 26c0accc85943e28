// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/page_store.h"

#include <fcntl.h>

#include <algorithm>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/dump.h"
#include "libvz/kernel/criu_processes.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::size_t kLayersMax = 64;
constexpr std::size_t kTableMax = 64u << 20;
constexpr std::uint64_t kLateLeast = 8u << 20;  // bytes of a process that are worth it
// And of all of them, for each of CRIU's images, which costs a link: there is one for every connection.
constexpr std::uint64_t kLateLeastPerImage = 256u << 10;
constexpr std::string_view kTablePrefix = "pagemap-", kTableSuffix = ".img";

// "pagemap-12.img", not those of shared memory, whose pages are always among the images.
std::optional<std::uint32_t> process_of(const std::string& name) {
  if (!name.starts_with(kTablePrefix) || !name.ends_with(kTableSuffix)) return std::nullopt;
  auto number = parse_u64(
      std::string_view(name).substr(kTablePrefix.size(), name.size() - kTablePrefix.size() - kTableSuffix.size()));
  return number && *number > 0 && *number <= INT32_MAX ? std::optional(static_cast<std::uint32_t>(*number))
                                                       : std::nullopt;
}

std::string table_name(std::uint32_t pid) { return fmt::format("{}{}{}", kTablePrefix, pid, kTableSuffix); }

bool left_out(const PageRun& run) { return (run.flags & PageRun::kLazy) && !(run.flags & PageRun::kPresent); }

Result<> write_image(const std::string& path, const std::string& bytes) {
  UniqueFd fd = VZ_TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644));
  return write_all(fd.get(), bytes);
}

std::vector<PageRun> merged(std::vector<PageRun> a, const std::vector<PageRun>& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::sort(a.begin(), a.end(), [](const PageRun& x, const PageRun& y) { return x.address < y.address; });
  return a;
}

}  // namespace

std::vector<PageRun> missing_from(const std::vector<PageRun>& need, const std::vector<PageRun>& have) {
  std::vector<PageRun> out;
  auto at = have.begin();
  for (const auto& run : need) {
    std::uint64_t begin = run.address;
    while (at != have.end() && at->end() <= begin) ++at;
    for (auto here = at; begin < run.end(); ++here) {
      const std::uint64_t stop = here == have.end() ? run.end() : std::min(run.end(), std::max(here->address, begin));
      if (stop > begin) out.push_back({begin, (stop - begin) / kPage, run.flags});
      if (here == have.end()) break;
      begin = std::max(begin, std::min(here->end(), run.end()));
      if (here->address >= run.end()) break;
    }
  }
  return out;
}

std::vector<PageRun> common_to(const std::vector<PageRun>& a, const std::vector<PageRun>& b) {
  std::vector<PageRun> out;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    const auto begin = std::max(x->address, y->address), end = std::min(x->end(), y->end());
    if (begin < end) out.push_back({begin, (end - begin) / kPage, x->flags});
    if (x->end() < y->end())
      ++x;
    else
      ++y;
  }
  return out;
}

std::string late_images_path(const std::string& dump) {
  return fmt::format("{}/{}/{}", dump, kDumpImages, kLateImages);
}

std::uint64_t LateMemory::bytes() const {
  std::uint64_t pages = 0;
  for (const auto& [pid, list] : runs)
    for (const auto& run : list) pages += run.pages;
  return pages * kPage;
}

PageStore::PageStore(const std::string& dump) : images_(dump + "/" + kDumpImages) {}

std::string PageStore::layer_path(std::size_t index) const { return images_ + "/" + layer_name(index + 1); }

Result<> PageStore::begin_layer() {
  if (layers_.size() >= kLayersMax) return fail(Code::bad_value, "the memory comes in too many pieces");
  layers_.emplace_back();
  const auto path = layer_path(layers_.size() - 1);
  VZ_TRY(make_dirs(images_, 0755));
  VZ_TRY(make_dirs(path, 0755));
  if (layers_.size() == 1) return {};
  return make_symlink("../" + layer_name(layers_.size() - 1), path + "/" + kParentLink);
}

Result<PageStore::Piece*> PageStore::piece_for(const PagesFrame& frame) {
  if (layers_.empty()) VZ_TRY(begin_layer());
  auto found = layers_.back().find(frame.pid);
  // The same page twice in one pass: it must not hide in an order that CRIU does not know.
  if (found != layers_.back().end() && found->second.runs.back().end() > frame.address) {
    VZ_TRY(begin_layer());
    found = layers_.back().end();
  }
  if (found != layers_.back().end()) return &found->second;
  Piece piece;
  const auto path = fmt::format("{}/pages-{}.img", layer_path(layers_.size() - 1), frame.pid);
  piece.file = VZ_TRY(open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  return &layers_.back().emplace(frame.pid, std::move(piece)).first->second;
}

Result<> PageStore::add(const PagesFrame& frame) {
  Piece* piece = VZ_TRY(piece_for(frame));
  VZ_TRY_CTX(write_all(piece->file.get(), frame.data), images_);
  bytes_ += frame.data.size();
  const std::uint64_t pages = frame.data.size() / kPage;
  auto& runs = piece->runs;
  if (!runs.empty() && runs.back().end() == frame.address)
    runs.back().pages += pages;
  else
    runs.push_back({frame.address, pages, PageRun::kPresent});
  return {};
}

Result<> PageStore::finish_process(std::uint32_t pid, const std::string& path) {
  auto table = VZ_TRY(parse_pagemap(VZ_TRY(read_file(path, kTableMax))));
  std::vector<PageRun> need;
  for (auto& run : table.runs) {
    if (!left_out(run)) continue;
    need.push_back({run.address, run.pages, PageRun::kInParent});
    run.flags |= PageRun::kInParent;
  }
  if (need.empty()) return {};
  for (std::size_t i = layers_.size(); i-- > 0 && !need.empty();) {
    auto found = layers_[i].find(pid);
    const bool none = found == layers_[i].end();
    const auto own = none ? std::vector<PageRun>() : found->second.runs;
    need = missing_from(need, own);
    VZ_TRY(write_image(layer_path(i) + "/" + table_name(pid), pagemap_image({pid, merged(own, need)})));
    if (none) VZ_TRY(write_image(fmt::format("{}/pages-{}.img", layer_path(i), pid), ""));
  }
  if (!need.empty())
    return fail(Code::restore, fmt::format("process {}: {} pages from {:#x} on did not arrive", pid, need.front().pages,
                                           need.front().address));
  return write_image(path, pagemap_image(table));
}

Result<> PageStore::finish() {
  if (layers_.empty()) return {};
  for (const auto& name : VZ_TRY(list_dir(images_)))
    if (auto pid = process_of(name)) VZ_TRY(finish_process(*pid, images_ + "/" + name));
  return make_symlink(layer_name(layers_.size()), images_ + "/" + kParentLink);
}

namespace {

std::vector<PageRun> as_runs(const std::vector<PageRange>& ranges) {
  std::vector<PageRun> out;
  for (const auto& range : ranges) out.push_back({range.begin, (range.end - range.begin) / kPage, 0});
  return out;
}

std::uint64_t pages_of(const std::vector<PageRun>& runs) {
  std::uint64_t out = 0;
  for (const auto& run : runs) out += run.pages;
  return out;
}

// Ascending, and none overlaps another: a parent has the same pages in common with each of its children.
std::vector<PageRun> united(std::vector<PageRun> runs) {
  std::sort(runs.begin(), runs.end(), [](const PageRun& x, const PageRun& y) { return x.address < y.address; });
  std::vector<PageRun> out;
  for (const auto& run : runs) {
    if (out.empty() || run.address > out.back().end())
      out.push_back(run);
    else if (run.end() > out.back().end())
      out.back().pages = (run.end() - out.back().address) / kPage;
  }
  return out;
}

using RunsOf = std::map<std::uint32_t, std::vector<PageRun>>;

// By process, of those for which it is worth it. A page at the same place in parent and child may be one page, which
// CRIU makes of them again when it has both.
RunsOf choose_late(const std::vector<CriuProcess>& processes, const RunsOf& sent) {
  RunsOf shared, out;
  for (const auto& process : processes) {
    auto own = sent.find(process.pid), parents = sent.find(process.parent);
    if (own == sent.end() || parents == sent.end()) continue;
    const auto both = common_to(own->second, parents->second);
    for (auto pid : {process.pid, process.parent}) shared[pid].insert(shared[pid].end(), both.begin(), both.end());
  }
  for (const auto& process : processes) {
    auto own = sent.find(process.pid);
    if (own == sent.end()) continue;
    auto late = common_to(own->second, as_runs(process.plain));
    auto kept = as_runs(process.kernel_written);
    kept.insert(kept.end(), shared[process.pid].begin(), shared[process.pid].end());
    late = missing_from(late, united(std::move(kept)));
    if (pages_of(late) * kPage >= kLateLeast) out[process.pid] = std::move(late);
  }
  return out;
}

}  // namespace

// Where their last contents are.
Result<std::vector<LateRun>> PageStore::find(std::uint32_t pid, std::vector<PageRun> runs, LateMemory* memory) const {
  std::vector<LateRun> out;
  for (std::size_t i = layers_.size(); i-- > 0 && !runs.empty();) {
    auto found = layers_[i].find(pid);
    if (found == layers_[i].end()) continue;
    std::uint64_t offset = 0;
    auto wanted = runs.begin();
    for (const auto& own : found->second.runs) {
      while (wanted != runs.end() && wanted->end() <= own.address) ++wanted;
      for (auto here = wanted; here != runs.end() && here->address < own.end(); ++here) {
        const auto begin = std::max(here->address, own.address), end = std::min(here->end(), own.end());
        out.push_back({begin, (end - begin) / kPage, memory->files.size(), offset + (begin - own.address)});
      }
      offset += own.pages * kPage;
    }
    memory->files.push_back(found->second.file.dup());
    if (!memory->files.back()) return fail_errno("dup");
    runs = missing_from(runs, found->second.runs);
  }
  if (!runs.empty()) return fail(Code::restore, fmt::format("process {}: pages did not arrive", pid));
  std::sort(out.begin(), out.end(), [](const LateRun& a, const LateRun& b) { return a.address < b.address; });
  return out;
}

Result<LateMemory> PageStore::set_apart() {
  LateMemory out;
  if (layers_.empty()) return out;
  UniqueFd images = VZ_TRY(open_file(images_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const auto names = VZ_TRY(list_dir(images_));
  std::map<std::uint32_t, Pagemap> tables;
  RunsOf sent;
  for (const auto& name : names) {
    auto pid = process_of(name);
    if (!pid) continue;
    auto table = VZ_TRY(parse_pagemap(VZ_TRY(read_file(images_ + "/" + name, kTableMax))));
    for (const auto& run : table.runs)
      if (left_out(run)) sent[*pid].push_back(run);
    tables.emplace(*pid, std::move(table));
  }
  const auto late = choose_late(VZ_TRY(read_processes(images.get())), sent);
  std::uint64_t pages = 0;
  for (const auto& [pid, runs] : late) pages += pages_of(runs);
  if (pages * kPage < std::max(kLateLeast, names.size() * kLateLeastPerImage)) return out;
  const auto path = images_ + "/" + kLateImages;
  VZ_TRY(remove_tree(path));
  VZ_TRY(make_dirs(path, 0755));
  for (const auto& name : names) {
    auto pid = process_of(name);
    if (is_of_layers(name) || (pid && late.contains(*pid))) continue;
    VZ_TRY(make_symlink("../" + name, path + "/" + name));
  }
  VZ_TRY(make_symlink("../" + layer_name(layers_.size()), path + "/" + kParentLink));
  for (const auto& [pid, runs] : late) {
    out.runs[pid] = VZ_TRY(find(pid, runs, &out));
    auto& table = tables.at(pid);
    table.runs = missing_from(table.runs, runs);
    VZ_TRY(write_image(path + "/" + table_name(pid), pagemap_image(table)));
  }
  return out;
}

}  // namespace vz
