#include "launch.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "front.h"
#include "passing.h"
#include "proc.h"
#include "sys.h"
#include "trace.h"
#include "util.h"

typedef int (*op_function)(struct run *run, const struct op *op);

#define FUNCTION(number, op, kinds) [number] = op_##op,
static const op_function functions[OP_COUNT] = {EACH_OP(FUNCTION)};

int fail(struct run *run, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(run->detail, sizeof(run->detail), format, args);
	va_end(args);
	return error > 0 ? -error : error;
}

int frame_send(int socket, const struct frame *frame, int fd)
{
	ssize_t n = message_send(socket, frame, FRAME_SIZE(frame), fd, 0);

	/* a guest's filter may refuse it, but few refuse this; the guest may die of SIGPIPE when nobody listens */
	if ((n == -EPERM || n == -ENOSYS) && fd < 0)
		return write(socket, frame, FRAME_SIZE(frame)) < 0 ? -errno : 0;
	return n < 0 ? (int)n : 0;
}

int frame_recv(int socket, struct frame *frame, int *fd)
{
	ssize_t n = message_receive(socket, frame, sizeof(*frame), fd, 0);

	if (n <= 0)
		return (int)n;
	if ((size_t)n < offsetof(struct frame, text) || FRAME_SIZE(frame) != (size_t)n || frame->len >= DETAIL_SIZE)
		return -EBADMSG;
	frame->text[frame->len] = '\0';
	return 1;
}

static void frame_text(struct frame *frame, const char *text)
{
	frame->len = (uint32_t)strnlen(text, DETAIL_SIZE - 1);
	memcpy(frame->text, text, frame->len);
	frame->text[frame->len] = '\0';
}

/* A warning goes to whoever has the caller's standard error: the front process, or this one. */
static void pass_warning(struct run *run, const struct frame *frame)
{
	if (run->front >= 0)
		front_warning(run->front, frame->text);
	else
		dprintf(STDERR_FILENO, "pycontain: warning: %s\n", frame->text);
}

void warn(struct run *run, const char *format, ...)
{
	struct frame frame = {.type = FRAME_WARNING};
	char text[DETAIL_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	frame_text(&frame, text);
	if (run->side == SIDE_GUEST)
		frame_send(run->baton, &frame, -1);
	else
		pass_warning(run, &frame);
}

int run_load(struct run *run, int fd)
{
	struct stat st;
	int r;

	*run = (struct run){.baton = -1,
		.guest_end = -1,
		.pidfd = -1,
		.front = -1,
		.gate_peer = -1,
		.notify = -1,
		.notified = -1,
		.slot = -1,
		.ready = -1,
		.companions = {-1, -1, -1}};
	run->own_pidns = run->root = run->proc = run->mask_dir = run->dev_null = run->master = -1;
	for (int i = 0; i < 3; i++)
		run->pipes[i] = run->guest_pipes[i] = -1;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || st.st_size > (off_t)PLAN_MAX_SIZE)
		return -EBADMSG;
	/* A plan that could change between the check and the use would be no plan. */
	r = fcntl(fd, F_GET_SEALS);
	if (r < 0 || (r & (F_SEAL_WRITE | F_SEAL_SHRINK)) != (F_SEAL_WRITE | F_SEAL_SHRINK))
		return -EPERM;
	run->size = (size_t)st.st_size;
	run->data = mmap(NULL, run->size, PROT_READ, MAP_SHARED, fd, 0);
	if (run->data == MAP_FAILED)
		return -errno;
	return plan_decode(&run->plan, run->data, run->size);
}

static void set_failure(struct run *run, uint32_t record, int error, const char *text)
{
	run->failure = (struct frame){.type = FRAME_FAILED, .record = record, .error = error};
	frame_text(&run->failure, text);
}

static int execute(struct run *run, const struct op *op)
{
	uint64_t begin = run->trace ? trace_now() : 0;
	int r;

	run->detail[0] = '\0';
	if (op->code == OP_EXEC || op->code == OP_WAIT) /* they do not come back */
		trace_record(run, op, begin);
	r = functions[op->code](run, op);
	trace_record(run, op, begin);
	if (r < 0)
		set_failure(run, op->record, -r, run->detail);
	return r;
}

/* --- the guest's side --- */

static void guest_wait(struct run *run)
{
	struct frame frame;
	int fd;

	for (;;) {
		if (frame_recv(run->baton, &frame, &fd) <= 0)
			_exit(1); /* the host side is gone */
		if (frame.type == FRAME_BATON)
			break;
		if (frame.type != FRAME_SLOT || frame.record < 1 || frame.record > MAX_SLOTS || fd < 0)
			_exit(1);
		run->mapped[frame.record - 1] = fd + 1;
	}
	run->pid = (pid_t)frame.record;
}

static _Noreturn void guest_failed(struct run *run)
{
	/* Behind the gate the host side does not listen any more. */
	int to = run->gate_peer >= 0 ? run->gate_peer : run->baton;

	frame_send(to, &run->failure, -1);
	syscall(SYS_exit_group, run->failure.error == ENOENT ? 127 : 126);
	/* A filter may forbid that too, and _exit(3) would try for ever. No filter forbids this. */
	__builtin_trap();
}

_Noreturn static void guest_main(struct run *run, uint32_t from)
{
	static const struct frame baton = {.type = FRAME_BATON};
	struct plan *plan = &run->plan;
	bool mine = false;

	run->side = SIDE_GUEST;
	for (uint32_t i = from; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];

		if (op->side > SIDE_GUEST)
			continue;
		if (op->side == SIDE_HOST) {
			if (mine && frame_send(run->baton, &baton, -1) < 0)
				_exit(1);
			mine = false;
			continue;
		}
		if (!mine)
			guest_wait(run);
		mine = true;
		if (execute(run, op) < 0)
			guest_failed(run);
	}
	_exit(1); /* the decoder has seen that exec comes last */
}

/* The process ID of a pidfd, as this process's /proc has it. */
static pid_t pid_of(int pidfd)
{
	char path[64], text[1024], *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	n = read_file_at(AT_FDCWD, path, text, sizeof(text) - 1);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	at = strstr(text, "\nPid:");
	return at ? (pid_t)strtol(at + 5, NULL, 10) : -EIO;
}

/*
 * clone3(2) in a user namespace that exists, so that the new namespaces are owned by it: by a process that joins it and
 * makes the guest our child. It shares our descriptors, so that the guest's pidfd is ours. Returns as clone3.
 */
static long clone_below(int userns, struct clone3_args *args, int *pidfd)
{
	struct clone3_args between = {.flags = CLONE_FILES_, .exit_signal = SIGCHLD};
	int report[2], result = -EIO;
	long pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -1;
	if (args->flags & CLONE_PARENT_)
		between = (struct clone3_args){.flags = CLONE_FILES_ | CLONE_PARENT_};
	pid = syscall(NR_clone3, &between, sizeof(between));
	if (pid == 0) {
		/* exit_signal is that of this process */
		args->flags |= CLONE_PARENT_;
		args->exit_signal = 0;
		if (syscall(SYS_setns, userns, CLONE_NEWUSER_) == 0) {
			pid = syscall(NR_clone3, args, sizeof(*args));
			if (pid == 0)
				return 0;
		}
		result = pid > 0 ? *pidfd : -errno;
		(void)!write(report[1], &result, sizeof(result));
		_exit(0);
	}
	if (pid > 0) {
		if (read(report[0], &result, sizeof(result)) != sizeof(result))
			result = -EIO;
		if (!(between.flags & CLONE_PARENT_))
			waitpid((pid_t)pid, NULL, 0);
	} else {
		result = -errno;
	}
	close(report[0]);
	close(report[1]);
	if (result >= 0) {
		*pidfd = result;
		result = pid_of(*pidfd);
	}
	errno = -result;
	return result < 0 ? -1 : result;
}

/* clone3(2) as the record has it: where the guest is to begin, and as the user that its user namespace is to be of. */
static long clone_guest(const struct op *op, struct clone3_args *args, int *pidfd)
{
	const char *directory = op_s(op, CLONE_DIRECTORY);
	int64_t uid = (int64_t)op_n(op, CLONE_UID);
	bool lent = false;
	int error;
	long pid;

	if (*directory && chdir(directory) < 0)
		return -1;
	/* who cannot be that user is not root: then what is made is counted as the caller's anyway */
	if (uid > 0 && geteuid() == 0) {
		lent = true;
		if (lend_ids(uid, (int64_t)op_n(op, CLONE_GID)) < 0) {
			return_ids();
			lent = false;
		}
	}
	if (op_fd(op, CLONE_USERNS) >= 0)
		pid = clone_below(op_fd(op, CLONE_USERNS), args, pidfd);
	else
		pid = syscall(NR_clone3, args, sizeof(*args));
	if (pid == 0)
		return 0;
	error = errno;
	if (lent)
		return_ids();
	if (*directory && chdir("/") < 0)
		_exit(125); /* it exists */
	errno = error;
	return pid;
}

int op_clone(struct run *run, const struct op *op)
{
	uint64_t flags = op_n(op, CLONE_FLAGS);
	struct clone3_args args = {.exit_signal = SIGCHLD};
	int pair[2], cgroup = op_fd(op, CLONE_CGROUP), pidfd = -1;
	long pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	args.flags = flags | CLONE_PIDFD_;
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP_;
		args.cgroup = (uint64_t)cgroup;
	}
	if (op_n(op, CLONE_PARENT))
		args.flags |= CLONE_PARENT_;
	run->die_with_host = op_n(op, CLONE_DIE);
	pid = clone_guest(op, &args, &pidfd);
	if (pid < 0) {
		int error = errno;

		close(pair[0]);
		close(pair[1]);
		return -error;
	}
	if (pid == 0) {
		close(pair[0]);
		run->baton = pair[1];
		if (run->die_with_host)
			prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		guest_main(run, op->record + 1);
	}
	close(pair[1]);
	/* while we hold its ends of the pipes, nobody sees that the guest has closed them */
	for (int i = 0; i < 3; i++) {
		close_p(&run->guest_pipes[i]);
		run->guest_pipes[i] = -1;
	}
	for (int i = 0; i < MAX_SLOTS; i++)
		if (run->mapped[i]) {
			close(run->mapped[i] - 1);
			run->mapped[i] = 0;
		}
	run->baton = pair[0];
	run->pid = (pid_t)pid;
	run->pidfd = pidfd;
	return 0;
}

/* --- the host's side --- */

/* The guest has gone without a word: say how. */
static int guest_gone(struct run *run, uint32_t record)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED | WNOWAIT | __WALL) == 0 &&
		(info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED))
		snprintf(run->detail, sizeof(run->detail), "its process was killed by signal %d", info.si_status);
	else
		snprintf(run->detail, sizeof(run->detail), "its process ended");
	set_failure(run, record, ECHILD, run->detail);
	return -1;
}

/* A process that ends closes its descriptors before it can be waited for: PF_EXITING in its flags. */
static bool is_ending(pid_t pid)
{
	return proc_stat(pid, PROC_FLAGS, NULL) & 0x4;
}

/* Wait until the guest hands the baton back, has executed its program, waits at its gate, or has
 * failed. */
static int host_wait(struct run *run, uint32_t record, bool to_exec)
{
	for (;;) {
		struct frame frame;
		int fd, r = frame_recv(run->baton, &frame, &fd);

		if (r < 0) {
			set_failure(run, record, -r, "reading from the container's process");
			return -1;
		}
		if (r == 0) {
			siginfo_t info = {0};

			if (to_exec && run->exec_seen)
				return 0;
			/* A filter may forbid the guest to announce its exec: then a living process
			 * has done it. */
			if (to_exec && !is_ending(run->pid) &&
				waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 &&
				info.si_pid == 0)
				return 0;
			return guest_gone(run, record);
		}
		switch (frame.type) {
		case FRAME_BATON:
			return 0;
		case FRAME_WARNING:
			pass_warning(run, &frame);
			break;
		case FRAME_TERMINAL:
			run->master = fd;
			fd = -1;
			break;
		case FRAME_EXEC:
			run->exec_seen = true;
			break;
		case FRAME_GATE:
			run->at_gate = true;
			close_p(&fd);
			return 0;
		case FRAME_FAILED:
			run->failure = frame;
			return -1;
		}
		close_p(&fd);
	}
}

/* The guest that was made is not to outlive a failed launch. */
static void host_abandon(struct run *run)
{
	end_companions(run);
	if (run->pidfd < 0)
		return;
	sys_pidfd_send_signal(run->pidfd, SIGKILL);
	while (waitid(P_PIDFD, (id_t)run->pidfd, NULL, WEXITED | __WALL) < 0 && errno == EINTR)
		;
}

int run_host(struct run *run)
{
	struct frame baton = {.type = FRAME_BATON};
	struct plan *plan = &run->plan;
	bool mine = true;
	int r = 0;

	run->side = SIDE_HOST;
	for (uint32_t i = 0; i < plan->count && r >= 0; i++) {
		const struct op *op = &plan->ops[i];

		if (op->side > SIDE_GUEST)
			continue;
		if (op->side == SIDE_HOST) {
			mine = true;
			r = execute(run, op);
			continue;
		}
		/* The guest's turn: wait once, at the last of its records in a row. */
		baton.record = (uint32_t)run->pid;
		if (mine && frame_send(run->baton, &baton, -1) < 0) {
			r = guest_gone(run, op->record);
			break;
		}
		mine = false;
		while (i + 1 < plan->count && plan->ops[i + 1].side != SIDE_HOST)
			if (plan->ops[++i].side == SIDE_GUEST)
				op = &plan->ops[i];
		r = host_wait(run, op->record, op->code == OP_EXEC);
	}
	if (r < 0)
		host_abandon(run);
	return r < 0 ? -1 : 0;
}

void run_all(struct run *run, unsigned side, bool handover)
{
	run->side = side;
	for (uint32_t i = 0; i < run->plan.count; i++) {
		const struct op *op = &run->plan.ops[i];
		uint64_t begin;

		if (op->side != side || (!handover && op->code == OP_HANDOVER))
			continue;
		begin = run->trace ? trace_now() : 0;
		run->detail[0] = '\0';
		functions[op->code](run, op);
		trace_record(run, op, begin);
	}
}

/* When the monitor was killed the container's lock is free, and another command may be at work on what is left. */
static bool is_ours(struct run *run)
{
	const struct op *keeper = plan_find(&run->plan, SIDE_HOST, OP_MONITOR);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX];
	int fd;

	if (!keeper || run->failure.record != UINT32_MAX)
		return true;
	if (snprintf(path, sizeof(path), "%s/lock", op_s(keeper, MONITOR_RUN_DIR)) >= (int)sizeof(path))
		return false;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0; /* and held as long as we live */
}

static void run_handover(struct run *run)
{
	const struct op *op = plan_find(&run->plan, SIDE_FAIL, OP_HANDOVER);

	if (op)
		op_handover(run, op);
}

/* Failed: clean up and become the program that explains it. */
static _Noreturn void launch_failed(struct run *run)
{
	if (is_ours(run))
		run_all(run, SIDE_FAIL, false);
	trace_print(run);
	run_handover(run);
	dprintf(STDERR_FILENO, "pycontain: record %u (%s): %s%s%s\n", run->failure.record,
		run->failure.record < run->plan.count ? op_name(run->plan.ops[run->failure.record].code) : "plan",
		strerror(run->failure.error), run->failure.len ? ": " : "", run->failure.text);
	_exit(125);
}

/* The process that stays apart from the caller: its own session, no terminal, no descriptors or
 * directory of the caller's. */
static _Noreturn void monitor_process(struct run *run)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	/* the caller's directory is not to be held; every path of the plan is absolute */
	if (chdir("/") < 0)
		_exit(125);
	if (run_host(run) == 0)
		_exit(0); /* the plan has no monitor record */
	if (front_failure(run->front, &run->failure) < 0)
		run_all(run, SIDE_FAIL, false); /* nobody is there to do it */
	else
		front_wait(run->front); /* we have the container's lock: until it is cleaned up it is nobody else's */
	_exit(125);
}

/* pycontain-helper launch PLAN-FD */
int launch_main(int argc, char **argv)
{
	const struct op *front;
	struct run run;
	uint64_t fd;
	int pair[2], r;
	pid_t pid;

	if (argc != 3 || parse_u64(argv[2], &fd) < 0 || fd > 1 << 20)
		return 125;
	r = run_load(&run, (int)fd);
	if (r < 0) {
		dprintf(STDERR_FILENO, "pycontain: the launch plan cannot be read: %s (record %u)\n", strerror(-r),
			run.plan.bad_record);
		return 125;
	}
	front = plan_find(&run.plan, SIDE_FRONT, OP_FRONT);
	if (!front) {
		if (run_host(&run) < 0)
			launch_failed(&run);
		trace_print(&run);
		return 0;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		set_failure(&run, front->record, errno, "");
		launch_failed(&run);
	}
	pid = fork();
	if (pid < 0) {
		set_failure(&run, front->record, errno, "");
		launch_failed(&run);
	}
	if (pid == 0) {
		close(pair[0]);
		run.front = pair[1];
		monitor_process(&run);
	}
	close(pair[1]);
	r = front_loop(&run, front, pair[0]);
	if (r < 0)
		launch_failed(&run);
	return r;
}
