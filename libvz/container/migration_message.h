// SPDX-License-Identifier: LGPL-2.1-or-later
// What the two ends of a migration say to each other: a request with named texts, and its answer or error. Data goes
// between requests, in frames of its own.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <vz/error.h>
#include "libvz/kernel/frame_channel.h"

namespace vz {

constexpr std::uint64_t kMigrationProtocol = 3;

enum MigrationFrame : std::uint8_t {
  kRequest = 1,
  kAnswer = 2,
  kError = 3,
  kBlock = 4,  // 8 bytes of offset, little-endian, then data
  kHole = 5,   // offset and length
  kBytes = 6,  // the next bytes of an archive or a file
  kEnd = 7,    // of the blocks, bytes or files
  kFile = 8,   // the next file of a dump: its name
  kPages = 9,  // 4 bytes of process id as in the container, 8 of address, then whole pages
};

struct MigrationMessage {
  std::string name;  // "begin"
  std::map<std::string, std::string> fields;

  std::string text(const std::string& key) const;  // "" when it is missing
  // Code::bad_value when it is missing or no number.
  Result<std::uint64_t> number(const std::string& key) const;
};

// As it goes over the wire: a JSON object of texts. Code::bad_value for anything else.
std::string encode(const MigrationMessage& message);
Result<MigrationMessage> decode_message(std::string_view text);
std::string encode_error(const Error& error);
Error decode_error(std::string_view text, const std::string& peer);

// Sends a request and waits for its answer; an error of the other end comes back with its code, its hint, and its name.
Result<MigrationMessage> ask(FrameChannel& channel, const MigrationMessage& request);
// Its two halves. `name`: of the request.
Result<> send_request(FrameChannel& channel, const MigrationMessage& request);
Result<MigrationMessage> receive_answer(FrameChannel& channel, const std::string& name);
Result<> answer(FrameChannel& channel, const MigrationMessage& message);
Result<> answer_error(FrameChannel& channel, const Error& error);

}  // namespace vz
