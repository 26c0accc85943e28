// SPDX-License-Identifier: LGPL-2.1-or-later
// One line of a KEY="value" file, read as a shell would read an assignment. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vz {

// Where the parts of a line are; key_size 0: a comment, a blank line, or garbage (`problem` says which).
struct LineParts {
  std::size_t key = 0, key_size = 0;
  std::size_t value = 0, value_size = 0;  // without the quotes
  char quote = 0;                         // '"', '\'' or 0
  bool plain = false;                     // the value needs no unquoting
  const char* problem = nullptr;
};

// `line` with or without its line end ("\n", "\r\n").
LineParts scan_line(std::string_view line);
bool is_key(std::string_view text);  // a shell variable's name

// The value inside `quote`: backslash escapes of double quotes are undone. $VEID stays as it is.
std::string unquote(std::string_view raw, char quote);
// A double-quoted word that a shell reads as `value`, except that $VEID and ${VEID} stay variables. Control
// characters become blanks: a line is one line.
std::string quote(std::string_view value);

// The same line with another value; indentation, "export" and a comment behind the value stay.
std::string with_value(std::string_view line, const LineParts& parts, std::string_view quoted);

}  // namespace vz
