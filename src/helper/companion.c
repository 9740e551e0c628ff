#include "companion.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "sandbox.h"
#include "sys.h"
#include "util.h"

/* So much of what a program says is kept. */
#define SAID_SIZE 4096
/* slirp4netns writes a byte to it; the number is in its arguments (network/usermode.py). */
#define READY_FD 3

static _Noreturn void execute_program(const struct companion *companion)
{
	char *environment[] = {(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	bool tells = companion->stays && companion->ready >= 0;
	char **argv = op_strings(companion->argv);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (!argv || !argv[0] || null < 0)
		_exit(1);
	dup2(null, 0);
	dup2(companion->said, 1);
	dup2(companion->said, 2);
	if (tells && (dup2(companion->ready, READY_FD) < 0 || fcntl(READY_FD, F_SETFD, 0) < 0))
		_exit(1);
	sys_close_range(tells ? READY_FD + 1 : READY_FD, ~0u, 0);
	reset_signals();
	execve(argv[0], argv, environment);
	dprintf(2, "%s\n", strerror(errno));
	_exit(1);
}

/* PID 1 of the namespace: as long as the program lives, and no longer than the monitor. */
static _Noreturn void keep_program(struct companion *companion, int parent)
{
	struct pollfd monitor = {.fd = parent, .events = POLLIN};
	bool told = companion->stays;
	int status, r;
	pid_t first, pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (poll(&monitor, 1, 0) > 0)
		_exit(1); /* it had died before */
	prctl(PR_SET_NAME, "pycontain-with", 0, 0, 0);
	setsid();
	/* nothing of the monitor's: the guest's pipes, the container's lock */
	close_all_but(companion->ready, companion->said);
	r = companion->prepare ? companion->prepare(companion) : 0;
	if (r < 0) {
		dprintf(companion->said, "cannot be prepared: %s\n", strerror(-r));
		_exit(1);
	}
	first = fork();
	if (first == 0)
		execute_program(companion);
	sandbox(SANDBOX_WITH, 0);
	if (told)
		close_p(&companion->ready);
	while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR) {
		if (pid != first)
			continue;
		/* one that goes to the background does when it is ready */
		if (told || !WIFEXITED(status) || WEXITSTATUS(status) || write(companion->ready, "", 1) != 1)
			_exit(1);
		close(companion->ready);
		told = true;
	}
	_exit(0);
}

int companion_start(struct run *run, struct companion *companion, int number)
{
	struct clone3_args args = {.exit_signal = SIGCHLD};
	_cleanup_close_ int parent = sys_pidfd_open(getpid());
	int pidfd = -1;
	long pid;

	companion->said = memfd_create("pycontain-said", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* what it says cannot fill the memory: it has this size */
	if (parent < 0 || companion->said < 0 || ftruncate(companion->said, SAID_SIZE) < 0 ||
		fcntl(companion->said, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		return -errno;
	args.flags = CLONE_NEWPID_ | CLONE_PIDFD_ | (companion->prepare ? CLONE_NEWNS_ : 0);
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	pid = syscall(NR_clone3, &args, sizeof(args));
	if (pid == 0)
		keep_program(companion, parent);
	if (pid < 0)
		return -errno;
	run->companions[number] = pidfd;
	return 0;
}

void companion_said(struct run *run, const struct companion *companion)
{
	char text[SAID_SIZE + 1] = "", *save = NULL, *line;
	ssize_t n = pread(companion->said, text, SAID_SIZE, 0);

	text[n > 0 ? n : 0] = '\0';
	/* pasta complains of a host without syslog, too */
	for (line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
		if (line[0] && strncmp(line, "Failed to send", 14))
			snprintf(run->detail, sizeof(run->detail), "%s", line);
	if (!run->detail[0])
		snprintf(run->detail, sizeof(run->detail), "it ended and said nothing");
}

void end_companions(struct run *run)
{
	for (size_t i = 0; i < ARRAY_SIZE(run->companions); i++) {
		int pidfd = run->companions[i];

		if (pidfd < 0)
			continue;
		sys_pidfd_send_signal(pidfd, SIGKILL);
		while (waitid(P_PIDFD, (id_t)pidfd, NULL, WEXITED | __WALL) < 0 && errno == EINTR)
			;
		close(pidfd);
		run->companions[i] = -1;
	}
}

int op_companions_end(struct run *run, const struct op *op)
{
	if (*op_s(op, COMPANIONS_END_ROOT))
		unmount_root(op_s(op, COMPANIONS_END_ROOT));
	end_companions(run);
	return 0;
}
