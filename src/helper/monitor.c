/* One process a container: owns its terminal or pipes, writes its log, serves its clients, records
 * its end. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "front.h"
#include "launch.h"
#include "logfile.h"
#include "oom.h"
#include "packet.h"
#include "rootless.h"
#include "sys.h"
#include "util.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

#define MAX_CLIENTS 256
/* The file of the exit record has this size from the start on, so that a disk that is full at the end loses nothing. */
#define EXIT_SIZE 96

/* Values of the monitor record's field stdin. */
enum { STDIN_NONE, STDIN_ONCE, STDIN_OPEN };

struct client {
	int fd;
	bool output, input;
	char *queue; /* packets that the client has no room for, each after its length (uint32_t) */
	size_t queue_len;
	char *held; /* its input, while that of another client is on its way */
	size_t held_len;
};

struct monitor {
	struct run *run;
	int directory, run_dir;
	int listener, signals;
	int in, out, err; /* ends of the container's pipes, or the pty's master as in and out; -1 when closed */
	int slave;	  /* kept open: a guest that closes its terminal for a moment is not to lose it */
	int exit_file;
	int stdin_mode;
	bool terminal, reaped, no_restart, told;
	int status, signal;
	int cgroup, lock;
	int policy; /* a restart policy that came while the container runs, -1 for that of the plan */
	uint32_t most;
	struct oom oom;
	struct timespec started, finished;
	struct logfile log;
	struct client clients[MAX_CLIENTS];
	int used;		 /* no client is at this place or after it */
	char input[PACKET_DATA]; /* for the container, as far as it has not taken it yet */
	size_t input_len;
	struct client *typist; /* whose input that is, NULL when it is gone */
	bool input_ends;       /* nothing comes after what is on its way */
};

static struct monitor monitor;
static char buffer[PACKET_SIZE];

static long runtime(void)
{
	return (monitor.finished.tv_sec - monitor.started.tv_sec) * 1000 +
	       (monitor.finished.tv_nsec - monitor.started.tv_nsec) / 1000000;
}

/* --- clients --- */

static void drop(struct client *client);

/* A packet, with the clients before it in the queue. */
static bool enqueue(struct client *client, const char *packet, size_t len)
{
	uint32_t size = (uint32_t)len;
	char *queue = realloc(client->queue, client->queue_len + sizeof(size) + len);

	if (!queue)
		return false;
	memcpy(queue + client->queue_len, &size, sizeof(size));
	memcpy(queue + client->queue_len + sizeof(size), packet, len);
	client->queue = queue;
	client->queue_len += sizeof(size) + len;
	return true;
}

/* 1 when it has gone, 0 when the client has no room, -1 when there is no client any more. */
static int try_send(struct client *client, const char *packet, size_t len)
{
	if (send(client->fd, packet, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 1;
	return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
}

static void flush_client(struct client *client)
{
	size_t at = 0;
	int r = 1;

	while (at < client->queue_len) {
		uint32_t size;

		memcpy(&size, client->queue + at, sizeof(size));
		r = try_send(client, client->queue + at + sizeof(size), size);
		if (r <= 0)
			break;
		at += sizeof(size) + size;
	}
	if (r < 0) {
		drop(client);
		return;
	}
	client->queue_len -= at;
	memmove(client->queue, client->queue + at, client->queue_len);
	if (!client->queue_len) {
		free(client->queue);
		client->queue = NULL;
	}
}

/* A packet that the client has no room for is kept; until it is gone, no more is read from a container that runs. */
static void send_client(struct client *client, const char *packet, size_t len)
{
	int r = client->queue_len ? 0 : try_send(client, packet, len);

	if (r < 0 || (r == 0 && !enqueue(client, packet, len)))
		drop(client);
}

static bool blocked(void)
{
	for (int i = 0; i < monitor.used; i++)
		if (monitor.clients[i].fd >= 0 && monitor.clients[i].queue_len)
			return true;
	return false;
}

/* --- standard input: each client sends one packet, and the next one when that is answered --- */

static void answer_input(struct client *client)
{
	static const char answer = PACKET_STDIN;

	if (client && client->fd >= 0)
		send_client(client, &answer, 1);
}

static void close_input(void)
{
	if (monitor.in < 0 || monitor.terminal)
		return;
	close_p(&monitor.in);
	monitor.in = -1;
}

static bool next_held(void)
{
	for (int i = 0; i < monitor.used; i++) {
		struct client *client = &monitor.clients[i];

		if (client->fd < 0 || !client->held)
			continue;
		memcpy(monitor.input, client->held, client->held_len);
		monitor.input_len = client->held_len;
		monitor.typist = client;
		free(client->held);
		client->held = NULL;
		return true;
	}
	return false;
}

static void write_input(void)
{
	while (monitor.input_len || next_held()) {
		ssize_t n = monitor.in < 0 ? -1 : write(monitor.in, monitor.input, monitor.input_len);

		if (n < 0) {
			if (monitor.in >= 0 && (errno == EAGAIN || errno == EINTR))
				return;
			n = (ssize_t)monitor.input_len; /* nobody reads it any more */
		}
		monitor.input_len -= (size_t)n;
		memmove(monitor.input, monitor.input + n, monitor.input_len);
		if (!monitor.input_len)
			answer_input(monitor.typist);
	}
	if (monitor.input_ends)
		close_input();
}

static void take_input(struct client *client, const char *data, size_t len)
{
	if (!client->input || client->held || !len)
		return;
	client->held = malloc(len);
	if (!client->held) {
		drop(client);
		return;
	}
	memcpy(client->held, data, len);
	client->held_len = len;
	write_input();
}

/* No more comes after what is on its way. */
static void end_input(void)
{
	monitor.input_ends = true;
	write_input();
}

static void drop(struct client *client)
{
	bool ends = client->input && monitor.stdin_mode == STDIN_ONCE && !monitor.terminal;

	close(client->fd);
	free(client->queue);
	free(client->held);
	*client = (struct client){.fd = -1};
	if (monitor.typist == client)
		monitor.typist = NULL;
	while (monitor.used > 0 && monitor.clients[monitor.used - 1].fd < 0)
		monitor.used--;
	if (ends)
		end_input();
}

static void add_client(int fd, bool output, bool input)
{
	for (int i = 0; i < MAX_CLIENTS; i++) {
		if (monitor.clients[i].fd >= 0)
			continue;
		monitor.clients[i] = (struct client){.fd = fd, .output = output, .input = input};
		if (i >= monitor.used)
			monitor.used = i + 1;
		return;
	}
	close(fd);
}

/* Only root, or who runs the monitor, may see and type into a container. */
static bool accept_client(void)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(monitor.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || (peer.uid != 0 && peer.uid != geteuid()))
		close(fd);
	else
		add_client(fd, false, false);
	return true;
}

static void resize(const char *body)
{
	struct winsize size = {0};
	uint16_t rows, columns;

	memcpy(&rows, body, 2);
	memcpy(&columns, body + 2, 2);
	size.ws_row = rows;
	size.ws_col = columns;
	if (monitor.terminal && monitor.out >= 0)
		ioctl(monitor.out, TIOCSWINSZ, &size);
}

static void read_client(struct client *client)
{
	ssize_t n = recv_last(client->fd, buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(client);
		return;
	}
	switch (buffer[0]) {
	case PACKET_ATTACH:
		if (n == 2) {
			client->output = buffer[1] & ATTACH_OUTPUT;
			client->input = buffer[1] & ATTACH_STDIN && monitor.stdin_mode != STDIN_NONE;
		}
		break;
	case PACKET_STDIN:
		take_input(client, buffer + 1, (size_t)n - 1);
		break;
	case PACKET_CLOSE:
		if (client->input && monitor.stdin_mode == STDIN_ONCE)
			end_input();
		break;
	case PACKET_RESIZE:
		if (n == 5)
			resize(buffer + 1);
		break;
	case PACKET_SIGNAL:
		if (n == 2 && !monitor.reaped)
			sys_pidfd_send_signal(monitor.run->pidfd, (unsigned char)buffer[1]);
		break;
	case PACKET_NO_RESTART:
		monitor.no_restart = true;
		/* the answer tells the client that it is known */
		buffer[0] = PACKET_NO_RESTART;
		send_client(client, buffer, 1);
		break;
	case PACKET_POLICY:
		if (n != 6)
			break;
		monitor.policy = (unsigned char)buffer[1];
		memcpy(&monitor.most, buffer + 2, sizeof(monitor.most));
		send_client(client, buffer, 1);
		break;
	}
}

/* --- the container's output --- */

/* One chunk from a pipe or the pty to log and clients. False when there is no more for now. */
static bool pass_output(int *fd, char type, const char *stream)
{
	ssize_t n;

	if (*fd < 0)
		return false;
	n = read(*fd, buffer + 1, PACKET_DATA);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		close_p(fd);
		*fd = -1;
		if (monitor.terminal)
			monitor.in = -1; /* it was the same */
		return false;
	}
	log_write(&monitor.log, stream, buffer + 1, (size_t)n);
	buffer[0] = type;
	for (int i = 0; i < monitor.used; i++)
		if (monitor.clients[i].fd >= 0 && monitor.clients[i].output)
			send_client(&monitor.clients[i], buffer, (size_t)n + 1);
	return true;
}

static void reap(void)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)monitor.run->pidfd, &info, WEXITED | __WALL) < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &monitor.finished);
	monitor.reaped = true;
	monitor.signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
	monitor.status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

/* --- the loop --- */

/* Which client an entry of the poll set belongs to; the first FIXED are ours. */
enum { SLOT_GUEST, SLOT_LISTEN, SLOT_SIGNALS, SLOT_OUT, SLOT_ERR, SLOT_IN, SLOT_OOM, FIXED };

static int fill(struct pollfd *fds)
{
	bool wait = blocked();

	fds[SLOT_GUEST] = (struct pollfd){.fd = monitor.reaped ? -1 : monitor.run->pidfd, .events = POLLIN};
	fds[SLOT_LISTEN] = (struct pollfd){.fd = monitor.listener, .events = POLLIN};
	fds[SLOT_SIGNALS] = (struct pollfd){.fd = monitor.signals, .events = POLLIN};
	fds[SLOT_OUT] = (struct pollfd){.fd = wait ? -1 : monitor.out, .events = POLLIN};
	fds[SLOT_ERR] = (struct pollfd){.fd = wait ? -1 : monitor.err, .events = POLLIN};
	fds[SLOT_IN] = (struct pollfd){.fd = monitor.input_len ? monitor.in : -1, .events = POLLOUT};
	fds[SLOT_OOM] = (struct pollfd){.fd = monitor.oom.events, .events = POLLPRI};
	for (int i = 0; i < monitor.used; i++) {
		struct client *client = &monitor.clients[i];

		fds[FIXED + i] = (struct pollfd){.fd = client->fd};
		fds[FIXED + i].events = (short)(POLLIN | (client->queue_len ? POLLOUT : 0));
	}
	return FIXED + monitor.used;
}

static void serve_clients(struct pollfd *fds, int count)
{
	for (int i = 0; i < count - FIXED; i++) {
		struct client *client = &monitor.clients[i];
		short events = fds[FIXED + i].revents;

		if (client->fd < 0 || client->fd != fds[FIXED + i].fd)
			continue;
		if (events & POLLOUT)
			flush_client(client);
		if (client->fd >= 0 && events & POLLIN)
			read_client(client);
		else if (client->fd >= 0 && events & (POLLHUP | POLLERR))
			drop(client);
	}
	if (fds[SLOT_LISTEN].revents)
		accept_client();
}

/* The host shuts down, or somebody ends us: the container is to end, and we with it. */
static void pass_termination(void)
{
	struct signalfd_siginfo info;

	if (read(monitor.signals, &info, sizeof(info)) != sizeof(info))
		return;
	monitor.no_restart = true;
	if (!monitor.reaped)
		sys_pidfd_send_signal(monitor.run->pidfd, (int)info.ssi_signo);
}

static void step(int timeout)
{
	struct pollfd fds[FIXED + MAX_CLIENTS];
	int count = fill(fds);

	if (poll(fds, (nfds_t)count, timeout) <= 0)
		return;
	/* before all else: when the last process has ended, systemd takes the scope away with all its files */
	if (fds[SLOT_OOM].revents || fds[SLOT_GUEST].revents)
		oom_look(&monitor.oom);
	if (fds[SLOT_OUT].revents)
		pass_output(&monitor.out, PACKET_STDOUT, "stdout");
	if (fds[SLOT_ERR].revents)
		pass_output(&monitor.err, PACKET_STDERR, "stderr");
	if (fds[SLOT_IN].revents)
		write_input();
	if (fds[SLOT_SIGNALS].revents)
		pass_termination();
	serve_clients(fds, count);
	if (fds[SLOT_GUEST].revents)
		reap();
}

/* What the container has left in pipes and pty; its other processes may hold them open, so not until their end. */
static void drain(void)
{
	for (size_t most = 0; most < DRAIN_MAX; most += PACKET_DATA) {
		bool more = pass_output(&monitor.out, PACKET_STDOUT, "stdout");

		if (!pass_output(&monitor.err, PACKET_STDERR, "stderr") && !more)
			return;
	}
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The lowest descriptor of a client from this number on, -1 for none. */
static int next_client(int from)
{
	int found = -1;

	for (int i = 0; i < monitor.used; i++) {
		int fd = monitor.clients[i].fd;

		if (fd >= from && (found < 0 || fd < found))
			found = fd;
	}
	return found;
}

/* A process that has nothing but the slow clients: it gives them what is theirs, however long they take. */
static _Noreturn void serve_slow_clients(void)
{
	struct pollfd fds[MAX_CLIENTS];
	sigset_t none;
	int fd, from = 3;

	monitor.stdin_mode = STDIN_NONE; /* drop() has no business with the container any more */
	close(monitor.lock);
	for (int i = 0; i < monitor.used; i++)
		if (monitor.clients[i].fd >= 0 && !monitor.clients[i].queue_len)
			drop(&monitor.clients[i]);
	for (; (fd = next_client(from)) >= 0; from = fd + 1)
		if (fd > from)
			sys_close_range((unsigned)from, (unsigned)fd - 1, 0);
	sys_close_range((unsigned)from, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	while (blocked()) {
		int count = monitor.used;

		for (int i = 0; i < count; i++)
			fds[i] = (struct pollfd){.fd = monitor.clients[i].fd, .events = POLLOUT};
		if (poll(fds, (nfds_t)count, -1) < 0)
			continue;
		for (int i = 0; i < count; i++) {
			if (fds[i].revents & POLLOUT)
				flush_client(&monitor.clients[i]);
			else if (fds[i].revents)
				drop(&monitor.clients[i]);
			if (monitor.clients[i].fd >= 0 && !monitor.clients[i].queue_len)
				drop(&monitor.clients[i]);
		}
	}
	_exit(0);
}

/* Nobody waits for a client that takes nothing: neither the container's end nor its next life. */
static void leave_slow_clients(void)
{
	if (!blocked())
		return;
	if (fork() == 0)
		serve_slow_clients();
	for (int i = 0; i < monitor.used; i++)
		if (monitor.clients[i].fd >= 0 && monitor.clients[i].queue_len)
			drop(&monitor.clients[i]);
}

/* --- beginning and end --- */

static int listen_at(int dir)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/attach", dir);
	unlinkat(dir, "attach", 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	fchmodat(dir, "attach", 0600, 0);
	if (listen(fd, 64) < 0)
		return -errno;
	return take_fd(&fd);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void nonblocking(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void take_streams(struct run *run)
{
	if (monitor.terminal) {
		monitor.in = monitor.out = run->master;
		monitor.err = -1;
		monitor.slave = ioctl(run->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	} else {
		monitor.in = run->pipes[0];
		monitor.out = run->pipes[1];
		monitor.err = run->pipes[2];
	}
	nonblocking(monitor.in);
	nonblocking(monitor.out);
	nonblocking(monitor.err);
}

/* "code signal oom started finished", times in seconds with nanoseconds since the epoch, filled up with blanks. */
static int put_exit(int status, int signal, bool oom, const struct timespec *finished)
{
	char text[EXIT_SIZE];
	ssize_t written;
	int n = snprintf(text, sizeof(text), "%d %d %d %lld.%09ld %lld.%09ld", status, signal, oom,
		(long long)monitor.started.tv_sec, monitor.started.tv_nsec, (long long)finished->tv_sec,
		finished->tv_nsec);

	if (n < 0 || n >= (int)sizeof(text) - 1)
		return -EOVERFLOW;
	memset(text + n, ' ', sizeof(text) - (size_t)n - 1);
	text[sizeof(text) - 1] = '\n';
	written = pwrite(monitor.exit_file, text, sizeof(text), 0);
	if (written < 0)
		return -errno;
	return written == sizeof(text) ? 0 : -ENOSPC;
}

/* Until it has ended its record says that nobody saw the end (see engine/state.py). */
static int open_exit(void)
{
	monitor.exit_file = openat(monitor.directory, "exit.new", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (monitor.exit_file < 0)
		return -errno;
	return put_exit(-1, 0, false, &monitor.started);
}

static void write_exit(void)
{
	bool killed = oom_look(&monitor.oom);

	if (put_exit(monitor.status, monitor.signal, killed, &monitor.finished) == 0)
		renameat(monitor.directory, "exit.new", monitor.directory, "exit");
	oom_close(&monitor.oom);
}

static void tell_exit(void)
{
	char packet[1 + sizeof(int32_t)] = {PACKET_EXIT};
	int32_t code = monitor.status;

	if (monitor.told)
		return;
	monitor.told = true;
	memcpy(packet + 1, &code, sizeof(code));
	for (int i = 0; i < monitor.used; i++)
		if (monitor.clients[i].fd >= 0)
			send_client(&monitor.clients[i], packet, sizeof(packet));
}

static bool pause_restart(int milliseconds)
{
	long deadline = now_ms() + milliseconds, left;

	while (!monitor.no_restart && (left = deadline - now_ms()) > 0)
		step((int)left);
	return monitor.no_restart;
}

/* A client that connected when the container had ended is told as well, so that nobody waits for
 * nothing. */
static void tell_late_clients(void)
{
	monitor.told = false;
	while (accept_client())
		;
	tell_exit();
}

static int prepare(struct run *run, const struct op *op)
{
	int r;

	monitor.run = run;
	monitor.terminal = op_n(op, MONITOR_TERMINAL);
	monitor.stdin_mode = (int)op_n(op, MONITOR_STDIN);
	monitor.cgroup = op_fd(op, MONITOR_CGROUP);
	monitor.lock = op_fd(op, MONITOR_LOCK);
	monitor.policy = -1;
	for (int i = 0; i < MAX_CLIENTS; i++)
		monitor.clients[i].fd = -1;
	monitor.directory = open(op_s(op, MONITOR_DIRECTORY), O_PATH | O_DIRECTORY | O_CLOEXEC);
	monitor.run_dir = open(op_s(op, MONITOR_RUN_DIR), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (monitor.directory < 0 || monitor.run_dir < 0)
		return -errno;
	monitor.listener = listen_at(monitor.run_dir);
	if (monitor.listener < 0)
		return fail(run, -monitor.listener, "the attach socket");
	monitor.signals = open_signals();
	if (monitor.signals < 0)
		return -errno;
	clock_gettime(CLOCK_REALTIME, &monitor.started);
	oom_open(&monitor.oom, monitor.cgroup, monitor.directory);
	r = open_exit();
	if (r < 0)
		fail(run, -r, "the exit record");
	else
		r = log_open(&monitor.log, monitor.directory, op_n(op, MONITOR_LOG_SIZE),
			(unsigned)op_n(op, MONITOR_LOG_FILES));
	if (r < 0) {
		unlinkat(monitor.directory, "exit.new", 0);
		return run->detail[0] ? r : fail(run, -r, "the log");
	}
	return 0;
}

/* Never returns but when it could not begin. */
int op_monitor(struct run *run, const struct op *op)
{
	int r = prepare(run, op);

	if (r < 0)
		return r;
	prctl(PR_SET_NAME, "pycontain-mon", 0, 0, 0);
	take_streams(run);
	close_p(&run->baton);
	if (run->front >= 0) {
		front_started(run->front);
		fcntl(run->front, F_SETFL, O_NONBLOCK);
		add_client(run->front, true, monitor.stdin_mode != STDIN_NONE);
		run->front = -1;
	}
	while (!monitor.reaped)
		step(-1);
	drain();
	log_close(&monitor.log);
	write_exit();
	run_all(run, SIDE_AFTER, true);
	tell_late_clients();
	leave_slow_clients();
	_exit(0);
}

/* --- restart --- */

enum { RESTART_NO, RESTART_ON_FAILURE, RESTART_ALWAYS };

/* As Docker does: 100 ms, doubled each time up to a minute, from the start again after ten seconds
 * of life. */
static int delay(uint64_t count)
{
	if (runtime() >= 10000)
		count = 0;
	return count >= 10 ? 60000 : 100 << count;
}

static bool wanted(const struct op *op)
{
	uint64_t max = monitor.policy < 0 ? op_n(op, RESTART_MAX) : monitor.most;

	switch (monitor.policy < 0 ? (int)op_n(op, RESTART_POLICY) : monitor.policy) {
	case RESTART_ON_FAILURE:
		if (monitor.status == 0)
			return false;
		return !max || op_n(op, RESTART_COUNT) < max;
	case RESTART_ALWAYS:
		return true;
	}
	return false;
}

int op_restart(struct run *run, const struct op *op)
{
	_cleanup_free_ char **argv = NULL;

	(void)run;
	if (monitor.no_restart || !wanted(op))
		return 0;
	tell_exit();
	leave_slow_clients();
	if (pause_restart(delay(op_n(op, RESTART_COUNT))))
		return 0;
	argv = op_strings(&op->field[F_RESTART_ARGV]);
	if (!argv || !argv[0])
		return -ENOMEM;
	/* the lock goes along as descriptor 3, and nothing else: reserved ports are reserved anew */
	if (monitor.lock != 3 && dup2(monitor.lock, 3) < 0)
		return -errno;
	sys_close_range(4, ~0u, CLOSE_RANGE_CLOEXEC_);
	fcntl(3, F_SETFD, 0);
	if (rootless_lock() >= 0)
		fcntl(rootless_lock(), F_SETFD, 0);
	execv(argv[0], argv);
	return -errno;
}
