/* exec: wait for the command without a monitor, pass the terminal and signals, end with its status.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "launch.h"
#include "packet.h"
#include "sys.h"
#include "tty.h"
#include "util.h"

static char buffer[PACKET_DATA + MAX_KEYS];

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

/* False when there is no more to type; *detached when the detach sequence was typed. */
static bool pass_input(struct run *run, struct tty *tty, bool *detached)
{
	ssize_t n = read(STDIN_FILENO, buffer, PACKET_DATA);
	size_t len;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	len = (size_t)n;
	*detached = tty_filter(tty, buffer, &len);
	return !*detached && write_all(run->master, buffer, len) == 0;
}

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
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
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

static int wait_loop(struct run *run, struct tty *tty)
{
	int signals = tty_signals();
	bool input = run->master >= 0, detached = false;

	for (;;) {
		struct pollfd fds[4] = {
			{.fd = run->pidfd, .events = POLLIN},
			{.fd = signals, .events = POLLIN},
			{.fd = run->master, .events = POLLIN},
			{.fd = input ? STDIN_FILENO : -1, .events = POLLIN},
		};
		siginfo_t info = {0};

		if (poll(fds, 4, -1) < 0)
			continue;
		if (fds[1].revents && !pass_signal(run, tty, signals)) {
			tty_restore(tty);
			dprintf(STDERR_FILENO, "pycontain: interrupted three times, leaving the command to itself\n");
			return 128 + SIGINT;
		}
		if (fds[2].revents && !pass_output(run)) {
			close_p(&run->master);
			run->master = -1;
			input = false;
		}
		if (fds[3].revents)
			input = pass_input(run, tty, &detached);
		if (detached) {
			if (fork() == 0)
				hold_terminal(run);
			return 0;
		}
		if (fds[0].revents && waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED | __WALL) == 0) {
			/* what is left in the pty: others may hold it open, so not until its end */
			if (run->master >= 0)
				fcntl(run->master, F_SETFL, O_RDWR | O_NONBLOCK);
			while (run->master >= 0) {
				ssize_t n = read(run->master, buffer, PACKET_DATA);

				if (n <= 0 || write_all(STDOUT_FILENO, buffer, (size_t)n) < 0)
					break;
			}
			return status_of(&info);
		}
	}
}

int op_wait(struct run *run, const struct op *op)
{
	struct tty tty = {0};
	int status;

	tty_set_keys(&tty, op->field[F_WAIT_KEYS].text, op->field[F_WAIT_KEYS].len);
	pass_size(run);
	if (op_n(op, WAIT_TERMINAL))
		tty_raw(&tty);
	status = wait_loop(run, &tty);
	tty_restore(&tty);
	run_all(run, SIDE_AFTER, false);
	_exit(status);
}
