// SPDX-License-Identifier: LGPL-2.1-or-later
// Two passes: every line alone, then rules between the values that are good. The formulas between beancounters are
// OpenVZ's (resource shortage in one must not be hidden by another), those between RAM, swap and the rest follow from
// what a limit means here.
#include <vz/validate.h>

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <vz/memory_report.h>
#include "libvz/base/text.h"
#include "libvz/container/config_line.h"
#include "libvz/container/param_table.h"
#include "libvz/container/value.h"

namespace vz {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kNone = Limit::kUnlimited;

// What a configuration of before VSwap must have.
constexpr const char* kUbcKeys[] = {"KMEMSIZE",     "LOCKEDPAGES",  "PRIVVMPAGES", "SHMPAGES",     "NUMPROC",
                                    "VMGUARPAGES",  "OOMGUARPAGES", "NUMTCPSOCK",  "NUMFLOCK",     "NUMPTY",
                                    "NUMSIGINFO",   "TCPSNDBUF",    "TCPRCVBUF",   "OTHERSOCKBUF", "DGRAMRCVBUF",
                                    "NUMOTHERSOCK", "DCACHESIZE",   "NUMFILE",     "NUMIPTENT"};

// Keys of OpenVZ 6 and 7 that have nothing to say here and are in many files.
constexpr std::string_view kForeignKeys[] = {"CONFIG_CUSTOMIZED",
                                             "IP6TABLES",
                                             "DISK",
                                             "ROOT_DISK",
                                             "TEMPLATES",
                                             "DISTRIBUTION",
                                             "TECHNOLOGIES",
                                             "CPULIMIT_MHZ",
                                             "CPUWEIGHT",
                                             "AUTOSTOP",
                                             "AUTOCOMPACT",
                                             "VE_TYPE",
                                             "OSRELEASE",
                                             "APPLY_IPONLY",
                                             "BINDMOUNT",
                                             "NOATIME",
                                             "HA_ENABLE",
                                             "HA_PRIO",
                                             "TRAFFIC_SHAPING",
                                             "TOTALRATE",
                                             "RATE",
                                             "RATEBOUND",
                                             "MEMGUARANTEE",
                                             "NUMNETIF",
                                             "TOTVMPAGES",
                                             "SLMMODE",
                                             "SLMMEMORYLIMIT",
                                             "VETH",
                                             "JOURNALED_QUOTA",
                                             "VE_ENVIRONMENT",
                                             "NUMMEMORYSUBGROUPS",
                                             "PAGECACHE_ISOLATION",
                                             "MEMGUARANTEE_BYTES"};

bool foreign(std::string_view key) {
  return std::find(std::begin(kForeignKeys), std::end(kForeignKeys), key) != std::end(kForeignKeys);
}

// A value that is wrong only in its order: "20:10" becomes "10:10".
std::optional<std::string> lowered_barrier(const Param& p, std::string_view value) {
  auto colon = value.find(':');
  if (!is_limit(p) || colon == value.npos) return std::nullopt;
  auto barrier = parse_size(value.substr(0, colon), unit_of(p));
  auto limit = parse_size(value.substr(colon + 1), unit_of(p));
  if (!barrier || !limit || *barrier <= *limit) return std::nullopt;
  return format_limit({*limit, *limit}, unit_of(p));
}

class Checker {
 public:
  Checker(std::string_view text, const std::string& name, const ValidateOptions& options)
      : text_(text), name_(name), options_(options), config_(Config::parse(text, name)) {}

  Validation run() {
    lines();
    out_.vswap = options_.vswap ? *options_.vswap : detect_vswap();
    out_.vswap ? vswap() : ubc();
    processes();
    buffers();
    files();
    other();
    return std::move(out_);
  }

 private:
  void add(Severity severity, std::string where, std::string text, std::optional<Fix> fix = {}) {
    out_.findings.push_back({severity, std::move(where), std::move(text), std::move(fix)});
  }
  // Rules of UBC are advice where RAM and swap are what counts.
  Severity ubc_rule() const { return out_.vswap ? Severity::recommendation : Severity::error; }

  std::optional<Limit> limit(const char* key) const { return config_.limit(key); }
  static std::optional<Fix> set_limit(const char* key, const Limit& limit) {
    const Param* p = find_param_by_key(key);
    return Fix{key, format_limit(limit, unit_of(*p))};
  }
  static std::string shown(const char* key, std::uint64_t value) {
    return format_size(value, unit_of(*find_param_by_key(key)));
  }

  void lines();
  void line(std::string_view text, std::size_t number);
  void value(std::string_view key, const std::string& value, const std::string& where);
  bool detect_vswap() const {
    return is_vswap(config_) || (config_.limit("SWAPPAGES") && !config_.limit("PRIVVMPAGES"));
  }
  void vswap();
  void ram(std::uint64_t pages);
  void below(const char* key, std::uint64_t most, const char* what, Severity severity, std::uint64_t new_limit);
  void secondary(std::uint64_t ram, std::uint64_t both);
  void ubc();
  void processes();
  void buffers();
  void buffer(const char* key, const char* sockets);
  void files();
  void other();

  std::string_view text_;
  const std::string& name_;
  const ValidateOptions& options_;
  Config config_;
  std::map<std::string, std::size_t, std::less<>> seen_;  // key: its last line
  Validation out_;
};

void Checker::lines() {
  std::size_t number = 0;
  for (std::string_view rest = text_; !rest.empty();) {
    auto end = std::min(rest.find('\n'), rest.size() - 1) + 1;
    line(rest.substr(0, end), ++number);
    rest.remove_prefix(end);
  }
}

void Checker::line(std::string_view text, std::size_t number) {
  auto parts = scan_line(text);
  auto where = fmt::format("{}:{}", name_, number);
  if (parts.problem) return add(Severity::error, where, parts.problem);
  if (parts.key_size == 0) return;
  auto key = std::string(canonical_key(text.substr(parts.key, parts.key_size)));
  auto [at, fresh] = seen_.try_emplace(key, number);
  if (!fresh) {
    add(Severity::warning, where,
        fmt::format("{} was set in line {} already, the last one counts", printable(key), at->second));
    at->second = number;
  }
  value(key, unquote(text.substr(parts.value, parts.value_size), parts.quote), where);
}

void Checker::value(std::string_view key, const std::string& value, const std::string& where) {
  const Param* param = find_param_by_key(key);
  if (!param) {
    if (foreign(key))
      add(Severity::recommendation, where, fmt::format("{} of OpenVZ has no meaning here", key),
          Fix{std::string(key), ""});
    else
      add(Severity::warning, where, fmt::format("unknown key {}, kept and ignored", printable(key)));
    return;
  }
  auto checked = param_check_file(*param, value);
  if (checked) return;
  std::optional<Fix> fix;
  if (auto mended = lowered_barrier(*param, value)) fix = Fix{std::string(key), *mended};
  add(Severity::error, where, checked.error().message(), std::move(fix));
}

void Checker::vswap() {
  auto r = limit("PHYSPAGES"), s = limit("SWAPPAGES");
  // A bad value has been told already.
  bool ram_set = is_vswap(config_);
  if (!ram_set && !(seen_.contains("PHYSPAGES") && !r))
    add(Severity::error, "PHYSPAGES", "RAM has no limit, and swap has meaning only together with it: set --ram");
  if (!s && !seen_.contains("SWAPPAGES"))
    add(Severity::error, "SWAPPAGES", "swap is not set; RAM and swap belong together", Fix{"SWAPPAGES", "0:0"});
  if (!ram_set) return;
  ram(r->limit);
  if (!s) return;
  std::uint64_t both = s->limit > kNone - r->limit ? kNone : r->limit + s->limit;
  secondary(r->limit, both);
}

void Checker::ram(std::uint64_t pages) {
  std::uint64_t bytes = pages * kPage;
  if (bytes < kMiB)
    add(Severity::error, "PHYSPAGES", fmt::format("{} bytes of RAM are not enough for any container", bytes));
  else if (bytes < 16 * kMiB)
    add(Severity::warning, "PHYSPAGES", fmt::format("{} KiB of RAM are hardly enough to boot", bytes / 1024));
  if (options_.host_ram && bytes > options_.host_ram)
    add(Severity::warning, "PHYSPAGES",
        fmt::format("RAM {} MiB is more than this host's {} MiB", bytes / kMiB, options_.host_ram / kMiB));
}

void Checker::below(const char* key, std::uint64_t most, const char* what, Severity severity, std::uint64_t new_limit) {
  auto l = limit(key);
  if (!l || l->barrier <= most || (l->barrier == kNone && severity != Severity::error)) return;
  add(severity, key, fmt::format("barrier {} is above {} ({})", shown(key, l->barrier), what, shown(key, most)),
      set_limit(key, {most, new_limit}));
}

void Checker::secondary(std::uint64_t ram, std::uint64_t both) {
  below("VMGUARPAGES", both, "RAM + swap, which can never be had", Severity::error, kNone);
  below("OOMGUARPAGES", both, "RAM + swap", Severity::warning, kNone);
  below("LOCKEDPAGES", ram, "the RAM", Severity::warning, ram);
  below("SHMPAGES", both, "RAM + swap", Severity::warning, both);
  auto privvm = limit("PRIVVMPAGES");
  if (privvm && privvm->limit < ram)
    add(Severity::warning, "PRIVVMPAGES",
        fmt::format("limit {} is below the RAM ({}): mappings fail before the RAM is used",
                    shown("PRIVVMPAGES", privvm->limit), shown("PRIVVMPAGES", ram)));
  auto overcommit = config_.real("VM_OVERCOMMIT");
  if (privvm && privvm->limit != kNone && overcommit && *overcommit > 0)
    add(Severity::warning, "VM_OVERCOMMIT", "PRIVVMPAGES is set, too, and is the one that counts");
  if (overcommit && *overcommit > 0 && *overcommit < 1)
    add(Severity::warning, "VM_OVERCOMMIT",
        fmt::format("{:g} lets processes map less than RAM and swap can hold", *overcommit));
  auto kmem = limit("KMEMSIZE");
  if (kmem && kmem->limit != kNone && kmem->limit / kPage > ram)
    add(Severity::recommendation, "KMEMSIZE", "limit is above the RAM, which counts kernel memory, too");
}

void Checker::ubc() {
  std::size_t set = 0;
  for (const char* key : kUbcKeys) set += seen_.contains(key);
  if (set < 3 && !options_.vswap)
    return add(Severity::error, "PHYSPAGES",
               "neither RAM and swap nor the beancounters of before VSwap are set: memory has no limit; set --ram and "
               "--swap");
  for (const char* key : kUbcKeys)
    if (!seen_.contains(key)) add(Severity::error, key, "not set, and a configuration without RAM and swap needs it");
  add(Severity::warning, "PHYSPAGES",
      "this is a configuration of before VSwap (UBC): vz limits RAM and swap, which are not set here, and not all "
      "beancounters");
  auto oom = limit("OOMGUARPAGES"), privvm = limit("PRIVVMPAGES");
  if (oom && privvm && oom->barrier != kNone && privvm->limit != kNone && oom->barrier > 0)
    add(Severity::recommendation, "PHYSPAGES",
        fmt::format("about the same with VSwap: --ram {}P --swap {}P", oom->barrier,
                    privvm->limit > oom->barrier ? privvm->limit - oom->barrier : 0));
  auto vmguar = limit("VMGUARPAGES");
  if (vmguar && privvm && vmguar->barrier > privvm->barrier)
    add(Severity::error, "VMGUARPAGES",
        fmt::format("barrier {} is above that of PRIVVMPAGES ({})", vmguar->barrier, privvm->barrier),
        set_limit("VMGUARPAGES", {privvm->barrier, std::max(privvm->barrier, vmguar->limit)}));
}

void Checker::processes() {
  auto most = limit("NUMPROC"), average = limit("AVNUMPROC");
  if (most && most->limit < 8)
    add(Severity::error, "NUMPROC", fmt::format("{} processes are not enough to boot", most->limit));
  if (most && most->barrier != most->limit)
    add(Severity::recommendation, "NUMPROC", "barrier and limit should be the same; the limit counts",
        set_limit("NUMPROC", {most->limit, most->limit}));
  if (most && average && average->barrier > most->barrier)
    add(ubc_rule(), "AVNUMPROC",
        fmt::format("{} is above the barrier of NUMPROC ({})", average->barrier, most->barrier),
        set_limit("AVNUMPROC", {most->barrier, most->barrier}));
}

// Between barrier and limit there must be 2.5 KiB for each socket, so that none of them stalls for ever.
void Checker::buffer(const char* key, const char* sockets) {
  auto space = limit(key), count = limit(sockets);
  if (!space || !count || space->limit == kNone || count->limit >= (std::uint64_t{1} << 40)) return;
  std::uint64_t gap = count->limit * 2560;
  if (space->limit - space->barrier >= gap || space->barrier > kNone - gap) return;
  add(ubc_rule(), key,
      fmt::format("limit - barrier is {}, less than 2.5 KiB for each of {}'s {}", space->limit - space->barrier,
                  sockets, count->limit),
      set_limit(key, {space->barrier, space->barrier + gap}));
}

void Checker::buffers() {
  buffer("TCPSNDBUF", "NUMTCPSOCK");
  buffer("TCPRCVBUF", "NUMTCPSOCK");
  buffer("OTHERSOCKBUF", "NUMOTHERSOCK");
  constexpr std::uint64_t kDatagram = 129 * 1024;
  auto datagram = limit("DGRAMRCVBUF");
  if (datagram && datagram->barrier < kDatagram)
    add(Severity::recommendation, "DGRAMRCVBUF", "less than one datagram of 129 KiB fits",
        set_limit("DGRAMRCVBUF", {kDatagram, std::max(kDatagram, datagram->limit)}));
}

void Checker::files() {
  auto files = limit("NUMFILE"), dcache = limit("DCACHESIZE"), kmem = limit("KMEMSIZE"), average = limit("AVNUMPROC");
  constexpr std::uint64_t kSane = std::uint64_t{1} << 40;
  bool bounded = average && average->barrier < kSane;
  if (files && bounded && files->barrier < average->barrier * 32)
    add(Severity::recommendation, "NUMFILE", "less than 32 files for each process of AVNUMPROC");
  if (dcache && files && files->barrier < kSane && dcache->barrier < files->barrier * 384)
    add(Severity::recommendation, "DCACHESIZE", "less than 384 bytes for each of NUMFILE's files");
  if (!kmem || !dcache || !bounded || dcache->limit >= kSane || kmem->barrier == kNone) return;
  std::uint64_t need = average->barrier * 40960 + dcache->limit;
  if (kmem->barrier < need)
    add(ubc_rule(), "KMEMSIZE",
        fmt::format("barrier {} is below {}: 40 KiB for each of AVNUMPROC's processes and the limit of DCACHESIZE",
                    kmem->barrier, need),
        set_limit("KMEMSIZE", {need, std::max(need, kmem->limit)}));
}

void Checker::other() {
  if (seen_.contains("NODEMASK") && !seen_.contains("CPUMASK")) add(Severity::error, "NODEMASK", "needs CPUMASK, too");
  auto space = limit("DISKSPACE");
  if (space && space->limit == 0) add(Severity::error, "DISKSPACE", "a file system of no size cannot be made");
  auto inodes = limit("DISKINODES");
  if (inodes && inodes->limit < 16) add(Severity::error, "DISKINODES", "not enough files for a file system");
}

}  // namespace

std::size_t Validation::errors() const {
  return static_cast<std::size_t>(
      std::count_if(findings.begin(), findings.end(), [](const Finding& f) { return f.severity == Severity::error; }));
}

Validation validate_config(std::string_view text, const std::string& name, const ValidateOptions& options) {
  return Checker(text, name, options).run();
}

void apply_fix(Config& config, const Fix& fix) {
  if (fix.value.empty())
    config.unset(fix.key);
  else
    config.set(fix.key, fix.value);
}

}  // namespace vz
