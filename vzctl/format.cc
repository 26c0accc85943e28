// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "vzctl/options.h"
#include "vzctl/reporter.h"

namespace vzctl {

using Json = nlohmann::ordered_json;

vz::Result<Format> parse_format(std::string_view word) {
  if (word == "table") return Format::table;
  if (word == "json") return Format::json;
  if (word == "csv") return Format::csv;
  if (word == "yaml") return Format::yaml;
  return vz::fail(vz::Code::bad_syntax, fmt::format("Bad value for --format: {} (table, json, csv or yaml)", word));
}

vz::Result<Format> chosen_format(const Options& options) {
  if (options.has("--json")) return Format::json;
  const std::string word = options.value_or("--format", "table");
  return word == "text" ? Format::table : parse_format(word);
}

std::string to_structured(const Value& value, Format format) {
  return format == Format::yaml ? to_yaml(value) : to_json(value);
}

std::string paint(std::string_view text, Tone tone, bool color) {
  if (!color || tone == Tone::plain || text.empty()) return std::string(text);
  const char* code = tone == Tone::good ? "32" : tone == Tone::bad ? "31" : "2";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

vz::Result<> put(std::string_view text) {
  if (fwrite(text.data(), 1, text.size(), stdout) != text.size() || fflush(stdout) != 0)
    return vz::fail_errno("write to standard output", vz::Code::io);
  return {};
}

namespace {

// Columns, not bytes: continuation bytes of UTF-8 take no room.
size_t display_width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string pad(std::string_view text, int width, Tone tone, bool color) {
  size_t room = static_cast<size_t>(std::abs(width));
  size_t used = display_width(text);
  std::string blanks(used < room ? room - used : 0, ' ');
  std::string body = paint(text, tone, color);
  return width < 0 ? body + blanks : blanks + body;
}

void cut_trailing_blanks(std::string& line) { line.erase(line.find_last_not_of(' ') + 1); }

std::string one_line(std::string_view text) {
  std::string out = printable(text);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return out;
}

std::vector<int> widths(const Table& table, const TableStyle& style) {
  std::vector<int> out;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const Column& column = table.columns[i];
    size_t most = static_cast<size_t>(std::abs(column.width));
    if (style.fit) {
      if (style.header) most = std::max(most, column.header.size());
      for (const auto& row : table.rows) most = std::max(most, display_width(row[i].text));
    }
    out.push_back(column.width < 0 ? -static_cast<int>(most) : static_cast<int>(most));
  }
  return out;
}

std::string csv_quote(std::string text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string out = "\"";
  for (char c : text) out.append(c == '"' ? 2 : 1, c);
  return out + '"';
}

Json to_nlohmann(const Value& value) {
  return std::visit(
      [](const auto& v) -> Json {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
          return nullptr;
        } else if constexpr (std::is_same_v<T, Value::List>) {
          Json out = Json::array();
          for (const Value& item : v) out.push_back(to_nlohmann(item));
          return out;
        } else if constexpr (std::is_same_v<T, Value::Object>) {
          Json out = Json::object();
          for (const auto& [key, item] : v) out[key] = to_nlohmann(item);
          return out;
        } else if constexpr (std::is_same_v<T, double>) {
          return std::isfinite(v) ? Json(v) : Json(nullptr);
        } else {
          return v;
        }
      },
      value.v);
}

std::string dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

// Text of a scalar for CSV: nothing for null, plain text, numbers as in JSON, a list's items joined by blanks.
std::string csv_text(const Value& value) {
  if (std::holds_alternative<std::monostate>(value.v)) return "";
  if (auto* text = std::get_if<std::string>(&value.v)) return *text;
  if (auto* list = std::get_if<Value::List>(&value.v)) {
    std::string out;
    for (const Value& item : *list) out += (out.empty() ? "" : " ") + csv_text(item);
    return out;
  }
  return dump(to_nlohmann(value), -1);
}

const Value* find_field(const Value& value, const std::string& field) {
  auto* object = std::get_if<Value::Object>(&value.v);
  if (!object) return nullptr;
  for (const auto& [key, item] : *object)
    if (key == field) return &item;
  return nullptr;
}

// Every YAML reader takes JSON's scalars, so strings are always quoted and need no rules.
void yaml_node(const Json& json, int depth, bool after_dash, std::string& out) {
  std::string blanks(static_cast<size_t>(depth) * 2, ' ');
  bool first = after_dash;
  if (json.is_object() && !json.empty()) {
    for (const auto& [key, item] : json.items()) {
      out += (first ? "" : blanks) + key + ":";
      first = false;
      bool block = item.is_structured() && !item.empty();
      out += block ? "\n" : " ";
      yaml_node(item, depth + 1, false, out);
    }
  } else if (json.is_array() && !json.empty() && !after_dash) {
    for (const auto& item : json) {
      out += blanks + "- ";
      yaml_node(item, depth + 1, true, out);
    }
  } else {
    out += dump(json, -1) + "\n";
  }
}

}  // namespace

std::string to_text(const Table& table, const TableStyle& style) {
  std::vector<int> wide = widths(table, style);
  std::string out, line;
  auto flush = [&] {
    cut_trailing_blanks(line);
    out += line + '\n';
    line.clear();
  };
  if (style.header) {
    for (size_t i = 0; i < table.columns.size(); ++i)
      line += (i ? " " : "") + pad(table.columns[i].header, wide[i], Tone::plain, false);
    flush();
  }
  for (const auto& row : table.rows) {
    for (size_t i = 0; i < row.size(); ++i)
      line += (i ? " " : "") + pad(one_line(row[i].text), wide[i], row[i].tone, style.color);
    flush();
  }
  return out;
}

std::string to_csv(const Table& table, bool header) {
  std::string out;
  auto add_line = [&](const std::vector<std::string>& fields) {
    for (size_t i = 0; i < fields.size(); ++i) out += (i ? "," : "") + csv_quote(fields[i]);
    out += '\n';
  };
  std::vector<std::string> line;
  if (header) {
    for (const Column& column : table.columns) {
      if (column.fields.empty()) line.push_back(column.key);
      for (const std::string& field : column.fields) line.push_back(column.key + "." + field);
    }
    add_line(line);
  }
  for (const auto& row : table.rows) {
    line.clear();
    for (size_t i = 0; i < row.size(); ++i) {
      const auto& fields = table.columns[i].fields;
      if (fields.empty()) line.push_back(csv_text(row[i].value));
      for (const std::string& field : fields) {
        const Value* item = find_field(row[i].value, field);
        line.push_back(item ? csv_text(*item) : "");
      }
    }
    add_line(line);
  }
  return out;
}

Value to_value(const Table& table) {
  Value::List list;
  for (const auto& row : table.rows) {
    Value::Object object;
    for (size_t i = 0; i < row.size(); ++i) object.emplace_back(table.columns[i].key, row[i].value);
    list.push_back(std::move(object));
  }
  return list;
}

std::string to_json(const Value& value) { return dump(to_nlohmann(value), 2) + "\n"; }

std::string to_yaml(const Value& value) {
  std::string out;
  // Valid UTF-8 from here on.
  yaml_node(Json::parse(dump(to_nlohmann(value), -1)), 0, false, out);
  return out;
}

std::string render(const Table& table, Format format, const TableStyle& style) {
  switch (format) {
    case Format::json:
      return to_json(to_value(table));
    case Format::yaml:
      return to_yaml(to_value(table));
    case Format::csv:
      return to_csv(table, style.header);
    case Format::table:
      break;
  }
  return to_text(table, style);
}

}  // namespace vzctl
