// SPDX-License-Identifier: GPL-2.0-or-later
// vzpid: which container a process of the host belongs to.
#include <iostream>

#include <fmt/format.h>
#include <vz/process.h>

#include "vzctl/face.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

constexpr Option kOptions[] = {
    {"-p,--pid", nullptr, "Show the pid inside the container, too"},
    {"-j,--json", nullptr, "Print JSON, with all that is known"},
    {"--format", "FORMAT", "table, json, csv or yaml", Values::format},
};

vz::Result<pid_t> parse_pid(const std::string& word) {
  constexpr unsigned long kMost = 4194304;
  char* end = nullptr;
  unsigned long value = word.empty() || word[0] < '0' || word[0] > '9' ? 0 : strtoul(word.c_str(), &end, 10);
  if (value == 0 || value > kMost || *end != 0)
    return vz::fail(vz::Code::bad_syntax, fmt::format("Invalid PID: {}", printable(word)));
  return static_cast<pid_t>(value);
}

Table table_of(const std::vector<std::pair<pid_t, vz::ProcessOwner>>& list) {
  Table table{
      {{"pid", "Pid", -1, {}}, {"inside", "CT/Pid", -1, {}}, {"ctid", "CTID", -1, {}}, {"name", "Name", -1, {}}}, {}};
  for (const auto& [pid, owner] : list)
    table.rows.push_back({{std::to_string(pid), std::uint64_t(pid)},
                          {std::to_string(owner.inside), std::uint64_t(owner.inside)},
                          {owner.id.str(), std::uint64_t{owner.id.value()}},
                          {printable(owner.name), owner.name}});
  return table;
}

// Columns joined by tabs, as scripts of OpenVZ expect.
std::string tabbed(const Table& table, bool inside) {
  auto line = [&](auto&& text_of) {
    std::string out;
    for (size_t i = 0; i < table.columns.size(); ++i)
      if (i != 1 || inside) out += (i ? "\t" : "") + text_of(i);
    return out + "\n";
  };
  std::string out = line([&](size_t i) { return table.columns[i].header; });
  for (const auto& row : table.rows) out += line([&](size_t i) { return row[i].text; });
  return out;
}

}  // namespace

std::span<const Option> vzpid_options() { return kOptions; }

vz::Result<int> run_vzpid(FaceCall& call) {
  const Options& o = call.options;
  Format format = VZ_TRY(chosen_format(o));
  std::vector<std::string> words = o.words;
  if (words.size() == 1 && words[0] == "-") {
    words.clear();
    for (std::string word; std::cin >> word;) words.push_back(word);
  }
  std::vector<std::pair<pid_t, vz::ProcessOwner>> list;
  int status = 0;
  for (const std::string& word : words) {
    pid_t pid = VZ_TRY(parse_pid(word));
    auto owner = vz::process_owner(pid);
    if (owner) {
      list.emplace_back(pid, *std::move(owner));
    } else {
      call.reporter.error(owner.error());
      status = kFaceFailed;
    }
  }
  Table table = table_of(list);
  VZ_TRY(put(format == Format::table ? tabbed(table, o.has("--pid")) : render(table, format, {})));
  return status;
}

}  // namespace vzctl
