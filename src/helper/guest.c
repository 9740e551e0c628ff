/* The end of the guest's side: standard descriptors, terminal, gate, init, exec. */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "launch.h"
#include "passing.h"
#include "rootfs.h"
#include "sandbox.h"
#include "sys.h"
#include "util.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

int op_pipes(struct run *run, const struct op *op)
{
	for (int i = op_n(op, PIPES_STDIN) ? 0 : 1; i < 3; i++) {
		int pair[2];

		if (pipe2(pair, O_CLOEXEC) < 0)
			return -errno;
		run->guest_pipes[i] = pair[i == 0 ? 0 : 1];
		run->pipes[i] = pair[i == 0 ? 1 : 0];
	}
	return 0;
}

int op_stdio(struct run *run, const struct op *op)
{
	int64_t uid = (int64_t)op_n(op, STDIO_UID);

	for (int i = 0; i < 3; i++) {
		int fd = op_fd(op, STDIO_STDIN + i);
		struct stat st;

		if (fd == -2)
			fd = run->guest_pipes[i];
		if (fd >= 0 && fd != i && dup2(fd, i) < 0)
			return -errno;
		/* so that the program can open /dev/stdout again; what refuses it (a read-only
		 * file) works without */
		if (uid >= 0 && fstat(i, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) &&
			fchown(i, (uid_t)uid, (gid_t)-1) < 0 && errno != EPERM && errno != EROFS && errno != EINVAL)
			return -errno;
	}
	return 0;
}

/* A pty of the root's own devpts: the file must be its ptmx, whatever the image has under that
 * name. */
static int open_ptmx(struct run *run)
{
	struct stat st;
	int fd;

	if (run->root < 0) /* exec: the namespaces were joined, so "/" is the container's root */
		run->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = sys_openat2(run->root, "dev/pts/ptmx", O_RDWR | O_NOCTTY, 0,
		RESOLVE_IN_ROOT_ | RESOLVE_NO_MAGICLINKS_ | RESOLVE_NO_SYMLINKS_);
	if (fd < 0)
		return fail(run, errno, "/dev/pts/ptmx");
	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2)) {
		close(fd);
		return fail(run, ENODEV, "/dev/pts/ptmx is not a pty multiplexer");
	}
	return fd;
}

/* Terminal.CONSOLE, Terminal.FREE */
enum { TERMINAL_ON_CONSOLE = 1, TERMINAL_FREE = 2 };

/* The slave on /dev/console, by its descriptor (CVE-2025-52565). */
static int bind_console(struct run *run, int slave)
{
	_cleanup_close_ int tree = -1, target = root_file(run->root, "dev/console");

	if (target < 0)
		return fail(run, -target, "/dev/console");
	tree = sys_open_tree(slave, "", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | AT_EMPTY_PATH);
	if (tree < 0)
		return fail(run, errno, "/dev/console");
	return sysret(sys_move_mount(tree, target));
}

int op_terminal(struct run *run, const struct op *op)
{
	static const struct frame frame = {.type = FRAME_TERMINAL};
	struct winsize size = {0};
	_cleanup_close_ int master = open_ptmx(run), slave = -1;
	int unlock = 0, r;

	if (master < 0)
		return master;
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	size.ws_row = (unsigned short)op_n(op, TERMINAL_ROWS);
	size.ws_col = (unsigned short)op_n(op, TERMINAL_COLUMNS);
	if (size.ws_row && ioctl(master, TIOCSWINSZ, &size) < 0)
		return -errno;
	if (fchown(slave, (uid_t)op_n(op, TERMINAL_UID), (gid_t)-1) < 0)
		return -errno;
	if (op_n(op, TERMINAL_CONSOLE) & TERMINAL_ON_CONSOLE) {
		r = bind_console(run, slave);
		if (r < 0)
			return r;
	}
	/* an init leaves its console to the logins there */
	if (!(op_n(op, TERMINAL_CONSOLE) & TERMINAL_FREE) && ioctl(slave, TIOCSCTTY, 0) < 0)
		return fail(run, errno, "taking the controlling terminal");
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			return -errno;
	if (slave < 3)
		take_fd(&slave);
	return frame_send(run->baton, &frame, master);
}

int send_descriptor(int socket, const char *text, size_t len, int fd)
{
	ssize_t n = message_send(socket, text, len, fd, 0);

	return n < 0 ? (int)n : write_all(socket, text + n, len - (size_t)n);
}

int op_send_terminal(struct run *run, const struct op *op)
{
	/* any byte will do; runc sends the name of the pty */
	static const char name[] = "/dev/pts/ptmx";

	if (run->master < 0)
		return -ENOTTY;
	return send_descriptor(op_fd(op, SEND_TERMINAL_SOCKET), name, sizeof(name) - 1, run->master);
}

int op_send_pidfd(struct run *run, const struct op *op)
{
	const char *text = op_s(op, SEND_PIDFD_TEXT);

	return send_descriptor(op_fd(op, SEND_PIDFD_SOCKET), text, strlen(text), run->pidfd);
}

/* 0 when it can be executed. */
static int executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return sysret(syscall(SYS_faccessat, AT_FDCWD, path, X_OK));
}

int op_lookup(struct run *run, const struct op *op)
{
	const char *program = op_s(op, LOOKUP_PROGRAM), *path = op_s(op, LOOKUP_PATH);
	char candidate[PATH_MAX];

	free(run->program);
	run->program = NULL;
	if (strchr(program, '/')) {
		int r = executable(program);

		if (r < 0)
			return r;
		run->program = strdup(program);
		return run->program ? 0 : -ENOMEM;
	}
	while (*program && *path) {
		size_t len = strcspn(path, ":");

		/* relative directories would depend on where the program is started */
		if (path[0] == '/' &&
			snprintf(candidate, sizeof(candidate), "%.*s/%s", (int)len, path, program) <
				(int)sizeof(candidate) &&
			executable(candidate) == 0) {
			run->program = strdup(candidate);
			return run->program ? 0 : -ENOMEM;
		}
		path += len + (path[len] == ':');
	}
	return -ENOENT;
}

/* Setting ids has cleared the parent-death signal; set it again, and see that the parent had not
 * died before. */
static void die_with_host(struct run *run)
{
	struct pollfd peer = {.fd = run->baton};

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (poll(&peer, 1, 0) > 0 && peer.revents & POLLHUP)
		_exit(1);
}

int op_gate(struct run *run, const struct op *op)
{
	static const struct frame frame = {.type = FRAME_GATE};
	int listener = op_fd(op, GATE_FD);
	int r;

	if (run->die_with_host)
		die_with_host(run);
	/* it may wait for long: not with what the caller has open */
	r = hide_descriptors(run);
	if (r == 0)
		r = frame_send(run->baton, &frame, -1);
	if (r < 0)
		return r;
	do
		run->gate_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	while (run->gate_peer < 0 && (errno == EINTR || errno == ECONNABORTED));
	close(listener);
	return sysret(run->gate_peer);
}

/* --- init --- */

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* PID 1: reap everybody, forward every signal, end with the command's status. */
static _Noreturn void init_loop(pid_t child)
{
	sigset_t all;

	memset(&all, 0xff, sizeof(all)); /* sigfillset(3) leaves three out */
	for (;;) {
		siginfo_t info;
		pid_t pid;
		int sig, status;

		do {
			pid = waitpid(-1, &status, WNOHANG);
			if (pid == child)
				_exit(exit_status(status));
		} while (pid > 0);
		sig = sigwaitinfo(&all, &info);
		/* the terminal stops and continues its foreground group by itself */
		if (sig > 0 && sig != SIGCHLD && sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU)
			kill(child, sig);
	}
}

int op_init(struct run *run, const struct op *op)
{
	sigset_t all, old;
	pid_t child;
	int r;

	(void)op;
	r = hide_descriptors(run);
	if (r < 0)
		return r;
	if (run->die_with_host)
		die_with_host(run);
	/* in the host's PID namespace orphans would go to the host's init */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	memset(&all, 0xff, sizeof(all));
	sigprocmask(SIG_SETMASK, &all, &old);
	/* before there is a command that could see another; which has its own from execve(2) */
	prctl(PR_SET_NAME, "pycontain-init", 0, 0, 0);
	child = fork();
	if (child < 0)
		return -errno;
	if (child > 0) {
		/* by close(2), since a filter may refuse close_range(2); all others are closed already */
		for (unsigned i = 0; i < run->needed_count; i++)
			close(run->needed[i]);
		close_p(&run->gate_peer);
		close_p(&run->notified);
		munmap((void *)run->data, run->size);
		/* its child may become any user. What the container's own filter refuses of this, it refuses to all */
		sandbox(SANDBOX_INIT, CAP_BIT(CAP_KILL));
		init_loop(child);
	}
	/* a process group of its own in the foreground, so that ^C reaches the command and not its
	 * init */
	if (isatty(STDIN_FILENO) && setpgid(0, 0) == 0)
		tcsetpgrp(STDIN_FILENO, getpid());
	sigprocmask(SIG_SETMASK, &old, NULL);
	return 0;
}

/* --- exec --- */

/* The descriptors that the guest's side still uses, in order: the baton, its gate, its proc for labels, the listener's
 * socket. */
static void set_needed(struct run *run)
{
	const struct op *gate = plan_find(&run->plan, SIDE_GUEST, OP_GATE);
	const struct op *listener = plan_find(&run->plan, SIDE_GUEST, OP_SECCOMP_LISTENER);
	int all[NEEDED_MAX] = {run->baton, run->gate_peer, gate && run->gate_peer < 0 ? op_fd(gate, GATE_FD) : -1,
		run->proc, listener ? op_fd(listener, SECCOMP_LISTENER_SOCKET) : -1};

	run->needed_count = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		unsigned at = run->needed_count;

		if (all[i] < 0)
			continue;
		for (; at > 0 && run->needed[at - 1] > all[i]; at--)
			run->needed[at] = run->needed[at - 1];
		run->needed[at] = all[i];
		run->needed_count++;
	}
}

int hide_descriptors(struct run *run)
{
	const struct op *exec = plan_find(&run->plan, SIDE_GUEST, OP_EXEC);
	unsigned from = 3 + (exec ? (unsigned)op_n(exec, EXEC_PRESERVE) : 0);

	if (run->hidden)
		return 0;
	/* all that is left to use, and these go at the exec; --init, which executes nothing, closes them one by one */
	set_needed(run);
	for (unsigned i = 0; i < run->needed_count; i++) {
		unsigned needed = (unsigned)run->needed[i];

		if (fcntl(run->needed[i], F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
		if (needed > from && sys_close_range(from, needed - 1, 0) < 0)
			return fail(run, errno, "close_range");
		if (needed >= from)
			from = needed + 1;
	}
	if (sys_close_range(from, ~0u, 0) < 0)
		return fail(run, errno, "close_range");
	run->root = run->mask_dir = run->dev_null = -1;
	run->hidden = true;
	return 0;
}

/* By the system call: the C library keeps three signals for itself. */
void reset_signals(void)
{
	static const char default_action[64]; /* struct sigaction as the kernel has it */
	uint64_t none = 0;

	for (int sig = 1; sig <= 64; sig++)
		syscall(SYS_rt_sigaction, sig, default_action, NULL, sizeof(none));
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

int op_exec(struct run *run, const struct op *op)
{
	static const struct frame frame = {.type = FRAME_EXEC};
	_cleanup_free_ char **argv = op_strings(&op->field[F_EXEC_ARGV]);
	_cleanup_free_ char **env = op_strings(&op->field[F_EXEC_ENV]);
	int r;

	if (!argv || !env)
		return -ENOMEM;
	if (!run->program || !argv[0])
		return -EINVAL;
	if (run->die_with_host)
		die_with_host(run);
	if (run->gate_peer < 0)
		frame_send(run->baton, &frame, -1);
	r = hide_descriptors(run);
	if (r < 0)
		return r;
	reset_signals();
	execve(run->program, argv, env);
	return -errno;
}
