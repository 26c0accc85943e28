// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/migration_message.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libvz/base/text.h"
#include "libvz/container/value.h"

namespace vz {

namespace {

using Json = nlohmann::json;

constexpr const char* kName = "message";
constexpr std::size_t kMaxErrorText = 2000;

// Bounded; who shows it on a terminal cares for what it does there.
std::string shown(const Json& json, const char* key) {
  auto at = json.find(key);
  if (at == json.end() || !at->is_string()) return {};
  return at->get<std::string>().substr(0, kMaxErrorText);
}

// The texts of files may be no UTF-8: they are replaced where they are not.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string MigrationMessage::text(const std::string& key) const {
  auto at = fields.find(key);
  return at == fields.end() ? std::string() : at->second;
}

Result<std::uint64_t> MigrationMessage::number(const std::string& key) const {
  auto value = parse_u64(text(key));
  if (value) return *value;
  return fail(Code::bad_value, fmt::format("message {}: {}='{}' is no number", name, key, printable(text(key))));
}

std::string encode(const MigrationMessage& message) {
  Json json = message.fields;
  json[kName] = message.name;
  return dump(json);
}

Result<MigrationMessage> decode_message(std::string_view text) {
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return fail(Code::bad_value, "a message of the other host is damaged");
  MigrationMessage out;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) return fail(Code::bad_value, "a message of the other host is damaged: " + printable(key));
    (key == kName ? out.name : out.fields[key]) = value.get<std::string>();
  }
  return out;
}

std::string encode_error(const Error& error) {
  return dump(Json{{"code", static_cast<int>(error.code())}, {"text", error.message()}, {"hint", error.hint()}});
}

Error decode_error(std::string_view text, const std::string& peer) {
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Error(Code::bad_value, peer + " reports an error that cannot be read");
  auto code = json.find("code");
  const bool known = code != json.end() && code->is_number_integer() && code->get<int>() > 0 && code->get<int>() < 256;
  return Error(known ? static_cast<Code>(code->get<int>()) : Code::system, peer + ": " + shown(json, "text"))
      .with_hint(shown(json, "hint"));
}

Result<> send_request(FrameChannel& channel, const MigrationMessage& request) {
  return channel.send(kRequest, encode(request));
}

Result<MigrationMessage> receive_answer(FrameChannel& channel, const std::string& name) {
  Frame frame = VZ_TRY(channel.receive());
  if (frame.type == kError) return fail(decode_error(frame.payload, channel.peer()));
  if (frame.type != kAnswer)
    return fail(Code::bad_value,
                fmt::format("{} answers {} with a frame of type {}", channel.peer(), name, frame.type));
  return decode_message(frame.payload);
}

Result<MigrationMessage> ask(FrameChannel& channel, const MigrationMessage& request) {
  VZ_TRY(send_request(channel, request));
  return receive_answer(channel, request.name);
}

Result<> answer(FrameChannel& channel, const MigrationMessage& message) {
  return channel.send(kAnswer, encode(message));
}

Result<> answer_error(FrameChannel& channel, const Error& error) { return channel.send(kError, encode_error(error)); }

}  // namespace vz
