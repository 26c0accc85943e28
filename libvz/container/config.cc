// SPDX-License-Identifier: LGPL-2.1-or-later
// KEY="value" files. The text is kept whole in one buffer; a line knows where in it its key and its value are, so
// that loading copies nothing and saving writes back every byte that was not changed. Values are checked when they
// are asked for.
#include <vz/config.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "libvz/base/text.h"
#include "libvz/container/config_line.h"
#include "libvz/container/param_table.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::size_t kMaxWarnings = 100;
constexpr std::uint32_t kNone = UINT32_MAX;

enum class Validity : std::uint8_t { unknown, good, bad };

// One line of the buffer, and what was read in it.
struct Line {
  std::size_t begin = 0;  // in the buffer
  std::size_t size = 0;   // with the line end
  LineParts parts;        // offsets relative to begin
  std::uint32_t hash = 0;
  std::uint32_t number = 0;     // in the file, from 1; 0: added later
  std::uint32_t older = kNone;  // previous line in the same hash bucket
  Validity validity = Validity::unknown;
};

std::uint32_t hash_of(std::string_view key) {
  std::uint32_t h = 2166136261u;  // FNV-1a
  for (char c : key) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  return h;
}

}  // namespace

struct Config::Impl {
  // What this one inherits: shared by all who do, every line checked, never changed. nullptr: nothing.
  std::shared_ptr<const Impl> base;
  std::shared_ptr<const Impl> frozen;  // this one as a base of others, made on demand
  std::string name;
  std::string buffer;
  std::vector<Line> lines;
  std::vector<std::uint32_t> buckets;  // newest line of each
  bool edited = false;
  std::vector<ConfigWarning> inherited;  // from merged files
  std::vector<ConfigWarning> warnings;
  bool warnings_known = false;

  std::string_view text_of(const Line& l) const { return std::string_view(buffer).substr(l.begin, l.size); }
  std::string_view key_of(const Line& l) const {
    return canonical_key(std::string_view(buffer).substr(l.begin + l.parts.key, l.parts.key_size));
  }
  std::string value_of(const Line& l) const {
    return unquote(std::string_view(buffer).substr(l.begin + l.parts.value, l.parts.value_size), l.parts.quote);
  }

  void parse(std::string_view text);
  void index_line(std::uint32_t at);
  void rebuild_index();
  std::uint32_t newest(std::uint32_t hash) const;
  Result<> check(const Line& line) const;
  bool good(Line& line) const;
  // The line that decides about `key`; kNone when there is none or all are bad.
  std::uint32_t find(std::string_view key, bool also_bad);
  std::uint32_t find_checked(std::string_view key) const;  // the same in a frozen one, good lines only
  std::shared_ptr<const Impl> freeze();
  void flatten();  // own copies of what is inherited: before everything that needs the lines themselves
  void merge(Impl& from);
  void set(std::string_view key, std::string_view value);
  void changed() {
    edited = true;
    warnings_known = false;
    frozen = nullptr;
  }
  void collect_warnings();
  void replace_line(Line& line, std::string_view text);
  void append_line(std::string_view key, std::string_view text);
  void drop_other_lines(std::string_view key, std::uint32_t hash, std::uint32_t keep);
};

void Config::Impl::parse(std::string_view text) {
  buffer = text;
  auto count = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  lines.reserve(count + 1);
  std::uint32_t number = 0;
  for (std::size_t begin = 0; begin < buffer.size();) {
    auto end = buffer.find('\n', begin);
    end = end == std::string::npos ? buffer.size() : end + 1;
    Line line;
    line.begin = begin;
    line.size = end - begin;
    line.number = ++number;
    line.parts = scan_line(text_of(line));
    if (line.parts.key_size) line.hash = hash_of(key_of(line));
    lines.push_back(line);
    begin = end;
  }
  rebuild_index();
}

void Config::Impl::index_line(std::uint32_t at) {
  Line& line = lines[at];
  if (line.parts.key_size == 0) return;
  auto& bucket = buckets[line.hash & (buckets.size() - 1)];
  line.older = bucket;
  bucket = at;
}

void Config::Impl::rebuild_index() {
  std::size_t size = 32;
  while (size < lines.size()) size *= 2;
  buckets.assign(size, kNone);
  for (std::uint32_t i = 0; i < lines.size(); ++i) index_line(i);
}

std::uint32_t Config::Impl::newest(std::uint32_t hash) const {
  return buckets.empty() ? kNone : buckets[hash & (buckets.size() - 1)];
}

Result<> Config::Impl::check(const Line& line) const {
  if (line.parts.problem) return fail(Code::bad_config, line.parts.problem);
  const Param* param = find_param_by_key(key_of(line));
  if (!param) return {};
  if (line.parts.plain)
    return param_check_file(*param,
                            std::string_view(buffer).substr(line.begin + line.parts.value, line.parts.value_size));
  return param_check_file(*param, value_of(line));
}

bool Config::Impl::good(Line& line) const {
  if (line.validity == Validity::unknown) line.validity = check(line) ? Validity::good : Validity::bad;
  return line.validity == Validity::good;
}

std::uint32_t Config::Impl::find(std::string_view key, bool also_bad) {
  key = canonical_key(key);
  auto hash = hash_of(key);
  for (auto at = newest(hash); at != kNone; at = lines[at].older) {
    Line& line = lines[at];
    if (line.hash == hash && line.parts.key_size && key_of(line) == key && (also_bad || good(line))) return at;
  }
  return kNone;
}

std::uint32_t Config::Impl::find_checked(std::string_view key) const {
  key = canonical_key(key);
  auto hash = hash_of(key);
  for (auto at = newest(hash); at != kNone; at = lines[at].older) {
    const Line& line = lines[at];
    if (line.hash == hash && line.validity == Validity::good && key_of(line) == key) return at;
  }
  return kNone;
}

std::shared_ptr<const Config::Impl> Config::Impl::freeze() {
  flatten();
  if (frozen) return frozen;
  for (Line& line : lines)
    if (line.parts.key_size) (void)good(line);
  return frozen = std::make_shared<const Impl>(*this);
}

void Config::Impl::flatten() {
  if (!base) return;
  Impl merged = *base;
  base = nullptr;
  merged.merge(*this);
  *this = std::move(merged);
}

void Config::Impl::collect_warnings() {
  warnings = inherited;
  std::size_t more = 0;
  auto add = [&](const Line& line, std::string text) {
    if (warnings.size() >= kMaxWarnings)
      ++more;
    else
      warnings.push_back({name + ":" + std::to_string(line.number), std::move(text)});
  };
  for (std::uint32_t i = 0; i < lines.size(); ++i) {
    Line& line = lines[i];
    if (line.number == 0) continue;
    if (line.parts.problem || (line.parts.key_size && !good(line))) {
      auto checked = check(line);
      add(line, checked ? "ignored" : checked.error().message() + ", ignored");
    } else if (line.parts.key_size) {
      auto winner = find(key_of(line), false);
      if (winner != i && winner != kNone)
        add(line, std::string(key_of(line)) + " is set again in line " + std::to_string(lines[winner].number) +
                      ", the last one counts");
    }
  }
  if (more) warnings.push_back({name, std::to_string(more) + " more lines are ignored or repeated"});
  warnings_known = true;
}

// The new text goes to the end of the buffer; the old one stays there unused.
void Config::Impl::replace_line(Line& line, std::string_view text) {
  line.begin = buffer.size();
  line.size = text.size();
  buffer += text;
  line.parts = scan_line(text);
  line.number = 0;
  line.validity = Validity::unknown;
  changed();
}

// `text` is a whole line that sets `key`.
void Config::Impl::append_line(std::string_view key, std::string_view text) {
  // A file whose last line has no end gets one. Dropped lines are empty and cannot be asked.
  auto last = std::find_if(lines.rbegin(), lines.rend(), [](const Line& l) { return l.size != 0; });
  if (last != lines.rend() && !text_of(*last).ends_with('\n')) {
    auto number = last->number;
    replace_line(*last, std::string(text_of(*last)) + "\n");
    last->number = number;
  }
  Line line;
  line.hash = hash_of(key);
  lines.push_back(line);
  replace_line(lines.back(), text);
  if (lines.size() > 2 * buckets.size())
    rebuild_index();
  else
    index_line(static_cast<std::uint32_t>(lines.size() - 1));
}

void Config::Impl::drop_other_lines(std::string_view key, std::uint32_t hash, std::uint32_t keep) {
  for (auto at = newest(hash); at != kNone; at = lines[at].older) {
    Line& line = lines[at];
    if (at == keep || line.hash != hash || line.parts.key_size == 0 || key_of(line) != key) continue;
    line.size = 0;
    line.parts = {};
    line.number = 0;
    changed();
  }
}

Config::Config() : impl_(new Impl) {}
Config::Config(const Config& other) : impl_(other.impl_ ? new Impl(*other.impl_) : new Impl) {}
Config::Config(Config&& other) noexcept : impl_(std::exchange(other.impl_, nullptr)) {}

Config& Config::operator=(const Config& other) {
  if (this != &other) *this = Config(other);
  return *this;
}

Config& Config::operator=(Config&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

Config::~Config() { delete impl_; }

Config Config::parse(std::string_view text, std::string name) {
  Config out;
  out.impl_->name = std::move(name);
  out.impl_->parse(text);
  return out;
}

Result<Config> Config::load(const std::string& path) {
  auto text = read_file(path);
  if (!text) return fail(std::move(text).error().with_code(Code::no_config));
  return parse(*text, path);
}

std::string Config::text() const {
  impl_->flatten();
  if (!impl_->edited) return impl_->buffer;
  std::string out;
  out.reserve(impl_->buffer.size());
  for (const Line& line : impl_->lines) out += impl_->text_of(line);
  return out;
}

Result<> Config::save(const std::string& path) const {
  auto out = text();
  if (auto now = read_file(path); now && *now == out) return {};
  auto done = replace_file(path, out, 0644);
  if (!done) return fail(std::move(done).error().context("cannot save the configuration").with_code(Code::save_config));
  return {};
}

const std::vector<ConfigWarning>& Config::warnings() const {
  impl_->flatten();
  if (!impl_->warnings_known) impl_->collect_warnings();
  return impl_->warnings;
}

std::optional<std::string> Config::get(std::string_view key) const {
  auto at = impl_->find(key, false);
  if (at != kNone) return impl_->value_of(impl_->lines[at]);
  const Impl* base = impl_->base.get();
  if (base) at = base->find_checked(key);
  if (at == kNone) return std::nullopt;
  return base->value_of(base->lines[at]);
}

void Config::Impl::set(std::string_view key, std::string_view value) {
  key = canonical_key(key);
  if (!is_key(key)) return;
  auto quoted = quote(value);
  auto at = find(key, true);
  if (at == kNone) return append_line(key, std::string(key) + "=" + quoted + "\n");
  drop_other_lines(key, hash_of(key), at);
  Line& line = lines[at];
  auto replaced = with_value(text_of(line), line.parts, quoted);
  if (replaced != text_of(line)) replace_line(line, replaced);
}

void Config::set(std::string_view key, std::string_view value) {
  impl_->flatten();
  impl_->set(key, value);
}

void Config::unset(std::string_view key) {
  impl_->flatten();
  key = canonical_key(key);
  impl_->drop_other_lines(key, hash_of(key), kNone);
}

std::vector<std::string> Config::keys() const {
  impl_->flatten();
  std::vector<std::string> out;
  for (std::uint32_t i = 0; i < impl_->lines.size(); ++i) {
    const Line& line = impl_->lines[i];
    if (line.parts.key_size && impl_->find(impl_->key_of(line), false) == i) out.emplace_back(impl_->key_of(line));
  }
  return out;
}

void Config::Impl::merge(Impl& from) {
  buffer.reserve(buffer.size() + from.buffer.size());
  lines.reserve(lines.size() + from.lines.size());
  for (std::uint32_t i = 0; i < from.lines.size(); ++i) {
    const Line& line = from.lines[i];
    if (line.parts.key_size == 0) continue;
    auto key = from.key_of(line);
    if (from.find(key, false) != i) continue;
    // A line of a key that is new here is taken over as it is.
    if (find(key, true) == kNone && from.text_of(line).ends_with('\n'))
      append_line(key, from.text_of(line));
    else
      set(key, from.value_of(line));
  }
  if (!from.warnings_known) from.collect_warnings();
  if (from.warnings.empty()) return;
  inherited.insert(inherited.end(), from.warnings.begin(), from.warnings.end());
  warnings_known = false;
}

void Config::merge(const Config& over) {
  if (this == &over) return;
  impl_->flatten();
  over.impl_->flatten();
  impl_->merge(*over.impl_);
}

void Config::inherit(const Config& base) {
  if (this == &base) return;
  impl_->flatten();
  impl_->base = base.impl_->freeze();
  impl_->frozen = nullptr;
}

std::optional<bool> Config::yes_no(std::string_view key) const {
  auto value = get(key);
  if (!value || (*value != "yes" && *value != "no")) return std::nullopt;
  return *value == "yes";
}

std::optional<std::uint64_t> Config::number(std::string_view key) const {
  auto value = get(key);
  if (!value) return std::nullopt;
  const Param* param = find_param_by_key(key);
  if (!param) {
    auto n = parse_u64(*value);
    return n ? std::optional(*n) : std::nullopt;
  }
  // The canonical text of numbers, rates and percentages is a plain number.
  auto text = param->kind == Kind::io_rate ? std::to_string(parse_io_rate(*value, 1).value_or(0))
                                           : param_from_option(*param, *value).value_or("");
  auto n = parse_u64(text);
  return n ? std::optional(*n) : std::nullopt;
}

std::optional<double> Config::real(std::string_view key) const {
  auto value = get(key);
  if (!value) return std::nullopt;
  auto parsed = parse_real(*value);
  return parsed ? std::optional(*parsed) : std::nullopt;
}

std::optional<Limit> Config::limit(std::string_view key) const {
  auto value = get(key);
  const Param* param = find_param_by_key(key);
  if (!value || !param) return std::nullopt;
  auto parsed = parse_param_limit(*param, *value);
  return parsed ? std::optional(*parsed) : std::nullopt;
}

std::vector<std::string> Config::words(std::string_view key) const { return split_words(get(key).value_or("")); }

}  // namespace vz
