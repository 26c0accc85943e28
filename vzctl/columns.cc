// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/columns.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>
#include <vz/memory_report.h>

namespace vzctl {
namespace {

using Number = std::optional<std::uint64_t>;
using vz::Host;

Cell unset() { return {"-", Value()}; }
Cell text_cell(const std::optional<std::string>& text) { return text && !text->empty() ? Cell{*text, *text} : unset(); }
Cell number_cell(Number n) { return n ? Cell{std::to_string(*n), *n} : unset(); }
Cell yes_no_cell(std::optional<bool> b) { return b ? Cell{*b ? "yes" : "no", *b} : unset(); }
Number divided(Number n, std::uint64_t by) { return n ? Number(*n / by) : n; }

Value number_value(Number n) { return n ? Value(*n) : Value(); }

// The five numbers of a beancounter in its own unit.
struct Counter {
  Number held, maxheld, barrier, limit, failcnt;
};

Number part_of(const Counter& c, Part part) {
  const Number all[] = {c.held, c.maxheld, c.barrier, c.limit, c.failcnt};
  return all[static_cast<size_t>(part)];
}

// What a running container has; one that does not run has what its configuration says.
Counter counter_of(const ListItem& item, const vz::UbResource& row) {
  if (item.info.status.running) {
    const vz::UbCounter& c = item.ub[row.id];
    return {c.held, c.maxheld, c.barrier, c.limit, c.failcnt};
  }
  auto limit = vz::effective_limit(item.info.config, row.key);
  return {{}, {}, limit ? Number(limit->barrier) : Number(), limit ? Number(limit->limit) : Number(), {}};
}

template <vz::Ub Row>
Cell beancounter(const Host&, const ListItem& item, Part part) {
  Counter c = counter_of(item, vz::ub_resource(Row));
  Number shown = part_of(c, part);
  return {shown ? std::to_string(*shown) : "-", Value::Object{{"held", number_value(c.held)},
                                                              {"maxheld", number_value(c.maxheld)},
                                                              {"barrier", number_value(c.barrier)},
                                                              {"limit", number_value(c.limit)},
                                                              {"failcnt", number_value(c.failcnt)}}};
}

// usage, soft and hard limit; .s is barrier and .h is limit.
Cell quota_cell(const ListItem& item, const char* key, Number usage, Part part) {
  auto conf = item.info.config.limit(key);
  Number soft = conf ? Number(conf->barrier) : Number(), hard = conf ? Number(conf->limit) : Number();
  Number shown = part == Part::barrier ? soft : part == Part::limit ? hard : usage;
  return {shown ? std::to_string(*shown) : "-",
          Value::Object{
              {"usage", number_value(usage)}, {"softlimit", number_value(soft)}, {"hardlimit", number_value(hard)}}};
}
Cell diskspace(const Host&, const ListItem& i, Part part) {
  return quota_cell(i, "DISKSPACE", divided(i.sample.disk_used, 1024), part);
}
Cell diskinodes(const Host&, const ListItem& i, Part part) {
  return quota_cell(i, "DISKINODES", i.sample.inodes_used, part);
}

template <const char* const& Key>
Cell conf_text(const Host&, const ListItem& item, Part) {
  return text_cell(item.info.config.get(Key));
}
template <const char* const& Key>
Cell conf_number(const Host&, const ListItem& item, Part) {
  return number_cell(item.info.config.number(Key));
}
template <const char* const& Key>
Cell conf_yes_no(const Host&, const ListItem& item, Part) {
  return yes_no_cell(item.info.config.yes_no(Key));
}
template <const char* const& Key>
Cell conf_words(const Host&, const ListItem& item, Part) {
  std::string text;
  Value::List list;
  for (const std::string& word : item.info.config.words(Key)) {
    text += (text.empty() ? "" : " ") + word;
    list.push_back(word);
  }
  return {text.empty() ? "-" : text, std::move(list)};
}

Cell ctid(const Host&, const ListItem& i, Part) { return number_cell(i.info.id.value()); }
Cell private_area(const Host& host, const ListItem& i, Part) {
  return text_cell(host.private_path(i.info.id, i.info.config));
}
Cell root_area(const Host& host, const ListItem& i, Part) {
  return text_cell(host.root_path(i.info.id, i.info.config));
}
Cell smart_name(const Host&, const ListItem& i, Part) {
  auto name = i.info.config.get("NAME");
  return text_cell(name && !name->empty() ? *name : i.info.id.str());
}
Cell status(const Host&, const ListItem& i, Part) {
  std::string word(status_word(i.info.status));
  const vz::Status& s = i.info.status;
  return {word, word, s.running ? Tone::good : s.mounted || s.suspended ? Tone::weak : Tone::plain};
}
Cell laverage(const Host&, const ListItem& i, Part) {
  const auto& load = i.sample.load;
  if (!load[0] || !load[1] || !load[2]) return unset();
  return {fmt::format("{:.2f}/{:.2f}/{:.2f}", *load[0], *load[1], *load[2]), Value::List{*load[0], *load[1], *load[2]}};
}
Cell uptime(const Host&, const ListItem& i, Part) {
  if (!i.info.uptime_ns) return unset();
  std::uint64_t s = *i.info.uptime_ns / 1000000000;
  return {fmt::format("{:03}d{:02}h:{:02}m:{:02}s", s / 86400, s / 3600 % 24, s / 60 % 60, s % 60), s};
}
Cell vswap(const Host&, const ListItem& i, Part) {
  auto ram = i.info.config.limit("PHYSPAGES");
  return yes_no_cell(ram && ram->limit != vz::Limit::kUnlimited);
}
Cell vm_overcommit(const Host&, const ListItem& i, Part) {
  auto factor = i.info.config.real("VM_OVERCOMMIT");
  return factor ? Cell{fmt::format("{:g}", *factor), *factor} : unset();
}

// Template arguments must have a name with linkage.
#define KEY(name) constexpr const char* k##name = #name
KEY(MOUNT_OPTS);
KEY(ORIGIN_SAMPLE);
KEY(HOSTNAME);
KEY(NAME);
KEY(DESCRIPTION);
KEY(OSTEMPLATE);
KEY(IP_ADDRESS);
KEY(NAMESERVER);
KEY(SEARCHDOMAIN);
KEY(CPULIMIT);
KEY(CPUUNITS);
KEY(CPUS);
KEY(CPUMASK);
KEY(NODEMASK);
KEY(IOPRIO);
KEY(IOLIMIT);
KEY(IOPSLIMIT);
KEY(ONBOOT);
KEY(BOOTORDER);
KEY(VE_LAYOUT);
KEY(FEATURES);
KEY(DISABLED);
KEY(NETFILTER);
KEY(CAPABILITY);
KEY(NETIF);
#undef KEY

using CellFunction = Cell (*)(const Host&, const ListItem&, Part);

constexpr ColumnSpec plain(const char* name, const char* header, int width, CellFunction cell, bool numeric = false) {
  return {name, nullptr, header, width, ColumnKind::plain, cell, numeric};
}
template <vz::Ub Row>
constexpr ColumnSpec counter_column(const char* name, const char* header) {
  return {name, nullptr, header, 10, ColumnKind::beancounter, beancounter<Row>, true, Row};
}
constexpr ColumnSpec quota_column(const char* name, const char* header, CellFunction cell) {
  return {name, nullptr, header, 10, ColumnKind::quota, cell, true};
}

constexpr ColumnSpec kColumns[] = {
    {"ctid", "veid", "CTID", 10, ColumnKind::plain, ctid, true},
    plain("private", "PRIVATE", -32, private_area),
    plain("root", "ROOT", -32, root_area),
    plain("mount_opts", "MOUNT_OPTS", -16, conf_text<kMOUNT_OPTS>),
    plain("origin_sample", "ORIGIN_SAMPLE", 32, conf_text<kORIGIN_SAMPLE>),
    plain("hostname", "HOSTNAME", -32, conf_text<kHOSTNAME>),
    plain("name", "NAME", -32, conf_text<kNAME>),
    plain("smart_name", "SMARTNAME", 10, smart_name),
    plain("description", "DESCRIPTION", -32, conf_text<kDESCRIPTION>),
    plain("ostemplate", "OSTEMPLATE", -32, conf_text<kOSTEMPLATE>),
    plain("ip", "IP_ADDR", -15, conf_words<kIP_ADDRESS>),
    plain("nameserver", "NAMESERVER", -15, conf_words<kNAMESERVER>),
    plain("searchdomain", "SEARCHDOMAIN", -15, conf_words<kSEARCHDOMAIN>),
    plain("status", "STATUS", -9, status),
    counter_column<vz::Ub::kmemsize>("kmemsize", "KMEMSIZE"),
    counter_column<vz::Ub::lockedpages>("lockedpages", "LOCKEDP"),
    counter_column<vz::Ub::privvmpages>("privvmpages", "PRIVVMP"),
    counter_column<vz::Ub::shmpages>("shmpages", "SHMP"),
    counter_column<vz::Ub::numproc>("numproc", "NPROC"),
    counter_column<vz::Ub::physpages>("physpages", "PHYSP"),
    counter_column<vz::Ub::vmguarpages>("vmguarpages", "VMGUARP"),
    counter_column<vz::Ub::oomguarpages>("oomguarpages", "OOMGUARP"),
    counter_column<vz::Ub::numtcpsock>("numtcpsock", "NTCPSOCK"),
    counter_column<vz::Ub::numflock>("numflock", "NFLOCK"),
    counter_column<vz::Ub::numpty>("numpty", "NPTY"),
    counter_column<vz::Ub::numsiginfo>("numsiginfo", "NSIGINFO"),
    counter_column<vz::Ub::tcpsndbuf>("tcpsndbuf", "TCPSNDB"),
    counter_column<vz::Ub::tcprcvbuf>("tcprcvbuf", "TCPRCVB"),
    counter_column<vz::Ub::othersockbuf>("othersockbuf", "OTHSOCKB"),
    counter_column<vz::Ub::dgramrcvbuf>("dgramrcvbuf", "DGRAMRB"),
    counter_column<vz::Ub::numothersock>("numothersock", "NOTHSOCK"),
    counter_column<vz::Ub::dcachesize>("dcachesize", "DCACHESZ"),
    counter_column<vz::Ub::numfile>("numfile", "NFILE"),
    counter_column<vz::Ub::numiptent>("numiptent", "NIPTENT"),
    counter_column<vz::Ub::swappages>("swappages", "SWAPP"),
    quota_column("diskspace", "DSPACE", diskspace),
    quota_column("diskinodes", "DINODES", diskinodes),
    plain("laverage", "LAVERAGE", 14, laverage, true),
    plain("uptime", "UPTIME", 15, uptime, true),
    plain("cpulimit", "CPULIM", 7, conf_number<kCPULIMIT>, true),
    plain("cpuunits", "CPUUNI", 7, conf_number<kCPUUNITS>, true),
    plain("cpus", "CPUS", 5, conf_number<kCPUS>, true),
    plain("ioprio", "IOP", 3, conf_number<kIOPRIO>, true),
    plain("iolimit", "IOLIMIT", 10, conf_number<kIOLIMIT>, true),
    plain("iopslimit", "IOPS", 4, conf_number<kIOPSLIMIT>, true),
    plain("onboot", "ONBOOT", 6, conf_yes_no<kONBOOT>),
    plain("bootorder", "BOOTORDER", 10, conf_number<kBOOTORDER>, true),
    plain("layout", "LAYOUT", 6, conf_text<kVE_LAYOUT>),
    plain("features", "FEATURES", -15, conf_text<kFEATURES>),
    plain("vswap", "VSWAP", 5, vswap),
    plain("disabled", "DISABL", 6, conf_yes_no<kDISABLED>),
    plain("vm_overcommit", "VM_OVC", 6, vm_overcommit, true),
    plain("netfilter", "NETFILTER", -9, conf_text<kNETFILTER>),
    plain("capability", "CAPABILITY", -15, conf_text<kCAPABILITY>),
    plain("cpumask", "CPUMASK", -15, conf_text<kCPUMASK>),
    plain("nodemask", "NODEMASK", -15, conf_text<kNODEMASK>),
    plain("netif", "NETIF", -32, conf_text<kNETIF>),
};

std::optional<Part> part_from(ColumnKind kind, std::string_view suffix) {
  if (kind == ColumnKind::beancounter) {
    if (suffix == "m") return Part::maxheld;
    if (suffix == "b") return Part::barrier;
    if (suffix == "l") return Part::limit;
    if (suffix == "f") return Part::failcnt;
  }
  if (kind == ColumnKind::quota) {
    if (suffix == "s") return Part::barrier;
    if (suffix == "h") return Part::limit;
  }
  return {};
}

}  // namespace

std::span<const ColumnSpec> column_specs() { return kColumns; }

std::optional<ColumnChoice> find_column(std::string_view name) {
  std::string_view base = name.substr(0, name.find('.'));
  std::string_view wanted = base == "vpsid" ? "ctid" : base;
  auto spec = std::find_if(std::begin(kColumns), std::end(kColumns),
                           [&](const ColumnSpec& c) { return wanted == c.name || (c.alias && wanted == c.alias); });
  if (spec == std::end(kColumns)) return {};
  ColumnChoice out{&*spec, Part::held, std::string(name), base.size() != name.size()};
  if (out.suffixed) {
    auto part = part_from(spec->kind, name.substr(base.size() + 1));
    if (!part) return {};
    out.part = *part;
  }
  return out;
}

vz::UbParts needed_counters(const ColumnChoice& choice, bool whole) {
  vz::UbParts out;
  if (choice.spec->kind != ColumnKind::beancounter) return out;
  for (Part part : {Part::held, Part::maxheld, Part::barrier, Part::limit, Part::failcnt})
    if (whole || part == choice.part) out.add(choice.spec->row, static_cast<vz::UbPart>(part));
  return out;
}

bool needs_disk(const ColumnChoice& choice, bool whole) {
  return choice.spec->kind == ColumnKind::quota && (whole || choice.part == Part::held);
}

std::string_view status_word(const vz::Status& s) {
  return s.running ? "running" : s.mounted ? "mounted" : s.suspended ? "suspended" : "stopped";
}

}  // namespace vzctl
