#include "relay.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "front.h"
#include "logfile.h"
#include "notify.h"
#include "packet.h"
#include "passing.h"
#include "sandbox.h"
#include "util.h"

#define MAX_CLIENTS 256

struct client {
	int fd;
	bool output, input;
	char *queue; /* packets that the client has no room for, each after its length (uint32_t) */
	size_t queue_len;
	char *held; /* its input, while that of another client is on its way */
	size_t held_len;
};

struct relay {
	struct relay_start is;
	uid_t uid; /* whose monitor this is */
	struct logfile log;
	bool begun;
	bool ended, finishing; /* the container has; we are to */
	bool told, late;
	bool last; /* somebody was promised that there is no other life after this */
	int32_t status;
	bool opened; /* the answer to RELAY_OPEN has come */
	bool up;     /* the monitor knows that the program is ready */
	struct client clients[MAX_CLIENTS];
	int used;		 /* no client is at this place or after it */
	char input[PACKET_DATA]; /* for the container, as far as it has not taken it yet */
	size_t input_len;
	struct client *typist; /* whose input that is, NULL when it is gone */
	bool input_ends;       /* nothing comes after what is on its way */
};

static struct relay relay;
static char buffer[PACKET_SIZE];

/* --- the monitor --- */

int relay_send(int socket, const struct relay_message *message, int fd, bool wait)
{
	ssize_t n = message_send(socket, message, sizeof(*message), fd, wait ? 0 : MSG_DONTWAIT);

	return n < 0 ? (int)n : 0;
}

int relay_receive(int socket, struct relay_message *message, int *fd, bool wait)
{
	ssize_t n = message_receive(socket, message, sizeof(*message), fd, wait ? 0 : MSG_DONTWAIT);

	if (n <= 0)
		return (int)n;
	return n == sizeof(*message) ? 1 : -EBADMSG;
}

/* A relay without its monitor has nothing to relay: the container is dead, or dies. */
static void say(enum relay_type type, int32_t value, uint64_t number)
{
	struct relay_message message = {type, value, number};

	if (relay_send(relay.is.control, &message, -1, true) < 0)
		_exit(0);
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
	for (int i = 0; i < relay.used; i++)
		if (relay.clients[i].fd >= 0 && relay.clients[i].queue_len)
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
	if (relay.is.in < 0 || relay.is.terminal)
		return;
	close_p(&relay.is.in);
	relay.is.in = -1;
}

static bool next_held(void)
{
	for (int i = 0; i < relay.used; i++) {
		struct client *client = &relay.clients[i];

		if (client->fd < 0 || !client->held)
			continue;
		memcpy(relay.input, client->held, client->held_len);
		relay.input_len = client->held_len;
		relay.typist = client;
		free(client->held);
		client->held = NULL;
		return true;
	}
	return false;
}

static void write_input(void)
{
	while (relay.input_len || next_held()) {
		ssize_t n = relay.is.in < 0 ? -1 : write(relay.is.in, relay.input, relay.input_len);

		if (n < 0) {
			if (relay.is.in >= 0 && (errno == EAGAIN || errno == EINTR))
				return;
			n = (ssize_t)relay.input_len; /* nobody reads it any more */
		}
		relay.input_len -= (size_t)n;
		memmove(relay.input, relay.input + n, relay.input_len);
		if (!relay.input_len)
			answer_input(relay.typist);
	}
	if (relay.input_ends)
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
	relay.input_ends = true;
	write_input();
}

static void drop(struct client *client)
{
	bool ends = client->input && relay.is.stdin_mode == STDIN_ONCE && !relay.is.terminal;

	close(client->fd);
	free(client->queue);
	free(client->held);
	*client = (struct client){.fd = -1};
	if (relay.typist == client)
		relay.typist = NULL;
	while (relay.used > 0 && relay.clients[relay.used - 1].fd < 0)
		relay.used--;
	if (ends)
		end_input();
}

static void add_client(int fd, bool output, bool input)
{
	for (int i = 0; i < MAX_CLIENTS; i++) {
		if (relay.clients[i].fd >= 0)
			continue;
		relay.clients[i] = (struct client){.fd = fd, .output = output, .input = input};
		if (i >= relay.used)
			relay.used = i + 1;
		return;
	}
	close(fd);
}

/* Only root, or who runs the monitor, may see and type into a container. */
static bool accept_client(void)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(relay.is.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || (peer.uid != 0 && peer.uid != relay.uid))
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
	if (relay.is.terminal && relay.is.out >= 0)
		ioctl(relay.is.out, TIOCSWINSZ, &size);
}

static void read_client(struct client *client)
{
	ssize_t n = recv_last(client->fd, buffer, sizeof(buffer));
	uint32_t most;

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
			client->input = buffer[1] & ATTACH_STDIN && relay.is.stdin_mode != STDIN_NONE;
		}
		break;
	case PACKET_STDIN:
		take_input(client, buffer + 1, (size_t)n - 1);
		break;
	case PACKET_CLOSE:
		if (client->input && relay.is.stdin_mode == STDIN_ONCE)
			end_input();
		break;
	case PACKET_RESIZE:
		if (n == 5)
			resize(buffer + 1);
		break;
	case PACKET_SIGNAL:
		if (n == 2 && !relay.ended)
			say(RELAY_SIGNAL, (unsigned char)buffer[1], 0);
		break;
	case PACKET_NO_RESTART:
		relay.last = true;
		say(RELAY_NO_RESTART, 0, 0);
		/* the answer tells the client that it is known */
		buffer[0] = PACKET_NO_RESTART;
		send_client(client, buffer, 1);
		break;
	case PACKET_POLICY:
		if (n != 6)
			break;
		memcpy(&most, buffer + 2, sizeof(most));
		say(RELAY_POLICY, (unsigned char)buffer[1], most);
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
		if (relay.is.terminal)
			relay.is.in = -1; /* it was the same */
		return false;
	}
	log_write(&relay.log, stream, buffer + 1, (size_t)n);
	buffer[0] = type;
	for (int i = 0; i < relay.used; i++)
		if (relay.clients[i].fd >= 0 && relay.clients[i].output)
			send_client(&relay.clients[i], buffer, (size_t)n + 1);
	return true;
}

static void tell_exit(void)
{
	char packet[1 + sizeof(int32_t)] = {PACKET_EXIT};
	int32_t code = relay.status;

	if (relay.told)
		return;
	relay.told = true;
	memcpy(packet + 1, &code, sizeof(code));
	for (int i = 0; i < relay.used; i++)
		if (relay.clients[i].fd >= 0)
			send_client(&relay.clients[i], packet, sizeof(packet));
}

/* --- the log: only the monitor may open files --- */

static void take_message(bool wait)
{
	struct relay_message message;
	int fd, r = relay_receive(relay.is.control, &message, &fd, wait);

	if (r == -EAGAIN)
		return;
	if (r <= 0)
		_exit(0);
	switch (message.type) {
	case RELAY_BEGIN:
		relay.begun = true;
		break;
	case RELAY_ENDED:
		relay.ended = true;
		relay.status = message.value;
		break;
	case RELAY_TELL:
		tell_exit();
		break;
	case RELAY_FINISH:
		relay.finishing = true;
		relay.late = message.value;
		break;
	case RELAY_LOG:
		relay.opened = true;
		relay.log.fd = take_fd(&fd);
		relay.log.size = message.number;
		break;
	}
	close_p(&fd);
}

static int open_log(struct logfile *log, bool rotate)
{
	relay.opened = false;
	say(RELAY_OPEN, rotate, 0);
	while (!relay.opened)
		take_message(true);
	return log->fd < 0 ? -EIO : 0;
}

/* A datagram of the program's. All are read, whatever is in them: it is not to wait for us. */
static void take_notice(void)
{
	ssize_t n = recv(relay.is.ready, buffer, sizeof(buffer) - 1, MSG_DONTWAIT);

	if (n <= 0 || relay.up)
		return;
	buffer[n] = '\0';
	if (!notify_is_ready(buffer))
		return;
	relay.up = true;
	say(RELAY_UP, 0, 0);
}

/* --- the loop --- */

/* Which client an entry of the poll set belongs to; the first FIXED are ours. */
enum { SLOT_CONTROL, SLOT_LISTEN, SLOT_OUT, SLOT_ERR, SLOT_IN, SLOT_READY, FIXED };

static int fill(struct pollfd *fds)
{
	bool wait = blocked();

	fds[SLOT_CONTROL] = (struct pollfd){.fd = relay.is.control, .events = POLLIN};
	fds[SLOT_LISTEN] = (struct pollfd){.fd = relay.is.listener, .events = POLLIN};
	fds[SLOT_OUT] = (struct pollfd){.fd = wait ? -1 : relay.is.out, .events = POLLIN};
	fds[SLOT_ERR] = (struct pollfd){.fd = wait ? -1 : relay.is.err, .events = POLLIN};
	fds[SLOT_IN] = (struct pollfd){.fd = relay.input_len ? relay.is.in : -1, .events = POLLOUT};
	fds[SLOT_READY] = (struct pollfd){.fd = relay.is.ready, .events = POLLIN};
	for (int i = 0; i < relay.used; i++) {
		struct client *client = &relay.clients[i];

		fds[FIXED + i] = (struct pollfd){.fd = client->fd};
		fds[FIXED + i].events = (short)(POLLIN | (client->queue_len ? POLLOUT : 0));
	}
	return FIXED + relay.used;
}

static void serve_clients(struct pollfd *fds, int count)
{
	for (int i = 0; i < count - FIXED; i++) {
		struct client *client = &relay.clients[i];
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

static void step(void)
{
	struct pollfd fds[FIXED + MAX_CLIENTS];
	int count = fill(fds);

	if (poll(fds, (nfds_t)count, -1) <= 0)
		return;
	if (fds[SLOT_OUT].revents)
		pass_output(&relay.is.out, PACKET_STDOUT, "stdout");
	if (fds[SLOT_ERR].revents)
		pass_output(&relay.is.err, PACKET_STDERR, "stderr");
	if (fds[SLOT_IN].revents)
		write_input();
	if (fds[SLOT_READY].revents)
		take_notice();
	serve_clients(fds, count);
	/* what was there may have been read meanwhile, by who waited for a log */
	if (fds[SLOT_CONTROL].revents)
		take_message(false);
}

/* What the container has left in pipes and pty; its other processes may hold them open, so not until their end. */
static void drain(void)
{
	for (size_t most = 0; most < DRAIN_MAX; most += PACKET_DATA) {
		bool more = pass_output(&relay.is.out, PACKET_STDOUT, "stdout");

		if (!pass_output(&relay.is.err, PACKET_STDERR, "stderr") && !more)
			return;
	}
}

/* --- the end --- */

static void close_all(int *const *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		close_p(fds[i]);
		*fds[i] = -1;
	}
}

/* The last of what the container has written. Others may hold its pipes open: they are not listened to. */
static void end_streams(void)
{
	drain();
	log_close(&relay.log);
	relay.log.limit = 0;
	if (relay.is.in == relay.is.out)
		relay.is.in = -1;
	close_all((int *[]){&relay.is.in, &relay.is.out, &relay.is.err, &relay.is.slave, &relay.is.ready}, 5);
}

/* Nobody waits for a client that takes nothing, neither the container's end nor its next life: but it gets what is its
 * own, however long that takes. */
static _Noreturn void serve_slow_clients(void)
{
	struct pollfd fds[MAX_CLIENTS];
	sigset_t none;

	relay.is.stdin_mode = STDIN_NONE; /* drop() has no business with the container any more */
	close_all((int *[]){&relay.is.control, &relay.is.listener}, 2);
	for (int i = 0; i < relay.used; i++)
		if (relay.clients[i].fd >= 0 && !relay.clients[i].queue_len)
			drop(&relay.clients[i]);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	while (blocked()) {
		int count = relay.used;

		for (int i = 0; i < count; i++)
			fds[i] = (struct pollfd){.fd = relay.clients[i].fd, .events = POLLOUT};
		if (poll(fds, (nfds_t)count, -1) < 0)
			continue;
		for (int i = 0; i < count; i++) {
			if (fds[i].revents & POLLOUT)
				flush_client(&relay.clients[i]);
			else if (fds[i].revents)
				drop(&relay.clients[i]);
			if (relay.clients[i].fd >= 0 && !relay.clients[i].queue_len)
				drop(&relay.clients[i]);
		}
	}
	_exit(0);
}

/* A client that connected when the container had ended is told as well, so that nobody waits for nothing. */
static void tell_late_clients(void)
{
	relay.told = false;
	while (accept_client())
		;
	tell_exit();
}

/* Until we are to finish. Not for a restart after a promise that there is none: who has it waits for the end, and the
 * monitor hears of the promise before it hears this answer. */
static void await_finish(void)
{
	for (;;) {
		while (!relay.finishing)
			step();
		if (relay.late || !relay.last)
			return;
		relay.finishing = false;
		say(RELAY_DONE, 0, 1);
	}
}

/* What we have of the monitor goes, but for what is named here. */
static void take_descriptors(const struct relay_start *start)
{
	int mine[] = {start->control, start->front, start->listener, start->in, start->out, start->err, start->slave,
		start->log, start->ready};

	keep_descriptors(mine, ARRAY_SIZE(mine));
}

void relay_main(const struct relay_start *start)
{
	int r;

	prctl(PR_SET_NAME, "pycontain-io", 0, 0, 0);
	relay.is = *start;
	relay.uid = geteuid();
	relay.log = (struct logfile){
		.fd = start->log, .limit = start->log_limit, .size = start->log_size, .open = open_log};
	for (int i = 0; i < MAX_CLIENTS; i++)
		relay.clients[i].fd = -1;
	take_descriptors(start);
	r = sandbox(SANDBOX_RELAY, 0);
	say(RELAY_READY, r, 0);
	if (r < 0)
		_exit(1);
	while (!relay.begun)
		take_message(true);
	if (start->front >= 0) {
		front_started(start->front);
		add_client(start->front, true, start->stdin_mode != STDIN_NONE);
	}
	while (!relay.ended)
		step();
	end_streams();
	say(RELAY_DONE, 0, 0);
	await_finish();
	if (relay.late)
		tell_late_clients();
	say(RELAY_DONE, blocked(), 0);
	serve_slow_clients();
}
