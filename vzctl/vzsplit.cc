// SPDX-License-Identifier: GPL-2.0-or-later
// vzsplit: a sample configuration for N containers that fill this host.
#include <unistd.h>

#include <charconv>
#include <iostream>

#include <fmt/format.h>
#include <vz/split.h>

#include "vzctl/face.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

constexpr Option kOptions[] = {
    {"-n,--containers", "N", "How many containers the host is divided among; asked for on a terminal"},
    {"-f,--file", "NAME", "Write ETC/conf/ve-NAME.conf-sample, for vzctl create --config NAME, instead of printing"},
    {"-s,--swap", "SIZE", "Swap to divide, instead of the host's; a number is KiB, suffixes K, M, G, T"},
};

vz::Result<std::uint64_t> parse_count(std::string_view text) {
  std::uint64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc() || end != text.data() + text.size() || text.empty())
    return fail(vz::Error(Code::bad_value, fmt::format("Bad number of containers: {}", printable(text)))
                    .with_hint("give a whole number, 1 or more"));
  return n;
}

vz::Result<std::uint64_t> ask_count() {
  if (!isatty(STDIN_FILENO))
    return fail(vz::Error(Code::bad_syntax, "the number of containers is missing").with_hint("give it with -n"));
  VZ_TRY(put("Number of containers: "));
  std::string line;
  if (!std::getline(std::cin, line)) return fail(Code::bad_syntax, "no number of containers was given");
  return parse_count(line);
}

// KiB, as OpenVZ's, through the setting that is in KiB, too.
vz::Result<std::uint64_t> parse_swap(std::string_view text) {
  vz::Config config;
  const vz::Param* kib = vz::find_param_by_key("DISKSPACE");
  auto checked = vz::param_from_option(*kib, text);
  bool pair = text.find(':') != text.npos;
  if (checked) config.set("DISKSPACE", *checked);
  auto limit = config.limit("DISKSPACE");
  if (!checked || pair || !limit || limit->limit > (std::uint64_t{1} << 43))
    return fail(vz::Error(Code::bad_value, fmt::format("Bad swap size: {}", printable(text)))
                    .with_hint("a number is KiB; suffixes K, M, G, T"));
  return limit->limit * 1024;
}

}  // namespace

std::span<const Option> vzsplit_options() { return kOptions; }

vz::Result<int> run_vzsplit(FaceCall& call) {
  const Options& o = call.options;
  const std::string* given = o.last("--containers");
  std::uint64_t count = given ? VZ_TRY(parse_count(*given)) : VZ_TRY(ask_count());
  std::optional<std::uint64_t> swap;
  if (const std::string* size = o.last("--swap")) swap = VZ_TRY(parse_swap(*size));
  auto room = VZ_TRY(vz::read_split_room(call.host));
  auto sample = VZ_TRY(vz::split_host(room, count, swap));
  const std::string* name = o.last("--file");
  if (!name) {
    VZ_TRY(put(sample.text()));
    return 0;
  }
  auto path = VZ_TRY(vz::save_sample(call.host, *name, sample));
  VZ_TRY(put(fmt::format("Config {} was created\n", path)));
  return 0;
}

}  // namespace vzctl
