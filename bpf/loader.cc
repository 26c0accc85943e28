// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/loader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/types.h>

#include "bpf/reason.h"
#include "bpf/vz_objects.h"
#include "privvm.skel.h"
#include "sysinfo.skel.h"
#include "vswap.skel.h"

namespace vzbpf {

namespace {

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using ObjectPtr = std::unique_ptr<bpf_object, CloseObject>;

struct FreeBtf {
  void operator()(btf* types) const { btf__free(types); }
};

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

std::string link_of(const std::string& newer) { return "link_" + newer.substr(strlen("new_")); }

// The new links take the places of the old ones, which detaches those.
Result<> install(const Pins& pins, const Object& object) {
  for (const auto& name : pins.names(prefix_of("new", object)))
    if (auto renamed = pins.rename(name, link_of(name)); !renamed) return renamed;
  return {};
}

Result<> discard(const Pins& pins, const Object& object) {
  for (const auto& name : pins.names(prefix_of("new", object)))
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

// The kernel function that a section such as "fexit/__x64_sys_brk" hangs on; "" for tracepoints.
std::string function_of(const bpf_program* program) {
  std::string section = bpf_program__section_name(program);
  auto slash = section.find('/');
  bool function = section.find("tp_btf/") == std::string::npos && slash != std::string::npos;
  return function ? section.substr(slash + 1) : "";
}

ObjectPtr open_object(const Pins& pins, const Object& object) {
  std::size_t size = 0;
  const void* bytes = object.bytes(&size);
  LIBBPF_OPTS(bpf_object_open_opts, options);
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

// Swap-out has two names, one per kernel.
constexpr const char* kSwapOut = "vswap_out_";

// Leaves out the programs for functions that this kernel has not, where they may be missing; names one that may not.
// Libbpf loads programs of sections with a '?' in front only when told to: here, those that may be missing.
std::string choose_programs(bpf_object* object) {
  std::unique_ptr<btf, FreeBtf> types(btf__load_vmlinux_btf());
  bpf_program* program = nullptr;
  int ways_out = 0, ways_there = 0;
  bpf_object__for_each_program(program, object) {
    auto function = function_of(program);
    bool found = function.empty() || !types || btf__find_by_name_kind(types.get(), function.c_str(), BTF_KIND_FUNC) > 0;
    if (!found && bpf_program__autoload(program)) return "this kernel has no function " + function;
    (void)bpf_program__set_autoload(program, found);
    if (!std::string_view(bpf_program__name(program)).starts_with(kSwapOut)) continue;
    ++ways_out;
    ways_there += found;
  }
  return ways_out > 0 && ways_there == 0 ? "this kernel has no function that writes a page to swap" : "";
}

// The program's link, pinned; "" or why not.
std::string attach(const Pins& pins, const Object& object, bpf_program* program) {
  bpf_link* link = bpf_program__attach(program);
  if (!link) return explain(object.name, -errno, take_messages());
  auto path = pins.path(std::string("new_") + bpf_program__name(program));
  int error = bpf_link__pin(link, path.c_str());
  (void)bpf_link__destroy(link);  // the pin keeps it attached
  return error ? fmt::format("pin {}: {}", path, strerror(-error)) : "";
}

// Everything in the kernel and asleep as new_…; "" or why not.
std::string bring_in(const Pins& pins, const Object& object, bpf_object* loaded, const Generations& generations,
                     vz_generation now) {
  ++now.pending;
  if (int error = generations.write(now)) return fmt::format("write vz_active: {}", strerror(-error));
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, loaded) {
    if (!bpf_program__autoload(program)) continue;
    if (auto wrong = attach(pins, object, program); !wrong.empty()) {
      (void)discard(pins, object);
      return wrong;
    }
  }
  return "";
}

// Links of programs that earlier versions had and this one has not: they sleep.
Result<> remove_foreign(const Pins& pins, const Object& object, bpf_object* loaded) {
  for (const auto& name : pins.names(prefix_of("link", object))) {
    auto* program = bpf_object__find_program_by_name(loaded, name.substr(strlen("link_")).c_str());
    if (program && bpf_program__autoload(program)) continue;
    if (auto removed = pins.remove(name); !removed) return removed;
  }
  return {};
}

// "" or why the programs of before, if any, go on.
std::string replace(const Pins& pins, const Object& object) {
  if (auto recovered = recover(pins, object); !recovered) return recovered.error();
  auto loaded = open_object(pins, object);
  if (!loaded) return explain(object.name, -errno, take_messages());
  if (auto missing = choose_programs(loaded.get()); !missing.empty()) {
    auto known = obstacle(object.name);
    return known.empty() ? missing : known;
  }
  auto now = Generations(pins, object.index).read();
  // Where an earlier load was killed, pending is ahead of active: no two programs ever have the same number.
  if (!set_generation(loaded.get(), now.pending + 1)) return "this vz-bpf was built wrong: no generation to set";
  if (int error = bpf_object__load(loaded.get())) return explain(object.name, error, take_messages());
  Generations generations(pins, object.index);
  if (auto wrong = bring_in(pins, object, loaded.get(), generations, now); !wrong.empty()) return wrong;
  if (int error = generations.write({now.pending + 1, now.pending + 1}))
    return fmt::format("write vz_active: {}", strerror(-error));
  if (auto installed = install(pins, object); !installed) return installed.error();
  auto removed = remove_foreign(pins, object, loaded.get());
  return removed ? "" : removed.error();
}

bool attached(const Pins& pins, const std::string& program) {
  int fd = bpf_obj_get(pins.path("link_" + program).c_str());
  if (fd < 0) return false;
  (void)::close(fd);
  return true;
}

std::vector<Program> list(const Pins& pins, const Object& object, const std::string& reason) {
  std::vector<Program> out;
  auto opened = open_object(pins, object);
  bpf_program* program = nullptr;
  if (opened) (void)choose_programs(opened.get());
  bpf_object__for_each_program(program, opened.get()) {
    Program one{bpf_program__name(program), object.name, attached(pins, bpf_program__name(program)), reason};
    bool left_out = !bpf_program__autoload(program);
    if (!one.attached && left_out) one.reason = "not needed: this kernel has no function " + function_of(program);
    if (one.attached && !reason.empty()) one.reason = "the program of an earlier load goes on: " + reason;
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace

const std::vector<Object>& objects() {
  static const std::vector<Object> all = {
      {VZ_OBJECT_VSWAP, "vswap", vswap::elf_bytes},
      {VZ_OBJECT_SYSINFO, "sysinfo", sysinfo::elf_bytes},
      {VZ_OBJECT_PRIVVM, "privvm", privvm::elf_bytes},
  };
  return all;
}

std::vector<Program> load(const Pins& pins, const Object& object) {
  take_messages();
  auto reason = replace(pins, object);
  return list(pins, object, reason);
}

std::vector<Program> status(const Pins& pins, const Object& object) {
  auto programs = list(pins, object, "");
  for (auto& program : programs) {
    if (program.attached || !program.reason.empty()) continue;
    auto known = obstacle(object.name);
    program.reason = known.empty() ? "not loaded (`vz-bpf load`)" : known;
  }
  return programs;
}

}  // namespace vzbpf
