// SPDX-License-Identifier: GPL-2.0-or-later
// Options of a command as a table: the parser, --help, completion and the man pages all read it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>

namespace vzctl {

// What completion offers as a value.
enum class Values { none, file, directory, ctid, ostemplate, sample, yes_no, format, columns };

struct Option {
  const char* names;             // "-a,--all": short name first, the last one names the option in Options
  const char* metavar;           // nullptr: a flag
  const char* help;              // nullptr: hidden, kept for old scripts
  Values values = Values::none;  // completion
};

// What was given, in the order of the command line.
class Options {
 public:
  struct Given {
    std::string name;  // last name in its row, with dashes
    std::string value;
  };

  bool has(std::string_view name) const { return last(name) != nullptr; }
  const std::string* last(std::string_view name) const;  // nullptr when not given
  std::string value_or(std::string_view name, std::string_view otherwise) const;
  std::vector<std::string> all(std::string_view name) const;

  std::vector<Given> given;
  std::vector<std::string> words;  // what is not an option
};

// The name by which Options knows a row, "--all".
std::string_view option_name(const Option& option);
// All names of a row.
std::vector<std::string_view> option_names(const Option& option);

// Code::bad_syntax names the option that is unknown or lacks its value. --help is always understood.
vz::Result<Options> parse_options(std::span<const Option> table, std::vector<std::string> args);

}  // namespace vzctl
