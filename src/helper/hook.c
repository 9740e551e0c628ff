/* Hooks: programs that a spec has executed at points of a container's life (runtime-spec config.md, "POSIX-platform
 * Hooks"). The state is on their standard input, nothing but the spec's in their environment. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "launch.h"
#include "sys.h"
#include "util.h"

#define PID_MARK '\001'

/* What a hook has said last, for the error text. */
struct said {
	char text[256];
	size_t len;
};

char *with_pid(const char *text, pid_t pid)
{
	char number[16], *result, *at;
	size_t marks = 0;
	int len = snprintf(number, sizeof(number), "%d", pid);

	for (const char *p = text; *p; p++)
		marks += *p == PID_MARK;
	result = at = malloc(strlen(text) + marks * sizeof(number) + 1);
	for (; result && *text; text++) {
		if (*text != PID_MARK) {
			*at++ = *text;
			continue;
		}
		memcpy(at, number, (size_t)len);
		at += len;
	}
	if (result)
		*at = '\0';
	return result;
}

static int64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A file, so that a hook that reads nothing cannot stop us. */
static int state_file(const char *state, pid_t pid)
{
	_cleanup_free_ char *text = with_pid(state, pid);
	_cleanup_close_ int fd = (int)syscall(SYS_memfd_create, "pycontain-state", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	if (!text)
		return -ENOMEM;
	r = write_all(fd, text, strlen(text));
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return take_fd(&fd);
}

/* In the child. What goes wrong is written to the pipe, whose end is closed by exec. */
static _Noreturn void become_hook(const struct op *op, int state, int output, int report, char **argv, char **env)
{
	int error;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	setpgid(0, 0);
	umask(0022);
	if (dup2(state, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0 &&
		sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC_) == 0 && chdir(op_s(op, HOOK_CWD)) == 0) {
		reset_signals();
		execve(op_s(op, HOOK_PATH), argv, env);
	}
	error = errno;
	(void)!write(report, &error, sizeof(error));
	_exit(127);
}

static void keep_said(struct said *said, int output)
{
	char chunk[4096];
	ssize_t n;

	while ((n = read(output, chunk, sizeof(chunk))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			/* a new line replaces the one before */
			if (said->len && said->text[said->len - 1] == '\n')
				said->len = 0;
			if (said->len < sizeof(said->text) - 1)
				said->text[said->len++] = chunk[i];
		}
	}
}

/* Until the hook has ended, or -ETIMEDOUT. Its output is read all the while. */
static int await(int pidfd, int output, uint64_t timeout, struct said *said)
{
	int64_t end = milliseconds() + (int64_t)timeout * 1000;

	for (;;) {
		struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = output, .events = POLLIN}};
		int64_t left = timeout ? end - milliseconds() : -1;

		if (timeout && left <= 0)
			return -ETIMEDOUT;
		if (poll(fds, 2, left > 1 << 30 ? 1 << 30 : (int)left) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents) {
			keep_said(said, output);
			/* all writers are gone: poll would not wait any more */
			if (fds[1].revents & POLLHUP)
				output = -1;
		}
		if (fds[0].revents) {
			if (output >= 0)
				keep_said(said, output);
			return 0;
		}
	}
}

static int judge(struct run *run, int status, const struct said *said)
{
	int len = (int)said->len;

	while (len > 0 && (said->text[len - 1] == '\n' || said->text[len - 1] == '\r'))
		len--;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		return fail(run, ECHILD, "it was killed by signal %d%s%.*s", WTERMSIG(status), len ? ": " : "", len,
			said->text);
	return fail(
		run, ECHILD, "it ended with status %d%s%.*s", WEXITSTATUS(status), len ? ": " : "", len, said->text);
}

/* The child that executes the hook, and the ends of its pipes. */
static pid_t start_hook(const struct op *op, int state, int output[2], int report[2])
{
	_cleanup_free_ char **argv = op_strings(&op->field[F_HOOK_ARGV]);
	_cleanup_free_ char **env = op_strings(&op->field[F_HOOK_ENV]);
	char *path_only[] = {(char *)op_s(op, HOOK_PATH), NULL};
	pid_t pid;

	if (!argv || !env)
		return -ENOMEM;
	if (pipe2(output, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	/* the hook's own end blocks, as every program expects */
	fcntl(output[1], F_SETFL, O_WRONLY);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become_hook(op, state, output[1], report[1], argv[0] ? argv : path_only, env);
	close_p(&output[1]);
	close_p(&report[1]);
	output[1] = report[1] = -1;
	return pid;
}

static void close_pair(int (*pair)[2])
{
	close_p(&(*pair)[0]);
	close_p(&(*pair)[1]);
}

static int run_hook(struct run *run, const struct op *op, pid_t container)
{
	__attribute__((cleanup(close_pair))) int output[2] = {-1, -1}, report[2] = {-1, -1};
	_cleanup_close_ int state = state_file(op_s(op, HOOK_STATE), container), pidfd = -1;
	struct said said = {.len = 0};
	int status = 0, error = 0, r = 0;
	pid_t pid;

	if (state < 0)
		return state;
	pid = start_hook(op, state, output, report);
	if (pid < 0)
		return pid;
	pidfd = sys_pidfd_open(pid);
	if (pidfd < 0)
		r = -errno;
	else if (read(report[0], &error, sizeof(error)) == sizeof(error))
		r = -error;
	else
		r = await(pidfd, output[0], op_n(op, HOOK_TIMEOUT), &said);
	if (r < 0)
		kill(-pid, SIGKILL);
	if (r < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r == -ETIMEDOUT)
		return fail(run, ECHILD, "it was killed: it ran for longer than its timeout of %llu s",
			(unsigned long long)op_n(op, HOOK_TIMEOUT));
	return r < 0 ? r : judge(run, status, &said);
}

int op_hook(struct run *run, const struct op *op)
{
	pid_t container = run->side == SIDE_GUEST ? getpid() : run->side == SIDE_HOST ? run->pid : 0;
	int r = run_hook(run, op, container);

	if (r < 0 && op_n(op, HOOK_WARN)) {
		warn(run, "%s hook %s: %s", op_s(op, HOOK_KIND), op_s(op, HOOK_PATH),
			*run->detail ? run->detail : strerror(-r));
		return 0;
	}
	return r;
}
