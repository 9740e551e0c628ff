/* One process a container: made it, waits for its end, records it and cleans up. It has the privileges for that and
 * reads nothing that a container or a client has written: its relay does (docs/monitor-sandbox.md). */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <linux/capability.h>
#include <linux/seccomp.h>

#include "ending.h"
#include "front.h"
#include "launch.h"
#include "logfile.h"
#include "notify.h"
#include "oom.h"
#include "relay.h"
#include "rootless.h"
#include "sandbox.h"
#include "sys.h"
#include "util.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

/* So long (milliseconds) until a relay that could not be made is tried again. */
#define AGAIN_MS 1000

/* So long (milliseconds) the relay has for what is left of the output, and for telling its clients. A log on a disk
 * that is slow is in it. */
#define ANSWER_MS 30000

/* The file of the exit record has this size from the start on, so that a disk that is full at the end loses nothing. */
#define EXIT_SIZE 96

/*
 * For the AFTER records and nothing else: signals to processes of any user, removal of what any user has made, rules
 * and devices of the network. A restart executes an interpreter, which as root's gets the rest again (capabilities(7)).
 */
#define KEPT                                                                                                           \
	(CAP_BIT(CAP_KILL) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH) | CAP_BIT(CAP_FOWNER) |          \
		CAP_BIT(CAP_NET_ADMIN))

struct monitor {
	struct run *run;
	struct relay_start start; /* what the relay will have, while there is none yet */
	bool asleep;		  /* there is none yet */
	long again;		  /* when one that could not be made is tried again */
	int directory, run_dir;
	int signals;
	int relay; /* socket to it, -1 when it is gone */
	int exit_file;
	bool reaped, no_restart, told, finished_relay;
	bool done, refused, stays; /* the relay's last answer */
	int status, signal;
	int service; /* what this process ends with */
	int lock;
	int policy; /* a restart policy that came while the container runs, -1 for that of the plan */
	uint32_t most;
	unsigned log_files;
	struct oom oom;
	struct timespec started, finished;
};

static struct monitor monitor;

static long runtime(void)
{
	return (monitor.finished.tv_sec - monitor.started.tv_sec) * 1000 +
	       (monitor.finished.tv_nsec - monitor.started.tv_nsec) / 1000000;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- the relay --- */

/* Nobody reads the container's output any more: then it is not to go on. */
static void relay_gone(void)
{
	close_p(&monitor.relay);
	monitor.relay = -1;
	/* dead already, or no use: nobody has waited for it, so the number is still its own */
	kill(monitor.run->relay, SIGKILL);
	if (!monitor.reaped)
		sys_pidfd_send_signal(monitor.run->pidfd, SIGKILL);
}

static void tell(enum relay_type type, int32_t value)
{
	struct relay_message message = {type, value, 0};

	if (monitor.relay >= 0 && relay_send(monitor.relay, &message, -1, false) < 0)
		relay_gone();
}

static void give_log(bool rotate)
{
	struct relay_message message = {.type = RELAY_LOG};
	_cleanup_close_ int fd = log_file(monitor.directory, monitor.log_files, rotate, &message.number);

	if (relay_send(monitor.relay, &message, fd, false) < 0)
		relay_gone();
}

/* Its program has said that it is up: a fact for status, and the notice that start --wait waits for. */
static void write_ready(void)
{
	_cleanup_close_ int fd = openat(monitor.run_dir, "ready", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	(void)fd;
}

/* One message, if there is one or comes in time (milliseconds). False when there is none, or no relay. */
static bool hear(long timeout)
{
	struct pollfd fds = {.fd = monitor.relay, .events = POLLIN};
	struct relay_message message;
	int fd, r;

	if (monitor.relay < 0 || (timeout > 0 && poll(&fds, 1, (int)timeout) < 0 && errno != EINTR))
		return false;
	r = relay_receive(monitor.relay, &message, &fd, false);
	close_p(&fd);
	if (r == -EAGAIN)
		return false;
	if (r <= 0) {
		relay_gone();
		return false;
	}
	switch (message.type) {
	case RELAY_DONE:
		monitor.done = true;
		monitor.refused = message.number;
		monitor.stays = message.value;
		break;
	case RELAY_SIGNAL:
		if (!monitor.reaped)
			sys_pidfd_send_signal(monitor.run->pidfd, message.value);
		break;
	case RELAY_NO_RESTART:
		monitor.no_restart = true;
		break;
	case RELAY_POLICY:
		monitor.policy = message.value;
		monitor.most = (uint32_t)message.number;
		break;
	case RELAY_OPEN:
		give_log(message.value);
		break;
	case RELAY_UP:
		write_ready();
		break;
	}
	return true;
}

/* Ask for something, and hear what else there is until it is done. A relay that was stopped, or that does not mean to
 * answer, cannot keep the container from being cleaned up. */
static void ask(enum relay_type type, int32_t value)
{
	long deadline = now_ms() + ANSWER_MS, left;

	monitor.done = false;
	tell(type, value);
	while (!monitor.done && monitor.relay >= 0 && (left = deadline - now_ms()) > 0)
		hear(left);
	if (!monitor.done && monitor.relay >= 0)
		relay_gone();
}

/* --- beginning --- */

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

/* The container's ends go to the relay; nothing of them stays with us. */
static void take_streams(struct run *run, const struct op *op, struct relay_start *start)
{
	start->terminal = op_n(op, MONITOR_TERMINAL);
	if (start->terminal) {
		start->in = start->out = run->master;
		start->slave = ioctl(run->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	} else {
		start->in = run->pipes[0];
		start->out = run->pipes[1];
		start->err = run->pipes[2];
	}
	nonblocking(start->in);
	nonblocking(start->out);
	nonblocking(start->err);
	nonblocking(run->front);
	start->front = run->front;
	start->ready = run->ready;
	/* the front process hears of a failure by us */
	run->ready = run->master = -1;
	run->pipes[0] = run->pipes[1] = run->pipes[2] = -1;
}

static void drop_streams(struct relay_start *start)
{
	int *const fds[] = {
		&start->in, &start->out, &start->err, &start->slave, &start->listener, &start->log, &start->ready};

	if (start->in == start->out)
		start->in = -1;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		close_p(fds[i]);
		*fds[i] = -1;
	}
}

static int prepare(struct run *run, const struct op *op, struct relay_start *start)
{
	int r;

	monitor.run = run;
	start->stdin_mode = (int)op_n(op, MONITOR_STDIN);
	start->log_limit = op_n(op, MONITOR_LOG_SIZE);
	monitor.lock = op_fd(op, MONITOR_LOCK);
	monitor.policy = monitor.relay = -1;
	monitor.log_files = (unsigned)op_n(op, MONITOR_LOG_FILES);
	monitor.directory = open(op_s(op, MONITOR_DIRECTORY), O_PATH | O_DIRECTORY | O_CLOEXEC);
	monitor.run_dir = open(op_s(op, MONITOR_RUN_DIR), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (monitor.directory < 0 || monitor.run_dir < 0)
		return -errno;
	start->listener = listen_at(monitor.run_dir);
	if (start->listener < 0)
		return fail(run, -start->listener, "the attach socket");
	monitor.signals = open_signals();
	if (monitor.signals < 0)
		return -errno;
	clock_gettime(CLOCK_REALTIME, &monitor.started);
	oom_open(&monitor.oom, op_fd(op, MONITOR_CGROUP), monitor.directory);
	r = open_exit();
	if (r < 0)
		fail(run, -r, "the exit record");
	else if (start->log_limit)
		r = start->log = log_file(monitor.directory, monitor.log_files, false, &start->log_size);
	if (r < 0) {
		unlinkat(monitor.directory, "exit.new", 0);
		return run->detail[0] ? r : fail(run, -r, "the log");
	}
	return 0;
}

/* Its pipes, its clients, its log to a process of their own. */
static int fork_relay(struct run *run, struct relay_start *start)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	start->control = pair[1];
	pid = fork();
	if (pid == 0) {
		/* the plan has the container's environment */
		munmap((void *)run->data, run->size);
		free(run->plan.ops);
		relay_main(start);
	}
	close_p(&pair[1]);
	if (pid < 0) {
		close_p(&pair[0]);
		return -errno;
	}
	run->relay = pid;
	monitor.relay = pair[0];
	return 0;
}

static void give_up(struct run *run, uint64_t more)
{
	const int dirs[] = {monitor.directory, monitor.run_dir, monitor.oom.cgroup};
	uint64_t keep = KEPT | more;

	/* where a program has mounted an ordinary user's root it is unmounted before that ends */
	if (run->companions[COMPANION_ROOT] >= 0)
		keep |= CAP_BIT(CAP_SYS_ADMIN);
	ending_sandbox(run, keep, dirs, ARRAY_SIZE(dirs));
}

/* 0 when both have given up all that they do not need: before that nobody reads a byte of the container's. */
static int start_relay(struct run *run)
{
	struct relay_message message = {.type = RELAY_READY, .value = -ECHILD};
	int r = fork_relay(run, &monitor.start), fd;

	if (r < 0)
		return r;
	/* both at the same time */
	drop_streams(&monitor.start);
	give_up(run, 0);
	tell(RELAY_BEGIN, 0);
	if (monitor.relay >= 0 && relay_receive(monitor.relay, &message, &fd, true) > 0)
		close_p(&fd);
	return message.value < 0 ? fail(run, -message.value, "the sandbox of its relay") : 0;
}

/*
 * A container that says nothing, and whom nobody asks for anything, needs no relay: it is made when there is something
 * to read. Until then we hold what it will read from, and only ask whether there is something. Not for who looks on
 * from the beginning; nor where our own walls would not let us make it.
 */
static bool may_sleep(const struct run *run)
{
	const struct op *front = plan_find(&run->plan, SIDE_FRONT, OP_FRONT);

	return ending_executes(run) && !(front && op_n(front, FRONT_ATTACH));
}

/* What its sandbox cannot do without is asked for now: later it would be the end of the container. */
static int sleep_instead(struct run *run)
{
	uint32_t action = SECCOMP_RET_ERRNO;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
		return fail(run, errno, "the sandbox of its relay");
	monitor.asleep = true;
	/* its bounding set is emptied by this */
	give_up(run, CAP_BIT(CAP_SETPCAP));
	if (monitor.start.front >= 0)
		front_started(monitor.start.front);
	monitor.start.front = -1;
	return 0;
}

/* What there is to wait for, while nobody else waits for it: the container's words, if it is alive, and clients. */
enum { WAKE_LISTENER, WAKE_OUT, WAKE_ERR, WAKE_READY, WAKES };

static void wakers(struct pollfd *fds)
{
	const struct relay_start *start = &monitor.start;
	const int from[WAKES] = {start->listener, start->out, start->err, start->ready};

	for (int i = 0; i < WAKES; i++)
		fds[i] = (struct pollfd){.fd = monitor.asleep ? from[i] : -1, .events = POLLIN};
}

/* Whether there is something to read. That the other end was closed is nothing. */
static bool pending(void)
{
	struct pollfd fds[WAKES];

	wakers(fds);
	if (poll(fds, WAKES, 0) <= 0)
		return false;
	for (int i = 0; i < WAKES; i++)
		if (fds[i].revents & POLLIN)
			return true;
	return false;
}

static void wake(void)
{
	int r = start_relay(monitor.run);

	if (monitor.relay < 0) {
		monitor.again = now_ms() + AGAIN_MS;
		return;
	}
	monitor.asleep = false;
	if (r < 0)
		relay_gone();
	if (monitor.reaped)
		ask(RELAY_ENDED, monitor.status);
	if (monitor.told)
		tell(RELAY_TELL, 0);
}

/* --- the end --- */

/* The container has ended: what is left of its output is read, and logged. Without a relay there is none, mostly. */
static void end_output(void)
{
	if (monitor.asleep && pending())
		wake();
	else
		ask(RELAY_ENDED, monitor.status);
}

static void tell_end(void)
{
	monitor.told = true;
	tell(RELAY_TELL, 0);
}

/* A restart is the same process again: it is not to gather one dead child a life. Who has said that nobody is left to
 * be served goes now; of those that served slow clients, who has ended. */
static void reap_relays(void)
{
	if (monitor.run->relay && monitor.done && !monitor.stays && kill(monitor.run->relay, SIGKILL) == 0)
		waitpid(monitor.run->relay, NULL, 0);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* What a client was promised before this moment counts. */
static void finish_relay(bool late)
{
	if (monitor.finished_relay)
		return;
	if (monitor.asleep && pending())
		wake();
	if (monitor.asleep)
		drop_streams(&monitor.start);
	ask(RELAY_FINISH, late);
	if (monitor.relay >= 0 && monitor.refused)
		return;
	monitor.finished_relay = true;
	close_p(&monitor.relay);
	monitor.relay = -1;
	if (!late)
		reap_relays();
}

/* Reserved ports, and the lock: who is told of the end may take them at once, however long we take for our own. What is
 * still needed is for a relay, and for one that is made only now. */
static void let_go(void)
{
	const struct relay_start *start = &monitor.start;
	int kept[] = {monitor.relay, monitor.directory, monitor.run_dir, start->listener, start->in, start->out,
		start->err, start->slave, start->log, start->ready, rootless_lock()};

	keep_descriptors(kept, ARRAY_SIZE(kept));
}

/* --- the loop --- */

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

enum { SLOT_INIT, SLOT_OOM, SLOT_SIGNALS, SLOT_RELAY, SLOT_WAKE, SLOTS = SLOT_WAKE + WAKES };

/* Returns the timeout that is left: nobody waits for who could not be made a moment ago. */
static int slots(struct pollfd *fds, int timeout)
{
	long left = monitor.asleep ? monitor.again - now_ms() : 0;

	fds[SLOT_INIT] = (struct pollfd){.fd = monitor.reaped ? -1 : monitor.run->pidfd, .events = POLLIN};
	fds[SLOT_OOM] = (struct pollfd){.fd = monitor.oom.events, .events = POLLPRI};
	fds[SLOT_SIGNALS] = (struct pollfd){.fd = monitor.signals, .events = POLLIN};
	fds[SLOT_RELAY] = (struct pollfd){.fd = monitor.relay, .events = POLLIN};
	wakers(fds + SLOT_WAKE);
	for (int i = 0; i < WAKES; i++)
		/* the streams of one that has ended are at their end */
		if (left > 0 || (monitor.reaped && i != WAKE_LISTENER))
			fds[SLOT_WAKE + i].fd = -1;
	return left > 0 && (timeout < 0 || timeout > left) ? (int)left : timeout;
}

static void step(int timeout)
{
	struct pollfd fds[SLOTS];
	bool woken = false, ended = monitor.reaped;

	timeout = slots(fds, timeout);
	if (poll(fds, SLOTS, timeout) <= 0)
		return;
	/* before all else: when the last process has ended, systemd takes the scope away with all its files */
	if (fds[SLOT_OOM].revents || fds[SLOT_INIT].revents)
		oom_look(&monitor.oom);
	if (fds[SLOT_SIGNALS].revents)
		pass_termination();
	if (fds[SLOT_RELAY].revents)
		hear(0);
	if (fds[SLOT_INIT].revents)
		reap();
	for (int i = SLOT_WAKE; i < SLOTS; i++)
		woken |= fds[i].revents != 0;
	/* an end that was seen this moment is told by who waits for it */
	if (woken && ended == monitor.reaped)
		wake();
}

/* Never returns but when it could not begin. */
int op_monitor(struct run *run, const struct op *op)
{
	int r;

	monitor.start = (struct relay_start){.front = -1,
		.in = -1,
		.out = -1,
		.err = -1,
		.slave = -1,
		.log = -1,
		.listener = -1,
		.control = -1,
		.ready = -1};
	r = prepare(run, op, &monitor.start);
	if (r < 0)
		return r;
	take_streams(run, op, &monitor.start);
	/* our end of the baton: the guest has executed its program */
	close_p(&run->baton);
	run->baton = -1;
	prctl(PR_SET_NAME, "pycontain-mon", 0, 0, 0);
	r = may_sleep(run) ? sleep_instead(run) : start_relay(run);
	if (r < 0) {
		unlinkat(monitor.directory, "exit.new", 0);
		return r;
	}
	close_p(&run->front);
	run->front = -1;
	plan_keep(&run->plan, SIDE_AFTER);
	notify_service(run);
	while (!monitor.reaped)
		step(-1);
	end_output();
	write_exit();
	run_all(run, SIDE_AFTER, true);
	let_go();
	finish_relay(true);
	_exit(monitor.service);
}

/* Not for whom it was asked to end, nor for who has switched itself off (reboot(2) in a PID namespace: SIGINT). */
int op_service_end(struct run *run, const struct op *op)
{
	(void)run;
	(void)op;
	if (!monitor.no_restart && monitor.signal != SIGINT)
		monitor.service = monitor.status;
	return 0;
}

/* --- restart --- */

enum { RESTART_NO, RESTART_ON_FAILURE, RESTART_ALWAYS, RESTART_ON_REBOOT };

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
	case RESTART_ON_REBOOT:
		return monitor.signal == SIGHUP; /* reboot(2) in a PID namespace: LINUX_REBOOT_CMD_RESTART */
	}
	return false;
}

/* True when somebody wants it to stay as it is. */
static bool pause_restart(int milliseconds)
{
	long deadline = now_ms() + milliseconds, left;

	while (!monitor.no_restart && (left = deadline - now_ms()) > 0)
		step((int)left);
	return monitor.no_restart;
}

int op_restart(struct run *run, const struct op *op)
{
	_cleanup_free_ char **argv = NULL;

	(void)run;
	while (hear(0))
		; /* a policy, or none, that came in the meantime */
	if (monitor.no_restart || !wanted(op))
		return 0;
	tell_end();
	if (pause_restart(delay(op_n(op, RESTART_COUNT))))
		return 0;
	finish_relay(false);
	if (monitor.no_restart)
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
