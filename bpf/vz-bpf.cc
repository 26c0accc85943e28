// SPDX-License-Identifier: GPL-2.0-only
// Loads vz's BPF programs and leaves: links and maps are pinned, no process stays. Prints JSON.
#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <linux/types.h>

#include <nlohmann/json.hpp>

#include "bpf/loader.h"
#include "bpf/pins.h"
#include "bpf/reason.h"
#include "bpf/vz_maps.h"

namespace {

using nlohmann::json;

enum Exit { kAll = 0, kNothing = 1, kUsage = 2, kSome = 3 };

const char* const kHelp =
    "Usage: vz-bpf load|unload|status [--pin-dir DIR]\n"
    "  load     bring the programs into the kernel; a second load replaces them and keeps all counters\n"
    "  unload   remove programs, counters and pins\n"
    "  status   which programs are attached, and why not\n"
    "  --pin-dir DIR  on a BPF file system; default " VZ_BPF_PIN_DIR
    "\n"
    "Prints one JSON object. Exit status: 0 all programs, 3 some, 1 none or an error, 2 usage.\n";

struct Options {
  std::string command, dir = VZ_BPF_PIN_DIR;
  bool help = false, good = false;
};

Options parse(const std::vector<std::string_view>& words) {
  Options options;
  for (std::size_t i = 0; i < words.size(); ++i) {
    auto word = words[i];
    if (word == "-h" || word == "--help") {
      options.help = true;
    } else if (word == "--pin-dir" && i + 1 < words.size()) {
      options.dir = words[++i];
    } else if (word.starts_with("--pin-dir=")) {
      options.dir = word.substr(10);
    } else if (options.command.empty() && (word == "load" || word == "unload" || word == "status")) {
      options.command = word;
    } else {
      return options;
    }
  }
  while (options.dir.size() > 1 && options.dir.back() == '/') options.dir.pop_back();
  options.good = options.help || !options.command.empty();
  return options;
}

int print(const json& document, int status) {
  auto text = document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  return written ? status : kNothing;
}

int complain(const std::string& what) {
  std::fprintf(stderr, "vz-bpf: %s\n", what.c_str());
  return print({{"error", what}, {"programs", json::array()}}, kNothing);
}

int report(const Options& options, const std::vector<vzbpf::Program>& programs) {
  json list = json::array();
  std::size_t attached = 0, wanted = 0;
  for (const auto& program : programs) {
    list.push_back({{"name", program.name},
                    {"object", program.object},
                    {"attached", program.attached},
                    {"reason", program.reason}});
    attached += program.attached;
    wanted += program.attached || !program.reason.starts_with("not needed");
  }
  json document = {{"layout", VZ_BPF_LAYOUT}, {"pin_dir", options.dir}, {"programs", list}};
  return print(document, attached == 0 ? kNothing : attached < wanted ? kSome : kAll);
}

int run(const Options& options) {
  auto pins = vzbpf::Pins::lock(options.dir, options.command == "load");
  if (!pins) return complain(pins.error());
  if (options.command == "unload") {
    auto removed = pins->remove_all();
    return removed ? print({{"layout", VZ_BPF_LAYOUT}, {"pin_dir", options.dir}, {"programs", json::array()}}, kAll)
                   : complain(removed.error());
  }
  vzbpf::collect_messages();
  std::vector<vzbpf::Program> programs;
  for (const auto& object : vzbpf::objects()) {
    auto some = options.command == "load" ? vzbpf::load(*pins, object) : vzbpf::status(*pins, object);
    programs.insert(programs.end(), some.begin(), some.end());
  }
  return report(options, programs);
}

}  // namespace

int main(int argc, char** argv) {
  auto options = parse(std::vector<std::string_view>(argv + (argc > 0 ? 1 : 0), argv + argc));
  if (!options.good || options.help) {
    std::fputs(kHelp, options.help ? stdout : stderr);
    return options.help ? kAll : kUsage;
  }
  return run(options);
}
