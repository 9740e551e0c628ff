/* exec: wait for the command without a monitor, pass the terminal and signals, end with its status.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "launch.h"
#include "notify.h"
#include "packet.h"
#include "sandbox.h"
#include "sys.h"
#include "trace.h"
#include "tty.h"
#include "util.h"

static char buffer[PACKET_DATA + MAX_KEYS];
static int null = -1; /* for who holds the terminal later on, when nothing can be opened any more */
static bool may_fork;

static void pass_size(struct run *run)
{
	struct winsize size;

	if (run->master >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		ioctl(run->master, TIOCSWINSZ, &size);
}

/* False when the other side is closed. */
static bool pass_output(struct run *run)
{
	ssize_t n = read(run->master, buffer, PACKET_DATA);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	return n > 0 && write_all(STDOUT_FILENO, buffer, (size_t)n) == 0;
}

/* For the command, as far as it has not taken it yet; before that no more is read. */
static char typed[PACKET_DATA + MAX_KEYS];
static size_t typed_len;

/* False when there is no more to type; *detached when the detach sequence was typed. */
static bool read_keys(struct tty *tty, bool *detached)
{
	ssize_t n = read(STDIN_FILENO, typed, PACKET_DATA);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	typed_len = (size_t)n;
	*detached = tty_filter(tty, typed, &typed_len);
	return !*detached;
}

/* --- without a terminal: pipes, so that the container gets no descriptor of the caller's. By /proc/self/fd
 * it could open the file behind one again, for writing too, or keep the caller's terminal. --- */

static void nonblocking(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void close_pipe(struct run *run, int number)
{
	close_p(&run->pipes[number]);
	run->pipes[number] = -1;
}

/* One chunk of the command's output. False when there is no more for now. */
static bool pass_pipe(struct run *run, int number)
{
	ssize_t n;

	if (run->pipes[number] < 0)
		return false;
	n = read(run->pipes[number], buffer, PACKET_DATA);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 || write_all(number, buffer, (size_t)n) < 0) {
		close_pipe(run, number); /* nobody reads it: the command is to see that */
		return false;
	}
	return true;
}

static void read_typed(struct run *run)
{
	ssize_t n = read(STDIN_FILENO, typed, PACKET_DATA);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		close_pipe(run, 0);
	else
		typed_len = (size_t)n;
}

static void write_typed(struct run *run)
{
	ssize_t n = write(run->master >= 0 ? run->master : run->pipes[0], typed, typed_len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		close_pipe(run, 0);
		typed_len = 0;
		return;
	}
	typed_len -= (size_t)n;
	memmove(typed, typed + n, typed_len);
}

/* --- the loop --- */

static int status_of(const siginfo_t *info)
{
	return info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
}

/* False when the caller has interrupted often enough to be let go. */
static bool pass_signal(struct run *run, struct tty *tty, int signals)
{
	int number = tty_read_signal(tty, signals);

	if (number == SIGWINCH)
		pass_size(run);
	else if (number > 0)
		sys_pidfd_send_signal(run->pidfd, number);
	return number >= 0;
}

/* Detached: the terminal stays open for the command, which would hear of its end (SIGHUP), and what it writes is read,
 * so that it never waits; until it has ended. */
static _Noreturn void hold_terminal(struct run *run)
{
	setsid();
	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	if (chdir("/") < 0)
		_exit(0);
	/* nothing but the two that it looks at, and no privileges */
	close_all_but(run->pidfd, run->master);
	keep_capabilities(0);
	for (;;) {
		struct pollfd fds[2] = {
			{.fd = run->pidfd, .events = POLLIN},
			{.fd = run->master, .events = POLLIN},
		};

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents || (fds[1].revents && read(run->master, buffer, PACKET_DATA) <= 0))
			_exit(0);
	}
}

/* Whether somebody asks us to end. */
static bool told_to_end(int signals)
{
	struct pollfd fd = {.fd = signals, .events = POLLIN};

	return poll(&fd, 1, 0) > 0;
}

/* What the command has left in pty and pipes. Others may hold them open and write for ever, so not until their end, but
 * as much as they can hold; and not against a signal. */
static void drain(struct run *run, int signals)
{
	if (run->master >= 0)
		fcntl(run->master, F_SETFL, O_RDWR | O_NONBLOCK);
	for (size_t most = 0; most < DRAIN_MAX && !told_to_end(signals); most += PACKET_DATA) {
		bool more = false;

		if (run->master >= 0) {
			ssize_t n = read(run->master, buffer, PACKET_DATA);

			more = n > 0 && write_all(STDOUT_FILENO, buffer, (size_t)n) == 0;
		}
		more = pass_pipe(run, 1) || more;
		if (!pass_pipe(run, 2) && !more)
			return;
	}
}

static int wait_loop(struct run *run, struct tty *tty, int signals)
{
	bool input = run->master >= 0, detached = false;

	for (;;) {
		bool wanted = run->pipes[0] >= 0;
		struct pollfd fds[] = {
			{.fd = run->pidfd, .events = POLLIN},
			{.fd = signals, .events = POLLIN},
			{.fd = run->master, .events = (short)(POLLIN | (typed_len ? POLLOUT : 0))},
			{.fd = (input || wanted) && !typed_len ? STDIN_FILENO : -1, .events = POLLIN},
			{.fd = run->pipes[1], .events = POLLIN},
			{.fd = run->pipes[2], .events = POLLIN},
			{.fd = wanted ? run->pipes[0] : -1, .events = (short)(typed_len ? POLLOUT : 0)},
			{.fd = run->notify, .events = POLLIN},
		};
		siginfo_t info = {0};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[1].revents && !pass_signal(run, tty, signals)) {
			tty_restore(tty);
			dprintf(STDERR_FILENO, "pycontain: interrupted three times, leaving the command to itself\n");
			return 128 + SIGINT;
		}
		if (fds[2].revents & POLLOUT)
			write_typed(run);
		if (fds[2].revents & ~POLLOUT && !pass_output(run)) {
			close_p(&run->master);
			run->master = -1;
			input = false;
		}
		if (fds[3].revents && input)
			input = read_keys(tty, &detached);
		else if (fds[3].revents)
			read_typed(run);
		for (int i = 1; i < 3; i++)
			if (fds[3 + i].revents)
				pass_pipe(run, i);
		if (fds[6].revents & POLLOUT)
			write_typed(run);
		else if (fds[6].revents)
			close_pipe(run, 0); /* the command reads no more */
		if (fds[7].revents && notify_pass(run->notify, run->notify_host, getpid()) < 0)
			run->notify = -1; /* nobody hears it: the container is not to wait for that */
		if (detached) {
			if (may_fork && fork() == 0)
				hold_terminal(run);
			return 0;
		}
		if (fds[0].revents && waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED | __WALL) == 0) {
			drain(run, signals);
			return status_of(&info);
		}
	}
}

/*
 * What comes now is the command's output, which may say anything, and needs no privileges but to pass signals on to
 * whatever user the command has become. Records that clean up at the end do (pycontain-oci run), and so does telling a
 * service manager: then all stays.
 */
static void give_up(struct run *run)
{
	/* A child is to live in this process's PID namespace, not in the container's, which the command was born in:
	 * there its /proc would show the host to whoever may trace. */
	may_fork = run->own_pidns < 0 || setns(run->own_pidns, CLONE_NEWPID) == 0;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (uint32_t i = 0; i < run->plan.count; i++)
		if (run->plan.ops[i].side == SIDE_AFTER || run->notify >= 0)
			return;
	sandbox(SANDBOX_WAIT, CAP_BIT(CAP_KILL));
}

int op_wait(struct run *run, const struct op *op)
{
	struct tty tty = {0};
	int signals, status;

	tty_set_keys(&tty, op->field[F_WAIT_KEYS].text, op->field[F_WAIT_KEYS].len);
	pass_size(run);
	for (int i = 0; i < 3; i++)
		nonblocking(run->pipes[i]);
	nonblocking(run->master);
	if (op_n(op, WAIT_TERMINAL))
		tty_raw(&tty);
	signals = tty_signals();
	give_up(run);
	status = wait_loop(run, &tty, signals);
	tty_restore(&tty);
	run_all(run, SIDE_AFTER, false);
	trace_print(run);
	_exit(status);
}
