/* A program of the host that carries an ordinary user's network: pasta(1) or slirp4netns(1).
 *
 * It lives in a PID namespace whose first process is ours and is killed with the monitor, so that nothing of it stays
 * behind, whoever is killed. It finds the guest's network namespace under a name in a mount namespace of its own: by
 * /proc it could not open it without the capabilities that it gives up first.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "launch.h"
#include "sys.h"
#include "util.h"

/* So much of what the program says is kept. */
#define SAID_SIZE 4096
/* slirp4netns writes a byte to it; the number is in its arguments (network/usermode.py). */
#define READY_FD 3

struct child {
	const struct op *op;
	pid_t guest;
	int ready; /* a byte tells the monitor that it works */
	int said;  /* its messages */
};

/* PLACE/net, where the guest's network namespace is for nobody but us. */
static int show_namespace(const struct child *child)
{
	const char *place = op_s(child->op, NET_HELPER_PLACE);
	char source[64], target[4096];
	_cleanup_close_ int fd = -1;

	if (snprintf(target, sizeof(target), "%s/net", place) >= (int)sizeof(target))
		return -ENAMETOOLONG;
	snprintf(source, sizeof(source), "/proc/%d/ns/net", child->guest);
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
		mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=0700") < 0)
		return -errno;
	fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	return sysret(mount(source, target, NULL, MS_BIND, NULL));
}

static _Noreturn void execute_program(const struct child *child)
{
	char *environment[] = {(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	char **argv = op_strings(&child->op->field[F_NET_HELPER_ARGV]);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (!argv || !argv[0] || null < 0)
		_exit(1);
	dup2(null, 0);
	dup2(child->said, 1);
	dup2(child->said, 2);
	if (op_n(child->op, NET_HELPER_STAYS) && (dup2(child->ready, READY_FD) < 0 || fcntl(READY_FD, F_SETFD, 0) < 0))
		_exit(1);
	sys_close_range(op_n(child->op, NET_HELPER_STAYS) ? READY_FD + 1 : READY_FD, ~0u, 0);
	reset_signals();
	execve(argv[0], argv, environment);
	dprintf(2, "%s\n", strerror(errno));
	_exit(1);
}

/* Nothing of the monitor's: the guest's pipes, the container's lock. */
static void close_others(const struct child *child)
{
	int low = child->ready < child->said ? child->ready : child->said;
	int high = child->ready < child->said ? child->said : child->ready;

	if (low > 3)
		sys_close_range(3, (unsigned)low - 1, 0);
	if (high > low + 1)
		sys_close_range((unsigned)low + 1, (unsigned)high - 1, 0);
	sys_close_range((unsigned)high + 1, ~0u, 0);
}

/* PID 1 of the namespace: as long as the program lives, and no longer than the monitor. */
static _Noreturn void keep_program(struct child *child)
{
	struct pollfd monitor = {.fd = child->ready};
	bool told = op_n(child->op, NET_HELPER_STAYS);
	int status, r;
	pid_t first, pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (poll(&monitor, 1, 0) > 0 && monitor.revents & POLLERR)
		_exit(1); /* it had died before */
	prctl(PR_SET_NAME, "pycontain-net", 0, 0, 0);
	setsid();
	close_others(child);
	r = show_namespace(child);
	if (r < 0) {
		dprintf(child->said, "the network namespace cannot be shown to it: %s\n", strerror(-r));
		_exit(1);
	}
	first = fork();
	if (first == 0)
		execute_program(child);
	if (told)
		close(child->ready);
	while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR) {
		if (pid != first)
			continue;
		/* one that goes to the background does when it is ready */
		if (told || !WIFEXITED(status) || WEXITSTATUS(status) || write(child->ready, "", 1) != 1)
			_exit(1);
		close(child->ready);
		told = true;
	}
	_exit(0);
}

/* The last line that says something of the matter. */
static void say(struct run *run, int said)
{
	char text[SAID_SIZE + 1] = "", *save = NULL, *line;
	ssize_t n = pread(said, text, SAID_SIZE, 0);

	text[n > 0 ? n : 0] = '\0';
	for (line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
		if (strncmp(line, "Failed to send", 14) && line[0])
			snprintf(run->detail, sizeof(run->detail), "%s", line);
	if (!run->detail[0])
		snprintf(run->detail, sizeof(run->detail), "it ended and said nothing");
}

static int start_program(struct run *run, struct child *child)
{
	struct clone3_args args = {.exit_signal = SIGCHLD};
	int pidfd = -1;
	long pid;

	args.flags = CLONE_NEWPID_ | CLONE_NEWNS_ | CLONE_PIDFD_;
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	pid = syscall(NR_clone3, &args, sizeof(args));
	if (pid == 0)
		keep_program(child);
	if (pid < 0)
		return -errno;
	run->companion = pidfd;
	return 0;
}

/* One request of the program's socket, and whether it was granted. */
static int ask(struct run *run, const char *path, const char *request)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[512] = "";
	ssize_t n;
	int r;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	r = write_all(fd, request, strlen(request));
	if (r < 0 || shutdown(fd, SHUT_WR) < 0)
		return r < 0 ? r : -errno;
	n = read(fd, answer, sizeof(answer) - 1);
	if (n <= 0 || strstr(answer, "\"error\""))
		return fail(run, EADDRINUSE, "%s was refused: %s", request, answer);
	return 0;
}

static int ask_all(struct run *run, const struct op *op)
{
	_cleanup_free_ char **requests = op_strings(&op->field[F_NET_HELPER_REQUESTS]);
	int r = requests ? 0 : -ENOMEM;

	for (int i = 0; r == 0 && requests[i]; i++)
		r = ask(run, op_s(op, NET_HELPER_SOCKET), requests[i]);
	if (requests && requests[0])
		unlink(op_s(op, NET_HELPER_SOCKET));
	return r;
}

int op_net_helper(struct run *run, const struct op *op)
{
	_cleanup_close_ int said = memfd_create("pycontain-said", MFD_CLOEXEC | MFD_ALLOW_SEALING), reader = -1;
	struct child child = {.op = op, .guest = run->pid, .said = said};
	int pair[2], r;
	char byte;

	/* it cannot fill the memory: it has this size */
	if (said < 0 || ftruncate(said, SAID_SIZE) < 0 || fcntl(said, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0 ||
		pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	reader = pair[0];
	child.ready = pair[1];
	r = start_program(run, &child);
	close(pair[1]);
	if (r < 0)
		return r;
	if (read(reader, &byte, 1) != 1) {
		say(run, said);
		return -ENETDOWN;
	}
	return ask_all(run, op);
}

void end_companion(struct run *run)
{
	if (run->companion < 0)
		return;
	sys_pidfd_send_signal(run->companion, SIGKILL);
	while (waitid(P_PIDFD, (id_t)run->companion, NULL, WEXITED | __WALL) < 0 && errno == EINTR)
		;
	close(run->companion);
	run->companion = -1;
}

int op_net_helper_end(struct run *run, const struct op *op)
{
	(void)op;
	end_companion(run);
	return 0;
}
