#include "front.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "packet.h"
#include "sandbox.h"
#include "sys.h"
#include "tty.h"
#include "util.h"

struct front {
	int channel;
	int signals;  /* signalfd, or -1 */
	bool forward; /* what comes from it goes to the container; else it ends this process */
	int ended_by; /* the signal that did */
	bool output, input, terminal, started;
	bool unanswered; /* the monitor has not taken the last input yet */
	const char *announce;
	struct tty tty;
	char out[PACKET_SIZE]; /* a packet for the monitor that does not fit yet */
	size_t out_len;
};

/* Results of a step besides "go on". */
enum { GO_ON = 0, EXITED = 1, DETACHED = 2, GONE = 3, FAILED = 4, INTERRUPTED = 5 };

static int send_packet(int channel, char type, const void *body, size_t len)
{
	struct iovec iov[2] = {{&type, 1}, {(void *)body, len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	for (;;) {
		if (sendmsg(channel, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

int front_warning(int channel, const char *text)
{
	return send_packet(channel, PACKET_WARNING, text, strlen(text));
}

int front_failure(int channel, const struct frame *failure)
{
	return send_packet(channel, PACKET_FAILED, failure, FRAME_SIZE(failure));
}

void front_wait(int channel)
{
	char byte;

	while (recv(channel, &byte, 1, 0) > 0 || errno == EINTR)
		errno = 0;
}

int front_started(int channel)
{
	return send_packet(channel, PACKET_STARTED, NULL, 0);
}

static void send_size(struct front *front)
{
	struct winsize size;
	uint16_t body[2];

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		return;
	body[0] = size.ws_row;
	body[1] = size.ws_col;
	send_packet(front->channel, PACKET_RESIZE, body, sizeof(body));
}

static int read_signal(struct front *front)
{
	int number = tty_read_signal(&front->tty, front->signals);
	uint8_t body;

	if (number == SIGWINCH)
		send_size(front);
	if (number == 0 || number == SIGWINCH)
		return GO_ON;
	if (number < 0) {
		tty_restore(&front->tty);
		dprintf(STDERR_FILENO, "pycontain: interrupted three times, leaving the container to itself\n");
		front->ended_by = SIGINT;
		return INTERRUPTED;
	}
	if (!front->forward) {
		front->ended_by = number;
		return INTERRUPTED;
	}
	body = (uint8_t)number;
	send_packet(front->channel, PACKET_SIGNAL, &body, 1);
	return GO_ON;
}

static void flush_out(struct front *front)
{
	if (!front->out_len)
		return;
	if (send(front->channel, front->out, front->out_len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
		(errno == EAGAIN || errno == EINTR))
		return;
	front->out_len = 0;
}

static int read_input(struct front *front)
{
	/* room for a held-back key sequence in the packet */
	ssize_t n = read(STDIN_FILENO, front->out + 1, PACKET_DATA - MAX_KEYS);
	size_t len;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return GO_ON;
	if (n <= 0) {
		front->input = false;
		front->out[0] = PACKET_CLOSE;
		front->out_len = 1;
		flush_out(front);
		return GO_ON;
	}
	len = (size_t)n;
	if (front->terminal && tty_filter(&front->tty, front->out + 1, &len))
		return DETACHED;
	if (len == 0)
		return GO_ON;
	front->out[0] = PACKET_STDIN;
	front->out_len = len + 1;
	front->unanswered = true;
	flush_out(front);
	return GO_ON;
}

static int started(struct front *front)
{
	front->started = true;
	/* what was inherited for the launch is the monitor's now: a front process that lives longer, since nobody takes
	 * its output, must not keep a published port */
	close_all_but(front->channel, front->signals);
	if (front->announce && *front->announce)
		dprintf(STDOUT_FILENO, "%s\n", front->announce);
	if (!front->output)
		return DETACHED;
	/* what comes now is the container's: it needs no privileges */
	sandbox(SANDBOX_FRONT, 0);
	send_size(front);
	return GO_ON;
}

static int write_output(int fd, const char *data, size_t len, int *status)
{
	int r = write_all(fd, data, len);

	if (r == 0)
		return GO_ON;
	*status = 128 + SIGPIPE;
	if (r != -EPIPE) {
		dprintf(STDERR_FILENO, "pycontain: cannot write to standard %s: %s\n",
			fd == STDOUT_FILENO ? "output" : "error", strerror(-r));
		*status = 125;
	}
	return EXITED;
}

static int read_packet(struct front *front, struct run *run, int *status)
{
	static char packet[PACKET_SIZE];
	ssize_t n = recv_last(front->channel, packet, sizeof(packet));
	int32_t code;

	if (n < 0 && errno == EINTR)
		return GO_ON;
	if (n <= 0)
		return GONE;
	switch (packet[0]) {
	case PACKET_STARTED:
		return started(front);
	case PACKET_STDOUT:
		return write_output(STDOUT_FILENO, packet + 1, (size_t)n - 1, status);
	case PACKET_STDERR:
		return write_output(STDERR_FILENO, packet + 1, (size_t)n - 1, status);
	case PACKET_STDIN:
		front->unanswered = false;
		break;
	case PACKET_WARNING:
		dprintf(STDERR_FILENO, "pycontain: warning: %.*s\n", (int)n - 1, packet + 1);
		break;
	case PACKET_FAILED:
		/* who has started cannot fail to any more, and what cleans up here is root's */
		if (!run || front->started || (size_t)n - 1 > sizeof(run->failure))
			return GONE;
		memcpy(&run->failure, packet + 1, (size_t)n - 1);
		if (run->failure.len >= DETAIL_SIZE)
			run->failure.len = 0;
		run->failure.text[run->failure.len] = '\0';
		return FAILED;
	case PACKET_EXIT:
		if ((size_t)n == 1 + sizeof(code)) {
			memcpy(&code, packet + 1, sizeof(code));
			*status = code;
		}
		return EXITED;
	}
	return GO_ON;
}

/* Nothing is read before the monitor has taken the last packet: so a signal never waits behind input that nobody reads.
 */
static bool reads_input(const struct front *front)
{
	return front->input && front->started && !front->out_len && !front->unanswered;
}

static int loop(struct front *front, struct run *run, int *status)
{
	for (;;) {
		struct pollfd fds[3] = {
			{.fd = front->channel, .events = (short)(POLLIN | (front->out_len ? POLLOUT : 0))},
			{.fd = front->signals, .events = POLLIN},
			{.fd = reads_input(front) ? STDIN_FILENO : -1, .events = POLLIN},
		};
		int r = GO_ON;

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
			r = read_packet(front, run, status);
		if (r == GO_ON && fds[0].revents & POLLOUT)
			flush_out(front);
		if (r == GO_ON && fds[1].revents)
			r = read_signal(front);
		if (r == GO_ON && fds[2].revents)
			r = read_input(front);
		if (r != GO_ON)
			return r;
	}
}

static int finish(struct front *front, struct run *run, int result, int status)
{
	tty_restore(&front->tty);
	if (result == FAILED)
		return -1; /* the channel stays: its end tells the monitor's process that all is cleaned up */
	close(front->channel);
	switch (result) {
	case EXITED:
		return status;
	case DETACHED:
		return 0;
	case INTERRUPTED:
		return 128 + front->ended_by;
	}
	if (!front->started && run) {
		run->failure = (struct frame){.type = FRAME_FAILED, .record = UINT32_MAX, .error = ECHILD};
		return -1;
	}
	dprintf(STDERR_FILENO, "pycontain: the container's monitor is gone, and the container with it\n");
	return 125;
}

int front_loop(struct run *run, const struct op *op, int channel)
{
	const struct op *keeper = plan_find(&run->plan, SIDE_HOST, OP_MONITOR);
	static struct front front;
	int status = 125, result;

	front = (struct front){.channel = channel, .output = op_n(op, FRONT_ATTACH), .input = op_n(op, FRONT_STDIN)};
	front.terminal = op_n(op, FRONT_TERMINAL);
	front.announce = op_s(op, FRONT_ANNOUNCE);
	tty_set_keys(&front.tty, op->field[F_FRONT_KEYS].text, op->field[F_FRONT_KEYS].len);
	/* the lock is the monitor's: while we hold it too, its death would not be seen */
	if (keeper)
		close(op_fd(keeper, MONITOR_LOCK));
	front.forward = op_n(op, FRONT_SIGNALS);
	front.signals = front.output ? tty_signals() : -1;
	if (front.terminal)
		tty_raw(&front.tty);
	result = loop(&front, run, &status);
	return finish(&front, run, result, status);
}

/* Relative to the directory's descriptor: a path may be longer than a socket address. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int dir = -1, fd = -1;
	char parent[4096];
	const char *name = strrchr(path, '/');

	if (!name || (size_t)(name - path) >= sizeof(parent))
		return -EINVAL;
	memcpy(parent, path, (size_t)(name - path));
	parent[name - path] = '\0';
	dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (dir < 0 || fd < 0)
		return -errno;
	if (snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d%s", dir, name) >=
		(int)sizeof(address.sun_path))
		return -ENAMETOOLONG;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return take_fd(&fd);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static unsigned parse_keys(const char *hex, char keys[MAX_KEYS])
{
	unsigned n = 0;

	for (; n < MAX_KEYS && hex[0] && hex[1]; hex += 2, n++) {
		int high = hex_digit(hex[0]), low = hex_digit(hex[1]);

		if (high < 0 || low < 0)
			return 0;
		keys[n] = (char)(high << 4 | low);
	}
	return n;
}

int attach_main(int argc, char **argv)
{
	static struct front front;
	int status = 125, result;
	char keys[MAX_KEYS];
	uint8_t flags;

	if (argc != 8)
		return 125;
	front.started = true;
	front.output = argv[3][0] == '1';
	front.input = argv[4][0] == '1';
	front.terminal = argv[5][0] == '1';
	tty_set_keys(&front.tty, keys, parse_keys(argv[7], keys));
	front.channel = connect_to(argv[2]);
	if (front.channel < 0) {
		dprintf(STDERR_FILENO, "pycontain: cannot attach: %s: %s\n", argv[2], strerror(-front.channel));
		return 125;
	}
	flags = (uint8_t)((front.output ? ATTACH_OUTPUT : 0) | (front.input ? ATTACH_STDIN : 0));
	send_packet(front.channel, PACKET_ATTACH, &flags, 1);
	front.forward = argv[6][0] == '1';
	front.signals = tty_signals();
	if (front.terminal)
		tty_raw(&front.tty);
	close_all_but(front.channel, front.signals);
	sandbox(SANDBOX_FRONT, 0);
	send_size(&front);
	result = loop(&front, NULL, &status);
	return finish(&front, NULL, result, status);
}

/* Not one of a sequence: front_loop reads the record. */
int op_front(struct run *run, const struct op *op)
{
	(void)op;
	return fail(run, EINVAL, "a record of the front process stands on another side");
}
