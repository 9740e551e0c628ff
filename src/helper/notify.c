/* A service manager that starts a container waits for READY=1 of the program inside, which cannot reach its socket
 * (sd_notify(3)): the program has a socket of ours, and what comes there is passed on. Only that it is ready: the rest
 * of the protocol (MAINPID, FDSTORE, …) would let a container speak for the host's service. */
#include "notify.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "launch.h"
#include "sys.h"
#include "util.h"

/* Longer than a service manager that lives takes to look at its socket. */
#define BARRIER_MS 5000

/* One datagram to the service manager's socket, a path or "@" and an abstract name; with a descriptor where fd >= 0. */
static int tell(const char *host, const char *text, int fd)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	_cleanup_close_ int link = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct iovec part = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr message = {.msg_name = &to, .msg_iov = &part, .msg_iovlen = 1};
	size_t len = strlen(host);

	if (link < 0)
		return -errno;
	if (len >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, host, len);
	if (host[0] == '@')
		to.sun_path[0] = '\0';
	message.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (host[0] == '@' ? 0 : 1));
	if (fd >= 0) {
		control.head = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control.space);
	}
	return sendmsg(link, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Until the service manager has read what was sent: it knows a sender by its process, which is about to end. */
static int wait_until_read(const char *host)
{
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	r = tell(host, "BARRIER=1", ends[1]);
	close(ends[1]);
	if (r == 0) {
		struct pollfd end = {.fd = ends[0]};

		while (poll(&end, 1, BARRIER_MS) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	return r;
}

bool notify_is_ready(char *text)
{
	for (char *rest = NULL, *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (!strcmp(line, "READY=1"))
			return true;
	return false;
}

int notify_pass(int socket, const char *host, pid_t main)
{
	char text[4096], ready[64];
	ssize_t n = recv(socket, text, sizeof(text) - 1, MSG_DONTWAIT);
	int r;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	text[n] = '\0';
	if (!notify_is_ready(text))
		return 0;
	snprintf(ready, sizeof(ready), "READY=1\nMAINPID=%d", main);
	r = tell(host, ready, -1);
	return r < 0 ? r : 1;
}

int notify_wait(int socket, const char *host, int pidfd, pid_t main)
{
	for (;;) {
		struct pollfd fds[2] = {
			{.fd = socket, .events = POLLIN},
			{.fd = pidfd, .events = POLLIN},
		};
		int r;

		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		r = fds[0].revents ? notify_pass(socket, host, main) : 0;
		if (r < 0)
			return r;
		if (r > 0)
			return wait_until_read(host);
		if (!fds[0].revents && fds[1].revents)
			return 0; /* it has ended and had nothing to say */
	}
}

int op_notify(struct run *run, const struct op *op)
{
	int socket = op_fd(op, NOTIFY_SOCKET), r;
	const char *host = op_s(op, NOTIFY_HOST);

	if (!op_n(op, NOTIFY_STAYS)) {
		/* whoever waits for the container's end listens meanwhile */
		run->notify = socket;
		run->notify_host = host;
		return 0;
	}
	r = notify_wait(socket, host, run->pidfd, run->pid);
	if (r < 0)
		warn(run, "%s: %s", host, strerror(-r));
	return 0;
}

/* Told when this process is the monitor that a client finds: whoever waits for it may have something to ask. */
int op_service_ready(struct run *run, const struct op *op)
{
	run->service = op_s(op, SERVICE_READY_HOST);
	run->slot = op_fd(op, SERVICE_READY_SLOT);
	return 0;
}

/* No barrier: this process stays. */
void notify_service(struct run *run)
{
	int r = run->service && *run->service ? tell(run->service, "READY=1", -1) : 0;

	if (r < 0)
		warn(run, "%s: %s", run->service, strerror(-r));
	close_p(&run->slot);
	run->slot = -1;
}

/* notify SOCKET HOST PIDFD PID: for ``start``, where init was made long ago. */
int notify_main(int argc, char **argv)
{
	uint64_t socket, pidfd, pid;
	int r;

	if (argc != 6 || parse_u64(argv[2], &socket) < 0 || parse_u64(argv[4], &pidfd) < 0 ||
		parse_u64(argv[5], &pid) < 0)
		return 125;
	r = notify_wait((int)socket, argv[3], (int)pidfd, (pid_t)pid);
	if (r < 0)
		dprintf(STDERR_FILENO, "pycontain-oci: warning: %s: %s\n", argv[3], strerror(-r));
	return 0;
}
