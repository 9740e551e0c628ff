/* A seccomp filter with a listener: the notification descriptor goes to a socket of the host's, with the state
 * (runtime-spec config-linux.md, "The Container Process State"). */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "launch.h"
#include "sys.h"
#include "util.h"

#define NEW_LISTENER (1u << 3)

/* Between the guest and its messenger. */
struct shared {
	atomic_int listener; /* 0: not yet; the descriptor plus 1; -1: there is none */
	atomic_int result;   /* 1: not yet; 0 or -errno of the sending */
};

/*
 * The filter may ask the listener before any system call of the guest, which would wait for somebody who has not got
 * the descriptor yet. So another process sends it, one that has the same descriptors and no filter. What tells it is
 * memory, for the same reason. It turns only as long as seccomp(2) takes.
 */
static _Noreturn void messenger(const struct op *op, struct shared *shared, const char *state)
{
	int listener, r;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	while ((listener = atomic_load(&shared->listener)) == 0)
		sched_yield(); /* the guest may be waiting for this very CPU */
	if (listener < 0)
		_exit(1);
	r = send_descriptor(op_fd(op, SECCOMP_LISTENER_SOCKET), state, strlen(state), listener - 1);
	atomic_store(&shared->result, r);
	_exit(r < 0);
}

static int load(const struct op *op)
{
	const struct field *program = &op->field[F_SECCOMP_LISTENER_PROGRAM];
	struct sock_fprog filter = {0};

	if (program->len == 0 || program->len % sizeof(struct sock_filter) ||
		program->len / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return -EINVAL;
	filter.len = (unsigned short)(program->len / sizeof(struct sock_filter));
	filter.filter = (struct sock_filter *)program->text;
	return sysret(syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER, op_n(op, SECCOMP_LISTENER_FLAGS) | NEW_LISTENER, &filter));
}

int op_seccomp_listener(struct run *run, const struct op *op)
{
	struct clone3_args args = {.flags = CLONE_FILES_, .exit_signal = SIGCHLD};
	_cleanup_free_ char *state = with_pid(op_s(op, SECCOMP_LISTENER_STATE), run->pid);
	struct shared *shared;
	int listener, r = hide_descriptors(run);
	long pid;

	if (r < 0 || !state)
		return r < 0 ? r : -ENOMEM;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -errno;
	atomic_store(&shared->result, 1);
	pid = syscall(NR_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	if (pid == 0)
		messenger(op, shared, state);
	listener = load(op);
	atomic_store(&shared->listener, listener < 0 ? -1 : listener + 1);
	if (listener < 0) {
		waitpid((pid_t)pid, NULL, 0);
		return listener;
	}
	/* The listener may keep us waiting in waitpid, or the filter refuse it: the result is in memory. A messenger
	 * that was killed leaves none: then waitpid says so. */
	waitpid((pid_t)pid, NULL, 0);
	r = atomic_load(&shared->result);
	if (r == 1)
		r = -ECHILD;
	/* the descriptor itself goes with exec, or is closed by --init */
	run->notified = listener;
	return r < 0 ? fail(run, -r, "sending the listener") : 0;
}
