// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Makes the kernel objects that beancounters count, for tests.
 *
 * ub_worker fill KIND TRIES THREADS     TRIES times in each thread; "MADE REFUSED ERRNO OTHER" when all have ended, then
 *                                       waits for a line and ends. KIND: file tcp udp unix pair netlink posix flock pty
 *                                       signal, and pages of shared memory: sysv shared memfd page
 * ub_worker nested KIND TRIES THREADS   the same, but each thread may run before the one that made things just now is done
 * ub_worker connect PORT TRIES          so many connections to 127.0.0.1:PORT, then as above
 * ub_worker listen                      "PORT 0 0 0", then as above; accepts nothing
 * ub_worker lock MARKER                waits for a line, locks memory in all ways and writes to MARKER before and after
 * ub_worker mix CONTROL MAILBOX SEED LOCKFILE GROUP...   random operations as long as the control page says so
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int lock_file = -1, page_file = -1;

static int open_lock_file(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/ub_locks.%d", getpid());
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* A segment that goes with the last process that has it. */
static int make_segment(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

	if (id < 0)
		return -1;
	if (shmat(id, NULL, 0) == (void *)-1) {
		perror("ub_worker: shmat");
		exit(2);
	}
	shmctl(id, IPC_RMID, NULL);
	return 0;
}

/* A page of a file that only memory has; -1: closed, if it was made for that page. */
static int make_page(int fd, int number, int own)
{
	static const char page[4096];
	int done = pwrite(fd, page, sizeof(page), 4096L * number) == sizeof(page) ? 0 : -1;
	int error = errno;

	if (done && own)
		close(fd);
	errno = error;
	return done;
}

/* A descriptor, or 0 for what has none, or -1. Things are kept until the process ends. */
static int make(const char *kind, int number)
{
	int pair[2];

	if (!strcmp(kind, "file"))
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (!strcmp(kind, "tcp"))
		return socket(AF_INET, SOCK_STREAM, 0);
	if (!strcmp(kind, "udp"))
		return socket(AF_INET6, SOCK_DGRAM, 0);
	if (!strcmp(kind, "unix"))
		return socket(AF_UNIX, SOCK_DGRAM, 0);
	if (!strcmp(kind, "pair"))
		return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	if (!strcmp(kind, "netlink"))
		return socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (!strcmp(kind, "pty"))
		return open("/dev/ptmx", O_RDWR | O_NOCTTY);
	if (!strcmp(kind, "signal"))
		return sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = number});
	if (!strcmp(kind, "sysv"))
		return make_segment();
	if (!strcmp(kind, "shared"))
		return mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
	if (!strcmp(kind, "memfd"))
		return make_page(memfd_create("ub", MFD_CLOEXEC), 0, 1);
	if (!strcmp(kind, "page"))
		return make_page(page_file, number, 0);
	if (!strcmp(kind, "posix")) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2L * number, .l_len = 1};

		return fcntl(lock_file, F_SETLK, &lock);
	}
	if (!strcmp(kind, "flock")) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		int done = flock(fd, LOCK_SH);
		int error = errno;

		if (done)
			close(fd);
		errno = error;
		return done;
	}
	fprintf(stderr, "ub_worker: no kind %s\n", kind);
	exit(2);
}

static struct {
	const char *kind;
	int tries;
	int nested;
	int made, refused, other, error;
	pthread_barrier_t begin;
} fill;

/* All but the first one take the CPU away from whoever is below, at any moment. */
static void begin_nested(int level)
{
	struct sched_param parameters = {.sched_priority = level};

	if (fill.nested && level && sched_setscheduler(0, SCHED_FIFO, &parameters)) {
		perror("ub_worker: SCHED_FIFO");
		exit(2);
	}
}

static void wait_nested(int level, int number)
{
	struct timespec moment = {0, 20000 + 7919L * level * number % 100000};

	if (fill.nested && level)
		nanosleep(&moment, NULL);
}

static void *fill_thread(void *argument)
{
	int level = (int)(intptr_t)argument, first = level * fill.tries;

	begin_nested(level);
	pthread_barrier_wait(&fill.begin);
	for (int i = 0; i < fill.tries; i++) {
		wait_nested(level, i);
		if (make(fill.kind, first + i) >= 0) {
			__atomic_add_fetch(&fill.made, 1, __ATOMIC_RELAXED);
			continue;
		}
		int expected = 0, error = errno;

		__atomic_compare_exchange_n(&fill.error, &expected, error, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
		__atomic_add_fetch(fill.error == error ? &fill.refused : &fill.other, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void say_and_wait(void)
{
	char line[16];

	printf("%d %d %d %d\n", fill.made, fill.refused, fill.error, fill.other);
	fflush(stdout);
	while (read(0, line, 1) == 1 && line[0] != '\n')
		;
}

static int run_fill(int threads)
{
	pthread_t thread[16];

	sigset_t blocked;

	lock_file = open_lock_file();
	page_file = memfd_create("ub_pages", MFD_CLOEXEC);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	pthread_barrier_init(&fill.begin, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, fill_thread, (void *)(intptr_t)i))
			return 1;
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	say_and_wait();
	return 0;
}

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static int run_connect(int port)
{
	struct sockaddr_in address = loopback(port);

	for (int i = 0; i < fill.tries; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EINPROGRESS)
			fill.made++;
		else
			fill.refused++;
	}
	say_and_wait();
	return 0;
}

static int run_listen(void)
{
	struct sockaddr_in address = loopback(0);
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	bind(fd, (struct sockaddr *)&address, size);
	if (listen(fd, 1000))
		return 1;
	getsockname(fd, (struct sockaddr *)&address, &size);
	fill.made = ntohs(address.sin_port);
	say_and_wait();
	return 0;
}

/* Nothing but these calls between the two marks. */
static int run_lock(const char *path)
{
	static char memory[65536] __attribute__((aligned(4096)));
	int marker = open(path, O_WRONLY | O_CLOEXEC), failed;
	char line[16];

	if (marker < 0 || read(0, line, 1) != 1)
		return 2;
	(void)!write(marker, "ub begins", 9);
	failed = mlock(memory, 4096) || mlock2(memory, sizeof(memory), MLOCK_ONFAULT) || munlock(memory, sizeof(memory)) ||
		 mlockall(MCL_CURRENT);
	(void)!write(marker, "ub ends", 7);
	if (failed)
		perror("ub_worker: mlock");
	return failed;
}

/* mix ------------------------------------------------------------------------------------------------------------ */

#define SLOTS 24
#define LOCKS 8
#define GROUPS 8

/* Shared with the test. */
struct control {
	uint64_t parked;  /* workers that wait */
	uint64_t park;    /* 1: wait after this operation, 2: end */
	uint64_t done;    /* operations of all */
	uint64_t refused; /* operations that failed for want of something */
};

static struct control *control;
static int mailbox, slots[SLOTS], own_locks, groups;
static char *group_files[GROUPS];
static uint64_t state;
static int descendant;

static uint32_t draw(uint32_t below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(((state >> 32) * below) >> 32);
}

static void put(int fd)
{
	unsigned at = draw(SLOTS);

	if (fd < 0) {
		__atomic_add_fetch(&control->refused, 1, __ATOMIC_RELAXED);
		return;
	}
	if (slots[at] >= 0)
		close(slots[at]);
	slots[at] = fd;
}

static int some(void) { return slots[draw(SLOTS)]; }

static void send_fd(int over, int fd)
{
	char byte = 0, space[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	sendmsg(over, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int receive_fd(int over)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
	struct cmsghdr *header;
	int fd = -1;

	if (recvmsg(over, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return -2;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof(int));
	return fd;
}

static void mail(void)
{
	int fd = some();

	if (draw(2)) {
		if (fd >= 0)
			send_fd(mailbox, fd);
	} else {
		fd = receive_fd(mailbox + 1);
		if (fd >= 0)
			put(fd);
	}
}

/* A socket that holds only itself: the kernel's collector closes it, in a worker of its own. */
static void make_cycle(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair))
		return;
	send_fd(pair[0], pair[1]);
	if (some() >= 0)
		send_fd(pair[0], some());
	close(pair[0]);
	close(pair[1]);
}

static void make_file(void)
{
	int pair[2];

	switch (draw(7)) {
	case 0:
		put(open("/dev/null", O_RDONLY));
		break;
	case 1:
		put(open("/proc/self/exe", O_RDONLY | O_PATH));
		break;
	case 2:
		put(open("/nowhere/at/all", O_RDONLY));
		break;
	case 3:
		put(memfd_create("ub", 0));
		break;
	case 4:
		put(eventfd(0, 0));
		break;
	case 5:
		put(epoll_create1(0));
		break;
	case 6:
		if (pipe(pair))
			return;
		put(pair[0]);
		put(pair[1]);
		break;
	}
}

static void connect_to(int listener)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	int fd;

	if (getsockname(listener, (struct sockaddr *)&address, &size))
		return;
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (struct sockaddr *)&address, size) && errno != EINPROGRESS) {
		close(fd);
		return;
	}
	put(fd);
}

static void make_listener(void)
{
	struct sockaddr_in inet = loopback(0);
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	int is_inet = draw(2), fd = socket(is_inet ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	/* an address of two bytes: the kernel chooses an abstract name */
	if (fd < 0 || bind(fd, is_inet ? (struct sockaddr *)&inet : (struct sockaddr *)&local,
			   is_inet ? sizeof(inet) : sizeof(sa_family_t)))
		return put(fd);
	listen(fd, 4);
	put(fd);
}

static void make_socket(void)
{
	int pair[2], fd = some();

	switch (draw(7)) {
	case 0:
		put(socket(AF_INET, SOCK_STREAM, 0));
		break;
	case 1:
		put(socket(AF_INET6, SOCK_DGRAM, 0));
		break;
	case 2:
		put(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
		break;
	case 3:
		if (socketpair(AF_UNIX, draw(2) ? SOCK_STREAM : SOCK_DGRAM, 0, pair))
			return;
		put(pair[0]);
		put(pair[1]);
		break;
	case 4:
		make_listener();
		break;
	case 5:
		if (fd >= 0)
			connect_to(fd);
		break;
	case 6:
		if (fd >= 0) {
			/* of a listener only; it does not wait, or it is none */
			int flags = fcntl(fd, F_GETFL), accepts = 0;
			socklen_t size = sizeof(accepts);

			if (flags & O_NONBLOCK && !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) && accepts)
				put(accept(fd, NULL, NULL));
		}
		break;
	}
}

static void talk(void)
{
	char buffer[512] = {0};
	int fd = some(), accepts = 0, type = 0;
	socklen_t size = sizeof(accepts);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) || accepts)
		return;
	/* A closed socket lives on while another one has a datagram of it to read, and nothing tells the test. */
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_STREAM)
		return;
	if (draw(2))
		send(fd, buffer, 1 + draw(sizeof(buffer)), MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
}

static void lock(void)
{
	static const short kinds[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	struct flock range = {.l_type = kinds[draw(3)], .l_whence = SEEK_SET, .l_start = draw(60), .l_len = draw(8)};

	switch (draw(4)) {
	case 0:
		flock(own_locks, (draw(2) ? LOCK_SH : LOCK_UN) | LOCK_NB);
		break;
	case 1:
		fcntl(own_locks, F_OFD_SETLK, &range);
		break;
	default:
		fcntl(own_locks, F_SETLK, &range);
		break;
	}
}

static void make_pty(void)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), slave;

	if (master >= 0 && draw(2)) {
		slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
		if (slave >= 0)
			put(slave);
	}
	put(master);
}

static void move(void)
{
	int fd;

	if (!groups)
		return;
	fd = open(group_files[draw((uint32_t)groups)], O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, "0", 1);
		close(fd);
	}
}

static void operate(void);

static void live_shortly(void)
{
	descendant = 1;
	state ^= (uint64_t)getpid() * 0x9e3779b97f4a7c15ULL;
	for (uint32_t left = draw(20); left > 0; left--)
		operate();
	switch (draw(4)) {
	case 0:
		pause();
		break;
	case 1:
		execl("/proc/self/exe", "ub_worker", "nothing", NULL);
		break;
	}
	_exit(0);
}

static void have_child(void)
{
	struct timespec moment = {0, (long)draw(3000000)};
	pid_t child;

	if (descendant)
		return;
	child = fork();
	if (child == 0)
		live_shortly();
	if (child < 0)
		return;
	nanosleep(&moment, NULL);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void operate(void)
{
	uint32_t what = draw(100);

	if (what < 20)
		make_file();
	else if (what < 40)
		make_socket();
	else if (what < 45)
		talk();
	else if (what < 60)
		mail();
	else if (what < 62)
		make_cycle();
	else if (what < 70)
		lock();
	else if (what < 74)
		make_pty();
	else if (what < 78)
		move();
	else if (what < 80)
		have_child();
	else if (what < 85) {
		int fd = some();

		if (fd >= 0)
			put(dup(fd));
	} else {
		unsigned at = draw(SLOTS);

		if (slots[at] >= 0)
			close(slots[at]);
		slots[at] = -1;
	}
	__atomic_add_fetch(&control->done, 1, __ATOMIC_RELAXED);
}

static void wait_parked(void)
{
	struct timespec moment = {0, 2000000};

	/* What is under way in the mailbox would belong to nobody whom the test can ask. */
	for (int fd; (fd = receive_fd(mailbox + 1)) != -2;)
		if (fd >= 0)
			close(fd);
	__atomic_add_fetch(&control->parked, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&control->park, __ATOMIC_SEQ_CST) == 1)
		nanosleep(&moment, NULL);
	__atomic_sub_fetch(&control->parked, 1, __ATOMIC_SEQ_CST);
}

static int run_mix(int argc, char **argv)
{
	int page = open(argv[0], O_RDWR);

	control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
	close(page);
	mailbox = atoi(argv[1]); /* two descriptors: to send, to receive */
	state = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ULL + 1;
	own_locks = open(argv[3], O_RDWR | O_CREAT, 0600);
	for (groups = 0; groups < argc - 4 && groups < GROUPS; groups++)
		group_files[groups] = argv[4 + groups];
	memset(slots, 0xff, sizeof(slots));
	while (__atomic_load_n(&control->park, __ATOMIC_SEQ_CST) != 2) {
		if (control->park == 1)
			wait_parked();
		else
			operate();
	}
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc >= 5 && (!strcmp(argv[1], "fill") || !strcmp(argv[1], "nested"))) {
		fill.nested = !strcmp(argv[1], "nested");
		fill.kind = argv[2];
		fill.tries = atoi(argv[3]);
		return run_fill(atoi(argv[4]));
	}
	if (argc >= 4 && !strcmp(argv[1], "connect")) {
		fill.tries = atoi(argv[3]);
		return run_connect(atoi(argv[2]));
	}
	if (argc >= 2 && !strcmp(argv[1], "listen"))
		return run_listen();
	if (argc >= 3 && !strcmp(argv[1], "lock"))
		return run_lock(argv[2]);
	if (argc >= 6 && !strcmp(argv[1], "mix"))
		return run_mix(argc - 2, argv + 2);
	return 0;
}
