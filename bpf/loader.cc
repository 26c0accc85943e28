// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/loader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/types.h>

#include "bpf/choice.h"
#include "bpf/map_size.h"
#include "bpf/reason.h"
#include "bpf/vz_objects.h"
#include "privvm.skel.h"
#include "sysinfo.skel.h"
#include "ub.skel.h"
#include "vswap.skel.h"

namespace vzbpf {

namespace {

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using ObjectPtr = std::unique_ptr<bpf_object, CloseObject>;

// Generations of one object, in the pinned map that all generations share.
class Generations {
 public:
  Generations(const Pins& pins, unsigned index) : fd_(bpf_obj_get(pins.path("vz_active").c_str())), index_(index) {}
  Generations(const Generations&) = delete;
  Generations& operator=(const Generations&) = delete;
  ~Generations() {
    if (fd_ >= 0) (void)::close(fd_);
  }
  vz_generation read() const {
    vz_generation value{};
    if (fd_ >= 0) (void)bpf_map_lookup_elem(fd_, &index_, &value);
    return value;
  }
  int write(const vz_generation& value) const {
    return fd_ < 0 ? -ENOENT : bpf_map_update_elem(fd_, &index_, &value, BPF_ANY);
  }

 private:
  int fd_;
  __u32 index_;
};

std::string prefix_of(const char* kind, const Object& object) { return fmt::format("{}_{}_", kind, object.name); }

// What is pinned of a program while it waits for the others, and then: its link, or itself where it is only to be run.
struct Kind {
  const char *waiting, *installed;
};
constexpr Kind kKinds[] = {{"new", "link"}, {"next", "prog"}};

// The new pins take the places of the old ones, which detaches those.
Result<> install(const Pins& pins, const Object& object) {
  for (const auto& kind : kKinds)
    for (const auto& name : pins.names(prefix_of(kind.waiting, object)))
      if (auto renamed = pins.rename(name, kind.installed + name.substr(strlen(kind.waiting))); !renamed)
        return renamed;
  return {};
}

Result<> discard(const Pins& pins, const Object& object) {
  for (const auto& kind : kKinds)
    for (const auto& name : pins.names(prefix_of(kind.waiting, object)))
      if (auto removed = pins.remove(name); !removed) return removed;
  return {};
}

// A load that was killed left new_… pins: after the switch they are what acts, before it they sleep. A load that was
// killed while it installed them may have left links of before that sleep: they are replaced next.
Result<> recover(const Pins& pins, const Object& object) {
  auto generation = Generations(pins, object.index).read();
  bool switched = generation.active == generation.pending;
  return switched ? install(pins, object) : discard(pins, object);
}

ObjectPtr open_object(const Pins& pins, const Object& object) {
  std::size_t size = 0;
  const void* bytes = object.bytes(&size);
  bpf_object_open_opts options{};  // LIBBPF_OPTS is C99, which clang refuses in C++
  options.sz = sizeof options;
  options.object_name = object.name;
  options.pin_root_path = pins.dir().c_str();
  return ObjectPtr(bpf_object__open_mem(bytes, size, &options));
}

bool set_generation(bpf_object* object, __u32 generation) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (!std::string_view(bpf_map__name(map)).ends_with(".rodata.generation")) continue;
    return bpf_map__set_initial_value(map, &generation, sizeof generation) == 0;
  }
  return false;
}

// Loaded, but for what the kernel refuses where the others do without: that is in `out` then. Null: `wrong` says why.
ObjectPtr load_object(const Pins& pins, const Object& object, __u32 generation, LeftOut& out, std::string& wrong) {
  for (;;) {
    auto opened = open_object(pins, object);
    if (!opened) {
      wrong = explain(object.name, -errno, take_messages());
      return nullptr;
    }
    if (wrong = choose_programs(opened.get(), object.each, out); !wrong.empty()) {
      if (auto known = obstacle(object.name); !known.empty()) wrong = known;
      return nullptr;
    }
    if (!set_generation(opened.get(), generation)) {
      wrong = "this vz-bpf was built wrong: no generation to set";
      return nullptr;
    }
    size_maps(pins, opened.get());
    int error = bpf_object__load(opened.get());
    if (!error) return opened;
    auto messages = take_messages();
    auto name = culprit(messages);
    wrong = explain(object.name, error, messages);
    if (!object.each || name.empty() || !out.emplace(name, wrong).second) return nullptr;
  }
}

bool only_run(const bpf_program* program) { return bpf_program__type(program) == BPF_PROG_TYPE_SYSCALL; }

std::string pin(const Pins& pins, bpf_program* program) {
  auto path = pins.path(std::string("next_") + bpf_program__name(program));
  int error = bpf_program__pin(program, path.c_str());
  return error ? fmt::format("pin {}: {}", path, strerror(-error)) : "";
}

// The program's link, pinned; "" or why not.
std::string attach(const Pins& pins, const Object& object, bpf_program* program) {
  if (only_run(program)) return pin(pins, program);
  bpf_link* link = bpf_program__attach(program);
  if (!link) return explain(object.name, -errno, take_messages());
  auto path = pins.path(std::string("new_") + bpf_program__name(program));
  int error = bpf_link__pin(link, path.c_str());
  (void)bpf_link__destroy(link);  // the pin keeps it attached
  return error ? fmt::format("pin {}: {}", path, strerror(-error)) : "";
}

// Everything in the kernel and asleep as new_…; "" or why not.
std::string bring_in(const Pins& pins, const Object& object, bpf_object* loaded, const Generations& generations,
                     vz_generation now, LeftOut& out) {
  ++now.pending;
  if (int error = generations.write(now)) return fmt::format("write vz_active: {}", strerror(-error));
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, loaded) {
    if (!bpf_program__autoload(program)) continue;
    auto wrong = attach(pins, object, program);
    if (wrong.empty()) continue;
    if (object.each) {
      out.emplace(bpf_program__name(program), wrong);
      continue;
    }
    (void)discard(pins, object);
    return wrong;
  }
  return "";
}

// Links of programs that earlier versions had and this one has not: they sleep.
Result<> remove_foreign(const Pins& pins, const Object& object, bpf_object* loaded, const LeftOut& out) {
  for (const auto& kind : kKinds)
    for (const auto& name : pins.names(prefix_of(kind.installed, object))) {
      auto own = name.substr(strlen(kind.installed) + 1);
      auto* program = bpf_object__find_program_by_name(loaded, own.c_str());
      auto left_out = out.find(own);
      bool refused = left_out != out.end() && !left_out->second.starts_with("not needed");
      if (program && (bpf_program__autoload(program) || refused)) continue;
      if (auto removed = pins.remove(name); !removed) return removed;
    }
  return {};
}

// "" or why the programs of before, if any, go on.
std::string replace(const Pins& pins, const Object& object, LeftOut& out) {
  if (auto recovered = recover(pins, object); !recovered) return recovered.error();
  // Where an earlier load was killed, pending is ahead of active: no two programs ever have the same number.
  auto now = Generations(pins, object.index).read();
  std::string wrong;
  auto loaded = load_object(pins, object, now.pending + 1, out, wrong);
  if (!loaded) return wrong;
  Generations generations(pins, object.index);
  if (wrong = bring_in(pins, object, loaded.get(), generations, now, out); !wrong.empty()) return wrong;
  if (int error = generations.write({now.pending + 1, now.pending + 1}))
    return fmt::format("write vz_active: {}", strerror(-error));
  if (auto installed = install(pins, object); !installed) return installed.error();
  auto removed = remove_foreign(pins, object, loaded.get(), out);
  return removed ? "" : removed.error();
}

bool attached(const Pins& pins, const std::string& program) {
  for (const auto& kind : kKinds) {
    int fd = bpf_obj_get(pins.path(fmt::format("{}_{}", kind.installed, program)).c_str());
    if (fd < 0) continue;
    (void)::close(fd);
    return true;
  }
  return false;
}

std::vector<Program> list(const Pins& pins, const Object& object, const std::string& reason, LeftOut out) {
  std::vector<Program> programs;
  auto opened = open_object(pins, object);
  bpf_program* program = nullptr;
  if (opened) (void)choose_programs(opened.get(), object.each, out);
  bpf_object__for_each_program(program, opened.get()) {
    Program one{bpf_program__name(program), object.name, attached(pins, bpf_program__name(program)), reason};
    auto left_out = out.find(one.name);
    if (left_out != out.end() && (one.reason.empty() || !one.attached)) one.reason = left_out->second;
    if (one.attached && !one.reason.empty()) one.reason = "the program of an earlier load goes on: " + one.reason;
    programs.push_back(std::move(one));
  }
  return programs;
}

// Why some of an object are attached and others are not: asked again, as nobody has written it down.
LeftOut refused(const Pins& pins, const Object& object) {
  LeftOut out;
  std::string wrong;
  if (object.each && !pins.names(prefix_of("link", object)).empty()) (void)load_object(pins, object, 0, out, wrong);
  return out;
}

}  // namespace

const std::vector<Object>& objects() {
  static const std::vector<Object> all = {
      {VZ_OBJECT_VSWAP, "vswap", vswap::elf_bytes},
      {VZ_OBJECT_SYSINFO, "sysinfo", sysinfo::elf_bytes},
      {VZ_OBJECT_PRIVVM, "privvm", privvm::elf_bytes},
      {VZ_OBJECT_UB, "ub", ub::elf_bytes, true},
  };
  return all;
}

std::vector<Program> load(const Pins& pins, const Object& object) {
  take_messages();
  LeftOut out;
  auto reason = replace(pins, object, out);
  return list(pins, object, reason, out);
}

std::vector<Program> status(const Pins& pins, const Object& object) {
  auto programs = list(pins, object, "", {});
  bool missing =
      std::any_of(programs.begin(), programs.end(), [](const Program& p) { return !p.attached && p.reason.empty(); });
  if (missing) programs = list(pins, object, "", refused(pins, object));
  for (auto& program : programs) {
    if (program.attached || !program.reason.empty()) continue;
    auto known = obstacle(object.name);
    program.reason = known.empty() ? "not loaded (`vz-bpf load`)" : known;
  }
  return programs;
}

}  // namespace vzbpf
