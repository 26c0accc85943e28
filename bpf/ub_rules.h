/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules of packet filters in a network namespace, counted in the lists of nf_tables and x_tables. Both are modules: who
 * is not loaded when this program is, is not known to it.
 */
#ifndef UB_RULES_H
#define UB_RULES_H

#include "vz_common.h"

#define MOST_RULES (1 << 20) /* of one namespace, tables and chains included */
#define NFPROTO_IPV4 2
#define NFPROTO_IPV6 10

extern const void nf_tables_net_id __ksym __weak;
extern const void xt_pernet_id __ksym __weak;

static __always_inline bool knows_nft(void) { return &nf_tables_net_id && bpf_core_type_exists(struct nft_chain); }
static __always_inline bool knows_xt(void) { return &xt_pernet_id && bpf_core_type_exists(struct xt_pernet); }

/* Always 0, which the verifier does not know: it would follow a count from a known number on, value by value. */
static volatile __u64 from_nothing;

/* Where a walk is: the tables, the chains of one, the rules of one of these. */
struct rules {
  __u64 tables, table, chains, chain, rules, rule, count;
};

static __always_inline __u64 next_of(__u64 at) { return (__u64)BPF_CORE_READ((struct list_head*)at, next); }

static __always_inline bool step(__u64* at, __u64 head) {
  __u64 next = next_of(*at);

  *at = next;
  return next && next != head;
}

static long count_rule(__u64 number, struct rules* walk) {
  if (walk->rules) {
    if (step(&walk->rule, walk->rules))
      walk->count++;
    else
      walk->rules = 0;
    return 0;
  }
  if (walk->chains) {
    if (!step(&walk->chain, walk->chains)) {
      walk->chains = 0;
      return 0;
    }
    walk->rules =
        walk->chain - bpf_core_field_offset(struct nft_chain, list) + bpf_core_field_offset(struct nft_chain, rules);
    walk->rule = walk->rules;
    return 0;
  }
  if (!step(&walk->table, walk->tables)) return 1;
  walk->chains =
      walk->table - bpf_core_field_offset(struct nft_table, list) + bpf_core_field_offset(struct nft_table, chains);
  walk->chain = walk->chains;
  return 0;
}

/* What a module keeps for the namespace. */
static __always_inline __u64 pernet(struct net* net, const void* id) {
  __u64 generic = (__u64)BPF_CORE_READ(net, gen), found = 0;
  __u32 index = 0;

  bpf_probe_read_kernel(&index, sizeof(index), id);
  if (index && generic) bpf_probe_read_kernel(&found, sizeof(found), (void*)(generic + 8 * (__u64)index));
  return found;
}

static __always_inline __u64 nft_rules(struct net* net) {
  struct rules walk = {.count = from_nothing};

  if (!knows_nft()) return 0;
  walk.tables = pernet(net, &nf_tables_net_id);
  if (!walk.tables) return 0;
  walk.tables += bpf_core_field_offset(struct nftables_pernet, tables);
  walk.table = walk.tables;
  bpf_loop(MOST_RULES, count_rule, &walk, 0);
  return walk.count;
}

#define MOST_TABLES 64

struct tables {
  __u64 head, at, entries;
};

static long add_table(__u64 number, struct tables* walk) {
  struct xt_table* table;

  if (!step(&walk->at, walk->head)) return 1;
  table = (void*)(walk->at - bpf_core_field_offset(struct xt_table, list));
  walk->entries += BPF_CORE_READ(table, private, number);
  return 0;
}

static __always_inline __u64 xt_entries(struct net* net, __u32 family) {
  struct tables walk = {.head = pernet(net, &xt_pernet_id)};

  if (!walk.head) return 0;
  walk.head += 16 * family; /* struct xt_pernet begins with a list for each */
  walk.at = walk.head;
  bpf_loop(MOST_TABLES, add_table, &walk, 0);
  return walk.entries;
}

static __always_inline __u64 rules_of(struct net* net) {
  __u64 sum = nft_rules(net);

  if (knows_xt()) sum += xt_entries(net, NFPROTO_IPV4) + xt_entries(net, NFPROTO_IPV6);
  return sum;
}

/* Messages that ask for a new rule, in what is sent to nfnetlink ----------------------------------------------------
 */

#define NETLINK_NETFILTER 12
#define NFT_NEWRULE (10 << 8 | 6) /* NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWRULE */
#define MOST_MESSAGES (1 << 16)

struct messages {
  __u64 at, end, rules;
};

static long count_new_rule(__u64 number, struct messages* walk) {
  struct {
    __u32 length;
    __u16 type;
  } header = {};

  if (walk->at + 16 > walk->end || bpf_probe_read_kernel(&header, sizeof(header), (void*)walk->at)) return 1;
  if (header.length < 16) return 1;
  if (header.type == NFT_NEWRULE) walk->rules++;
  walk->at += (header.length + 3) & ~3u;
  return 0;
}

static __always_inline __u64 new_rules(__u64 messages, __u32 length) {
  struct messages walk = {.at = messages, .end = messages + length, .rules = from_nothing};

  bpf_loop(MOST_MESSAGES, count_new_rule, &walk, 0);
  return walk.rules;
}

#endif /* UB_RULES_H */
