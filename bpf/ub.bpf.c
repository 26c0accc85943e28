// SPDX-License-Identifier: GPL-2.0-only
/*
 * Beancounters: which kernel objects a container holds, and up to how many it may.
 *
 * An object is known by its address in one of the maps vz_ub_file, vz_ub_sock, …, with who pays for it. Whoever puts
 * the entry there charges, whoever takes it away gives back: every program here may run twice for the same event, and
 * during an upgrade, when the old and the new ones are attached, they do. What is in no map was there before us, or
 * belongs to nobody: its end changes nothing. Pages of shared memory (ub_shm.h) are amounts, which must not be charged
 * twice: these programs alone look at whether they are the ones that act.
 *
 * A program that gives back must not be left out, or the count drifts. The kernel leaves out tracing programs (fentry,
 * fexit, fmod_ret) on a CPU where another task is suspended in the same program, never those of LSM hooks.
 */
#include "vz_common.h"

#include "ub_charge.h"
#include "ub_events.h"
#include "ub_group.h"
#include "ub_rules.h"
#include "ub_shm.h"

char LICENSE[] SEC("license") = "GPL";

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262

#define F_UNLCK 2
#define F_SETLEASE 1024
#define FUSE_SUPER_MAGIC 0x65735546
#define TS_COMPAT 2 /* arch/x86/include/asm/thread_info.h */
#define PTMX_DEV ((5 << 20) | 2)
/* include/linux/gfp_types.h, the same in 6.12 and 7.2: allocations that may wait are made by tasks, for themselves */
#define GFP_DIRECT_RECLAIM 0x400u

/* numfile ------------------------------------------------------------------------------------------------------- */

SEC("lsm/file_free_security")
int BPF_PROG(ub_file_free, struct file* file) {
  disown(&vz_ub_file, (__u64)file);
  return 0;
}

static __always_inline int charge_file(struct file* file) {
  __u64 container = current_home(), object = (__u64)file;

  if (!container || bpf_map_lookup_elem(&vz_ub_file, &object)) return 0;
  return own(&vz_ub_file, object, container, VZ_UB_NUMFILE, HARD) ? 0 : -ENFILE;
}

SEC("?lsm/file_alloc_security")
int BPF_PROG(ub_file_charge, struct file* file, int ret) { return ret ? ret : charge_file(file); }

/*
 * Where that hook is closed to us (7.2) two kinds of programs share its work: one that is never left out, but cannot
 * refuse, decides and counts; others do what it said. These may be left out where another task is suspended in them, so
 * they are short, and there are three of them. Not even then is a file lost that the container may have.
 */
#define REFUSED VZ_UB_RESOURCES /* in place of a row */

SEC("?kprobe.multi/security_file_alloc")
int ub_file_before(struct pt_regs* ctx) {
  __u64 container = current_home(), object = ctx->di;
  struct owner refused = {container, REFUSED, 0};

  if (!container || bpf_map_lookup_elem(&vz_ub_file, &object)) return 0;
  if (!own(&vz_ub_file, object, container, VZ_UB_NUMFILE, HARD)) remember(&vz_ub_file, &object, &refused);
  return 0;
}

static __always_inline int end_refused(struct owner* owner, struct file* file) {
  __u64 object = (__u64)file;

  return owner->row == REFUSED && forget(&vz_ub_file, &object) ? -ENFILE : 0;
}

#define REFUSE_FILE(name, otherwise)                                 \
  SEC("?fmod_ret/security_file_alloc")                               \
  int BPF_PROG(name, struct file* file, int ret) {                   \
    __u64 object = (__u64)file;                                      \
    struct owner* owner = bpf_map_lookup_elem(&vz_ub_file, &object); \
                                                                     \
    if (ret) return ret;                                             \
    return owner ? end_refused(owner, file) : otherwise;             \
  }

REFUSE_FILE(ub_file_refuse1, charge_file(file)) /* should the one above be missing */
REFUSE_FILE(ub_file_refuse2, 0)
REFUSE_FILE(ub_file_refuse3, 0)

/* numtcpsock, numothersock ---------------------------------------------------------------------------------------- */

SEC("lsm/sk_free_security")
int BPF_PROG(ub_sock_free, struct sock* sk) {
  disown(&vz_ub_sock, (__u64)sk);
  return 0;
}

static __always_inline int no_socket(int family) {
  return family == AF_UNIX || family == AF_NETLINK ? -ENOMEM : -ENOBUFS;
}

static __always_inline __u32 row_of(struct sock* sk, int family) {
  bool inet = family == AF_INET || family == AF_INET6;
  bool tcp = sk->sk_protocol == IPPROTO_TCP || sk->sk_protocol == IPPROTO_MPTCP;

  return inet && sk->sk_type == SOCK_STREAM && tcp ? VZ_UB_NUMTCPSOCK : VZ_UB_NUMOTHERSOCK;
}

SEC("lsm/socket_post_create")
int BPF_PROG(ub_sock_create, struct socket* sock, int family, int type, int protocol, int kern, int ret) {
  struct sock* sk = sock->sk;
  __u64 container;

  if (ret || kern || !sk) return ret;
  container = current_home();
  if (!container) return 0;
  return own(&vz_ub_sock, (__u64)sk, container, row_of(sk, family), HARD) ? 0 : no_socket(family);
}

/* The server's end of a new connection: the server pays, unless it is nobody's. */
SEC("lsm/unix_stream_connect")
int BPF_PROG(ub_sock_unix, struct sock* sk, struct sock* other, struct sock* newsk, int ret) {
  __u64 listener = (__u64)other;
  struct owner* owner;
  __u64 container;

  if (ret) return ret;
  owner = bpf_map_lookup_elem(&vz_ub_sock, &listener);
  container = owner ? owner->container : current_home();
  if (!container) return 0;
  return own(&vz_ub_sock, (__u64)newsk, container, VZ_UB_NUMOTHERSOCK, HARD) ? 0 : -ENOMEM;
}

/*
 * A connection that came over the network: its socket is made in an interrupt, as a copy of the listener's. Whoever
 * makes it says for whom, and the first allocation that comes next on this CPU may be refused; the client tries again.
 */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} vz_ub_listener SEC(".maps");

static __always_inline __u64* this_listener(void) {
  __u32 index = 0;

  return bpf_map_lookup_elem(&vz_ub_listener, &index);
}

/* Bottom halves are off: nobody is ever suspended in here, and so this program is never left out. */
SEC("fentry/inet_csk_clone_lock")
int BPF_PROG(ub_sock_listener, struct sock* sk) {
  __u64 listener = (__u64)sk;
  struct owner* owner = bpf_map_lookup_elem(&vz_ub_sock, &listener);
  __u64* here = this_listener();

  if (here) *here = owner ? owner->container : 0;
  return 0;
}

SEC("lsm/sk_alloc_security")
int BPF_PROG(ub_sock_alloc, struct sock* sk, int family, unsigned int priority, int ret) {
  __u64 *here, container;

  if (ret || priority & GFP_DIRECT_RECLAIM) return ret;
  here = this_listener();
  if (!here || !*here) return 0;
  container = *here;
  *here = 0;
  return own(&vz_ub_sock, (__u64)sk, container, VZ_UB_NUMTCPSOCK, HARD) ? 0 : -ENOMEM;
}

/* All other copies, and those that the program above missed: too late to refuse. */
SEC("lsm/sk_clone_security")
int BPF_PROG(ub_sock_clone, struct sock* sk, struct sock* newsk) {
  __u64 parent = (__u64)sk, child = (__u64)newsk;
  struct owner* owner = bpf_map_lookup_elem(&vz_ub_sock, &parent);
  __u32 row;

  if (!owner || bpf_map_lookup_elem(&vz_ub_sock, &child)) return 0;
  row = owner->row;
  if (row < VZ_UB_RESOURCES) own(&vz_ub_sock, child, owner->container, row, FORCE);
  return 0;
}

/* What a task has begun and not finished --------------------------------------------------------------------------- */

struct begun {
  __u64 lock_container;   /* pays for a lock that is not there yet */
  __u64 pty_file;         /* pays for a terminal that is not there yet */
  __u64 signal_container; /* pays for a signal that is not in its queue yet */
  int signal, pad;
};

struct {
  __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct begun);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_begun SEC(".maps");

static __always_inline struct begun* begun(__u64 flags) {
  return bpf_task_storage_get(&vz_ub_begun, bpf_get_current_task_btf(), NULL, flags);
}

/* numflock ----------------------------------------------------------------------------------------------------------
 */

static __always_inline void forget_lock(struct begun* mine) {
  __u64 container = mine->lock_container;

  mine->lock_container = 0;
  if (container) uncharge(container, VZ_UB_NUMFLOCK);
}

/* A lock that was in a list is unlinked under a spinlock, in which no task is suspended. */
SEC("?fentry/locks_unlink_lock_ctx")
int BPF_PROG(ub_flock_unlink, struct file_lock_core* lock) {
  disown(&vz_ub_flock, (__u64)lock - bpf_core_field_offset(struct file_lock, c));
  return 0;
}

/*
 * Every lock ends here, also those that never came into a list: the request itself, what was allocated in advance.
 * Then what was asked for is there or will not be. (locks_free_lock() is put into its callers by the compiler.)
 */
SEC("kprobe.multi/locks_release_private")
int ub_flock_free(struct pt_regs* ctx) {
  __u64 lock = ctx->di;
  struct begun* mine;

  if (bpf_map_lookup_elem(&vz_ub_flock, &lock)) {
    disown(&vz_ub_flock, lock);
    return 0;
  }
  mine = begun(0);
  if (mine && mine->lock_container) forget_lock(mine);
  return 0;
}

/*
 * File systems that keep locks themselves (NFS, CIFS) make copies that we cannot tell from locks. FUSE does not, and
 * containers may mount it.
 */
static __always_inline bool countable(struct file* file) {
  const struct file_operations* operations = BPF_CORE_READ(file, f_op);

  if (!BPF_CORE_READ(operations, lock) && !BPF_CORE_READ(operations, flock)) return true;
  return BPF_CORE_READ(file, f_inode, i_sb, s_magic) == FUSE_SUPER_MAGIC;
}

static __always_inline bool is_lease(void) {
  struct task_struct* task = bpf_get_current_task_btf();
  struct pt_regs* regs = (void*)bpf_task_pt_regs(task);
  int number = (int)regs->orig_ax;

  if (task->thread_info.status & TS_COMPAT)
    return (number == 55 || number == 221) && (__u32)regs->cx == F_SETLEASE; /* fcntl, fcntl64 */
  return number == 72 && (__u32)regs->si == F_SETLEASE;
}

/* Unlocking the middle of a range makes a lock more; a container at its limit must be able to unlock, though. */
static __always_inline int may_unlock(__u64 container) {
  struct vz_ub* ub = bpf_map_lookup_elem(&vz_ub, &container);
  __u64 bound = bound_of(container, VZ_UB_NUMFLOCK, SOFT);

  if (!ub || ub->held[VZ_UB_NUMFLOCK] <= bound + bound / 8 + 16) return 0;
  refuse(ub, container, VZ_UB_NUMFLOCK);
  return -ENOLCK;
}

/* Asks before the lock is made. Whether one will be is not known: it may merge with others, or conflict. */
SEC("lsm/file_lock")
int BPF_PROG(ub_flock_ask, struct file* file, unsigned int type, int ret) {
  struct begun* mine;
  struct vz_ub* ub;
  __u64 container;

  if (ret) return ret;
  container = current_home();
  if (!container || !countable(file) || is_lease()) return 0;
  if (type == F_UNLCK) return may_unlock(container);
  ub = bpf_map_lookup_elem(&vz_ub, &container);
  mine = begun(BPF_LOCAL_STORAGE_GET_F_CREATE);
  if (!ub || !mine) return 0;
  if (mine->lock_container == container) return 0;
  forget_lock(mine);
  if (!charge(ub, container, VZ_UB_NUMFLOCK, bound_of(container, VZ_UB_NUMFLOCK, HARD))) return -ENOLCK;
  mine->lock_container = container;
  return 0;
}

/* The moment that a lock gets into a list, under a spinlock. */
SEC("fentry/locks_copy_lock")
int BPF_PROG(ub_flock_charge, struct file_lock* lock, struct file_lock* request) {
  struct owner owner = {0, VZ_UB_NUMFLOCK, 0};
  __u64 object = (__u64)lock;
  struct begun* mine = begun(0);
  struct vz_ub* ub;

  if (mine && mine->lock_container) {
    owner.container = mine->lock_container;
    mine->lock_container = 0;
    if (!remember(&vz_ub_flock, &object, &owner)) return 0;
    uncharge(owner.container, VZ_UB_NUMFLOCK);
    ub = bpf_map_lookup_elem(&vz_ub, &owner.container);
    if (ub && !bpf_map_lookup_elem(&vz_ub_flock, &object)) __sync_fetch_and_add(&ub->uncounted, 1);
    return 0;
  }
  owner.container = current_home();
  if (owner.container && countable(request->c.flc_file))
    own(&vz_ub_flock, object, owner.container, VZ_UB_NUMFLOCK, FORCE);
  return 0;
}

/* numpty ------------------------------------------------------------------------------------------------------------
 */

/* The instance of devpts is at least that aligned, and an index is small. */
static __always_inline __u64 pty_key(__u64 instance, __u64 index) { return instance ^ (index << 48) ^ (index >> 16); }

SEC("kprobe.multi/devpts_kill_index")
int ub_pty_free(struct pt_regs* ctx) {
  disown(&vz_ub_pty, pty_key(ctx->di, (__u32)ctx->si));
  return 0;
}

/* Should the one above be left out: an interrupt within an interrupt, a bpf(2) call that was suspended. */
SEC("fentry/devpts_kill_index")
int ub_pty_kill(void* ctx) {
  __u64 instance = 0, index = 0; /* as numbers: the verifier lets nobody reckon with pointers */

  if (!bpf_get_func_arg(ctx, 0, &instance) && !bpf_get_func_arg(ctx, 1, &index))
    disown(&vz_ub_pty, pty_key(instance, (__u32)index));
  return 0;
}

/* Until the terminal has a number, the file pays for it. A file whose opening failed has no inode. */
SEC("lsm/file_free_security")
int BPF_PROG(ub_pty_file_free, struct file* file) {
  struct inode* inode = file->f_inode;

  if (!inode || inode->i_rdev == PTMX_DEV) disown(&vz_ub_pty, (__u64)file);
  return 0;
}

SEC("lsm/file_open")
int BPF_PROG(ub_pty_charge, struct file* file, int ret) {
  struct begun* mine;
  __u64 container;

  if (ret || file->f_inode->i_rdev != PTMX_DEV) return ret;
  container = current_home();
  if (!container) return 0;
  mine = begun(BPF_LOCAL_STORAGE_GET_F_CREATE);
  if (mine) mine->pty_file = (__u64)file;
  return own(&vz_ub_pty, (__u64)file, container, VZ_UB_NUMPTY, HARD) ? 0 : -ENOSPC;
}

SEC("kprobe.multi/devpts_pty_new")
int ub_pty_new(struct pt_regs* ctx) {
  __u64 terminal = pty_key(ctx->di, (__u32)ctx->si), file;
  struct begun* mine = begun(0);
  struct owner *owner, copy;

  if (!mine || !mine->pty_file) return 0;
  file = mine->pty_file;
  mine->pty_file = 0;
  owner = bpf_map_lookup_elem(&vz_ub_pty, &file);
  if (!owner) return 0;
  copy = *owner;
  disown(&vz_ub_pty, terminal); /* of one whose end was missed */
  if (!remember(&vz_ub_pty, &terminal, &copy)) forget(&vz_ub_pty, &file);
  return 0;
}

/* numsiginfo --------------------------------------------------------------------------------------------------------
 */

#define SIGRTMIN 32
#define SI_USER 0
#define MOST_SIGNALS 65536 /* of one queue */
#define BPF_TASK_ITER_ALL_THREADS 1

int bpf_iter_task_new(struct bpf_iter_task* iterator, struct task_struct* task, unsigned int flags) __ksym __weak;
struct task_struct* bpf_iter_task_next(struct bpf_iter_task* iterator) __ksym __weak;
void bpf_iter_task_destroy(struct bpf_iter_task* iterator) __ksym __weak;
void bpf_rcu_read_lock(void) __ksym __weak;
void bpf_rcu_read_unlock(void) __ksym __weak;

struct queue {
  struct list_head *head, *at;
  __u64 length;
};

static long count_signal(__u64 number, struct queue* queue) {
  struct list_head *at = queue->at, *next = BPF_CORE_READ(at, next);

  if (!next || next == queue->head) return 1;
  queue->at = next;
  queue->length++;
  return 0;
}

static __always_inline __u64 length_of(struct list_head* head) {
  struct queue queue = {head, head, 0};

  if (BPF_CORE_READ(head, next) != head) bpf_loop(MOST_SIGNALS, count_signal, &queue, 0);
  return queue.length;
}

static __always_inline __u64 signals_of(struct task_struct* task) {
  __u64 address = (__u64)task, group = (__u64)BPF_CORE_READ(task, signal), own;

  own = length_of((struct list_head*)(address + bpf_core_field_offset(struct task_struct, pending.list)));
  if (task->pid != task->tgid || !group) return own;
  return own + length_of((struct list_head*)(group + bpf_core_field_offset(struct signal_struct, shared_pending.list)));
}

static __noinline __u64 signals_in(__u64 container) {
  struct bpf_iter_task all;
  struct task_struct* task;
  __u64 found = 0;

  bpf_iter_task_new(&all, NULL, BPF_TASK_ITER_ALL_THREADS);
  while ((task = bpf_iter_task_next(&all)))
    if (home_of(task) == container) found += signals_of(task);
  bpf_iter_task_destroy(&all);
  return found;
}

/* Signals on their way into a queue, by container. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VZ_BPF_MAX_CTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_sending SEC(".maps");

static __always_inline __u64* sending_to(__u64 container) {
  __u64 none = 0;

  bpf_map_update_elem(&vz_ub_sending, &container, &none, BPF_NOEXIST);
  return bpf_map_lookup_elem(&vz_ub_sending, &container);
}

static __always_inline void end_sending(struct begun* mine) {
  __u64 container = mine->signal_container;
  __u64* sending = bpf_map_lookup_elem(&vz_ub_sending, &container);

  mine->signal_container = 0;
  if (sending) __sync_fetch_and_add(sending, -1);
}

/* Under a spinlock with interrupts off: the signal is in its queue, or will not be. */
SEC("tp_btf/signal_generate")
int BPF_PROG(ub_siginfo_free, int sig) {
  struct begun* mine = begun(0);

  if (mine && mine->signal_container && mine->signal == sig) end_sending(mine);
  return 0;
}

/* Early in the task's end: what it began comes to nothing. Locks that it has go after that, and need no leave. */
SEC("tp_btf/sched_process_exit")
int ub_task_exit(void* ctx) {
  struct begun* mine = begun(0);
  struct asked* asked = asked_for(0);

  if (asked) forget_object(asked);
  if (!mine) return 0;
  if (mine->lock_container) forget_lock(mine);
  if (mine->signal_container) end_sending(mine);
  return 0;
}

/*
 * No program sees all ways in which a signal leaves its queue. So what is asked for is added up, and when that seems
 * too much, what there is gets counted. Refused is only what may be: real-time signals from user space, other than by
 * kill(2). Without room in its queue the kernel delivers those without their information, which nobody here can ask
 * for.
 */
static __always_inline bool may_be_refused(struct kernel_siginfo* info, int sig) {
  return sig >= SIGRTMIN && BPF_CORE_READ(info, si_code) != SI_USER;
}

SEC("lsm/task_kill")
int BPF_PROG(ub_siginfo_charge, struct task_struct* target, struct kernel_siginfo* info, int sig, void* cred, int ret) {
  __u64 *sending, container, bound, before, now;
  bool refusable = may_be_refused(info, sig);
  struct begun* mine;
  struct vz_ub* ub;

  if (ret || sig <= 0) return ret;
  container = home_of(target);
  bound = container ? bound_of(container, VZ_UB_NUMSIGINFO, HARD) : VZ_UB_UNLIMITED;
  ub = bpf_map_lookup_elem(&vz_ub, &container);
  if (!ub || bound >= VZ_UB_UNLIMITED) return 0;
  mine = begun(BPF_LOCAL_STORAGE_GET_F_CREATE);
  sending = sending_to(container);
  if (!mine || !sending) return 0;
  if (mine->signal_container) end_sending(mine);
  before = ub->held[VZ_UB_NUMSIGINFO];
  if (refusable && before >= bound) {
    now = *sending; /* first: they may get into a queue while it is counted, and are too many then, not too few */
    now += signals_in(container);
    __sync_val_compare_and_swap(&ub->held[VZ_UB_NUMSIGINFO], before, now);
  }
  __sync_fetch_and_add(sending, 1);
  mine->signal_container = container;
  mine->signal = sig;
  if (!refusable) {
    __sync_fetch_and_add(&ub->held[VZ_UB_NUMSIGINFO], 1);
    return 0;
  }
  if (add_below(&ub->held[VZ_UB_NUMSIGINFO], bound, 1, &now)) return 0;
  end_sending(mine);
  refuse(ub, container, VZ_UB_NUMSIGINFO);
  return -EAGAIN;
}

/* numiptent ---------------------------------------------------------------------------------------------------------
 */

/*
 * Rules come and go in transactions that no program sees the end of. So they are counted where they are asked for: what
 * the network namespace has, and what this message would add. Two at the same moment may both find room.
 */
/* Not static: so the verifier looks at it once, and not once for each way that leads here. */
__noinline int has_room(__u64 net, __u64 messages, __u32 length, __u64 bound) {
  __u64 asked = new_rules(messages, length);

  return !asked || rules_of((struct net*)net) + asked <= bound;
}

SEC("?lsm/netlink_send")
int BPF_PROG(ub_iptent_charge, struct sock* sk, struct sk_buff* skb, int ret) {
  __u64 container, bound;
  struct vz_ub* ub;

  if (ret || sk->sk_protocol != NETLINK_NETFILTER) return ret;
  container = current_home();
  bound = container ? bound_of(container, VZ_UB_NUMIPTENT, HARD) : VZ_UB_UNLIMITED;
  if (bound >= VZ_UB_UNLIMITED) return 0;
  ub = bpf_map_lookup_elem(&vz_ub, &container);
  if (!ub) return 0;
  if (has_room((__u64)BPF_CORE_READ(sk, __sk_common.skc_net.net), (__u64)BPF_CORE_READ(skb, data),
               BPF_CORE_READ(skb, len), bound))
    return 0;
  refuse(ub, container, VZ_UB_NUMIPTENT);
  return -ENOMEM;
}

/* What has to be walked when somebody reads -------------------------------------------------------------------------
 */

enum walked { WALKED_TCPSND, WALKED_TCPRCV, WALKED_OTHER, WALKED_DGRAM, WALKED_SIGNALS, WALKED_RULES, WALKED };

struct sums {
  __u64 of[WALKED];
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VZ_BPF_MAX_CTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct sums);
} vz_ub_sums SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_walking SEC(".maps");

static long begin_sums(void* map, __u64* container, struct vz_ub* ub, void* ctx) {
  struct sums none = {};
  __u64 id = *container;

  bpf_map_update_elem(&vz_ub_sums, &id, &none, BPF_ANY);
  return 0;
}

static __always_inline void measure(struct sock* sk, __u32 row, __u64* sent, __u64* received) {
  int wmem =
      row == VZ_UB_NUMTCPSOCK ? BPF_CORE_READ(sk, sk_wmem_queued) : BPF_CORE_READ(sk, sk_wmem_alloc.refs.counter) - 1;
  int rmem = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);

  *sent = wmem > 0 ? wmem : 0;
  *received = rmem > 0 ? rmem : 0;
}

static long add_socket(void* map, __u64* object, struct owner* owner, void* ctx) {
  __u64 container = owner->container, address = *object, sent, received;
  __u32 row = owner->row;
  struct sums* sums = bpf_map_lookup_elem(&vz_ub_sums, &container);

  if (!sums) return 0;
  measure((struct sock*)address, row, &sent, &received);
  /* If it is still there, it was a socket when it was looked at. */
  if (!bpf_map_lookup_elem(&vz_ub_sock, &address)) return 0;
  sums->of[row == VZ_UB_NUMTCPSOCK ? WALKED_TCPSND : WALKED_OTHER] += sent;
  sums->of[row == VZ_UB_NUMTCPSOCK ? WALKED_TCPRCV : WALKED_DGRAM] += received;
  return 0;
}

#define SIGNAL_UNKILLABLE 0x40 /* include/linux/sched/signal.h */

/* The first one met is the container's: others are of namespaces in it, and were born later. */
static __always_inline bool is_init(struct task_struct* task) {
  return task->pid == task->tgid && BPF_CORE_READ(task, signal, flags) & SIGNAL_UNKILLABLE;
}

static __always_inline void add_rules(struct task_struct* task, struct sums* sums) {
  struct net* net;

  if (sums->of[WALKED_RULES] || !is_init(task)) return;
  net = BPF_CORE_READ(task, nsproxy, net_ns);
  if (net) sums->of[WALKED_RULES] = rules_of(net) + 1; /* known */
}

static __always_inline void add_tasks(void) {
  struct bpf_iter_task all;
  struct task_struct* task;

  bpf_rcu_read_lock();
  bpf_iter_task_new(&all, NULL, BPF_TASK_ITER_ALL_THREADS);
  while ((task = bpf_iter_task_next(&all))) {
    __u64 container = home_of(task);
    struct sums* sums = container ? bpf_map_lookup_elem(&vz_ub_sums, &container) : NULL;

    if (!sums) continue;
    sums->of[WALKED_SIGNALS] += signals_of(task);
    add_rules(task, sums);
  }
  bpf_iter_task_destroy(&all);
  bpf_rcu_read_unlock();
}

static __always_inline void show(struct vz_ub* ub, __u32 row, __u64 held) {
  ub->held[row] = held;
  note_maximum(&ub->maxheld[row], held);
}

static long end_sums(void* map, __u64* container, struct vz_ub* ub, void* ctx) {
  __u64 id = *container;
  struct sums* sums = bpf_map_lookup_elem(&vz_ub_sums, &id);
  struct vz_state* state = bpf_map_lookup_elem(&vz_state, &id);

  if (sums) {
    show(ub, VZ_UB_TCPSNDBUF, sums->of[WALKED_TCPSND]);
    show(ub, VZ_UB_TCPRCVBUF, sums->of[WALKED_TCPRCV]);
    show(ub, VZ_UB_OTHERSOCKBUF, sums->of[WALKED_OTHER]);
    show(ub, VZ_UB_DGRAMRCVBUF, sums->of[WALKED_DGRAM]);
    show(ub, VZ_UB_NUMSIGINFO, sums->of[WALKED_SIGNALS]);
    if (sums->of[WALKED_RULES]) show(ub, VZ_UB_NUMIPTENT, sums->of[WALKED_RULES] - 1);
    bpf_map_delete_elem(&vz_ub_sums, &id);
  }
  if (state) {
    ub->held[VZ_UB_PRIVVMPAGES] = state->privvm_held;
    ub->maxheld[VZ_UB_PRIVVMPAGES] = state->privvm_maxheld;
    ub->failcnt[VZ_UB_PRIVVMPAGES] = state->privvm_failcnt;
  }
  return 0;
}

SEC("syscall")
int ub_refresh(void* ctx) {
  __u32 index = 0;
  __u32* walking = bpf_map_lookup_elem(&vz_ub_walking, &index);

  if (!walking || __sync_val_compare_and_swap(walking, 0, 1)) return -EBUSY;
  bpf_for_each_map_elem(&vz_ub, begin_sums, NULL, 0);
  bpf_for_each_map_elem(&vz_ub_sock, add_socket, NULL, 0);
  add_tasks();
  bpf_for_each_map_elem(&vz_ub, end_sums, NULL, 0);
  __sync_lock_test_and_set(walking, 0);
  return 0;
}

SEC("syscall")
int ub_groups(void* ctx) {
  bpf_for_each_map_elem(&vz_ub, read_group, NULL, 0);
  return 0;
}

/* Told to subscribers; the group's own counter has it already. */
SEC("tp_btf/mark_victim")
int BPF_PROG(ub_oom_kill, struct task_struct* victim) {
  __u64 container = home_of(victim);

  if (container) tell(container, VZ_UB_OOMGUARPAGES);
  return 0;
}
