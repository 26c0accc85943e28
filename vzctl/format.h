// SPDX-License-Identifier: GPL-2.0-or-later
// Data for people and for programs: one table of rows, printed as text, JSON, CSV or YAML.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <vz/error.h>

namespace vzctl {

enum class Format { table, json, csv, yaml };
vz::Result<Format> parse_format(std::string_view word);
// What --json and --format ask for; "text" is the table of programs that have no table.
class Options;
vz::Result<Format> chosen_format(const Options& options);
// One value for the whole, not a row for each.
inline bool is_structured(Format format) { return format == Format::json || format == Format::yaml; }

// A JSON value whose objects keep their order. Bytes and counts are integers.
struct Value {
  using List = std::vector<Value>;
  using Object = std::vector<std::pair<std::string, Value>>;
  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, List, Object> v;

  Value() = default;
  Value(bool b) : v(b) {}
  Value(int i) : v(std::int64_t{i}) {}
  Value(std::int64_t i) : v(i) {}
  Value(std::uint64_t u) : v(u) {}
  Value(double d) : v(d) {}
  Value(const char* s) : v(std::string(s)) {}
  Value(std::string s) : v(std::move(s)) {}
  Value(List l) : v(std::move(l)) {}
  Value(Object o) : v(std::move(o)) {}
};

enum class Tone { plain, good, bad, weak };  // colour of a cell on a terminal

struct Cell {
  std::string text;  // for people, "-" when unset
  Value value;       // for programs
  Tone tone = Tone::plain;
};

struct Column {
  std::string key;                  // stable name in JSON, CSV, YAML
  std::string header;               // "NPROC"
  int width = 0;                    // at least; negative: left-aligned, as in printf
  std::vector<std::string> fields;  // of an object value: CSV has one column for each
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;
};

struct TableStyle {
  bool header = true;
  bool color = false;
  bool fit = false;  // widen columns to their contents; vzlist keeps the fixed widths of OpenVZ
};

// Columns joined by one blank, trailing blanks cut (libvirt relies on both).
std::string to_text(const Table& table, const TableStyle& style);
std::string to_csv(const Table& table, bool header);
Value to_value(const Table& table);  // a list of objects
std::string to_json(const Value& value);
std::string to_yaml(const Value& value);
std::string to_structured(const Value& value, Format format);  // JSON or YAML
std::string render(const Table& table, Format format, const TableStyle& style);

std::string paint(std::string_view text, Tone tone, bool color);
// 1.5 GiB
std::string human_bytes(std::uint64_t bytes);
// Writes to stdout; Code::io when it cannot.
vz::Result<> put(std::string_view text);

}  // namespace vzctl
