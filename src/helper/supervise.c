/* The supervisor: takes the guest's notifications and gives each to a worker. */
#include "supervise.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "companion.h"
#include "launch.h"
#include "passing.h"
#include "sys.h"
#include "util.h"

#ifndef SECCOMP_USER_NOTIF_FLAG_CONTINUE
#define SECCOMP_USER_NOTIF_FLAG_CONTINUE 1
#endif

/* Listeners, one a filter: the container's and those of what was executed in it; and connections that bring one. */
#define MAX_ENTRIES 256
/* Calls that are being made. A guest can make each last (its own memory, its own file systems), so it has no more. */
#define MAX_WORKERS 16
/* Seconds that a worker has. */
#define PATIENCE 10
/* Descriptors of the supervisor's, from 3 on. */
enum { FD_PEER = 3, FD_LISTEN, FD_CGROUP, FD_SIGNALS, FD_FREE };

struct entry {
	int fd;
	bool listener;
};

struct worker {
	pid_t pid; /* 0: none */
	int listener;
	uint64_t id;
};

static struct supervisor supervisor;
static struct entry entries[MAX_ENTRIES];
static unsigned entry_count;
static struct worker workers[MAX_WORKERS];
static unsigned worker_count;
static struct seccomp_notif_sizes sizes;

/* --- answers --- */

static void respond(int listener, uint64_t id, int error, unsigned flags)
{
	static char answer[4096] __attribute__((aligned(8)));
	struct seccomp_notif_resp *response = (struct seccomp_notif_resp *)answer;

	memset(answer, 0, sizeof(answer));
	*response = (struct seccomp_notif_resp){.id = id, .error = error, .flags = flags};
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, response); /* ENOENT: it has gone meanwhile */
}

void call_answer(const struct call *call, int result)
{
	call_release(call);
	respond(call->listener, call->request->id, result, 0);
}

void call_continue(const struct call *call)
{
	call_release(call);
	respond(call->listener, call->request->id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

/* --- workers --- */

typedef void (*work_function)(struct call *call);

static _Noreturn void work(int listener, const struct seccomp_notif *request, work_function function, pid_t parent)
{
	struct call call = {.supervisor = &supervisor,
		.request = request,
		.listener = listener,
		.self = -1,
		.proc = -1,
		.mem = -1,
		.root = -1,
		.cwd = -1,
		.mntns = -1,
		.userns = -1,
		.ns_root = -1,
		.mountinfo = -1};
	sigset_t none;
	int r;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(1); /* it had died before */
	alarm(PATIENCE);
	r = call_open(&call);
	if (r < 0)
		call_answer(&call, r);
	else
		function(&call);
	_exit(0);
}

/* Which work a call is, decided by registers alone, which the guest cannot change any more; NULL: none. */
static work_function choose(const struct seccomp_notif *request)
{
	const __u64 *args = request->data.args;

	switch (request->data.nr) {
#ifdef SYS_mknod
	case SYS_mknod:
		return is_harmless((mode_t)args[1], (dev_t)(unsigned)args[2]) ? do_mknod : NULL;
#endif
	case SYS_mknodat:
		return is_harmless((mode_t)args[2], (dev_t)(unsigned)args[3]) ? do_mknod : NULL;
	case SYS_mount:
		return is_new_mount(args[3]) ? do_mount : NULL;
	case SYS_umount2:
		return do_umount;
	case SYS_sysinfo:
		return do_sysinfo;
	}
	return NULL;
}

/* A call that is not for us: mknod and sysinfo are open to the guest anyway, a mount only where its filter has it. */
static void refuse(int listener, const struct seccomp_notif *request)
{
	bool mounts = request->data.nr == SYS_mount || request->data.nr == SYS_umount2;

	if (mounts && !supervisor.pass)
		respond(listener, request->id, -EPERM, 0);
	else
		respond(listener, request->id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

static void take_notification(int listener)
{
	static char buffer[4096] __attribute__((aligned(8)));
	struct seccomp_notif *request = (struct seccomp_notif *)buffer;
	pid_t pid, parent = getpid();
	work_function function;

	memset(buffer, 0, sizeof(buffer));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request) < 0)
		return; /* who asked has gone */
	function = choose(request);
	if (!function) {
		refuse(listener, request);
		return;
	}
	pid = fork();
	if (pid == 0)
		work(listener, request, function, parent);
	if (pid < 0) {
		respond(listener, request->id, -ENOMEM, 0);
		return;
	}
	for (unsigned i = 0; i < MAX_WORKERS; i++)
		if (!workers[i].pid) {
			workers[i] = (struct worker){pid, listener, request->id};
			worker_count++;
			break;
		}
}

static void reap_workers(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)!read(FD_SIGNALS, &info, sizeof(info));
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned i = 0; i < MAX_WORKERS; i++) {
			if (workers[i].pid != pid)
				continue;
			/* one that had no more patience has not answered */
			if (!WIFEXITED(status) || WEXITSTATUS(status))
				respond(workers[i].listener, workers[i].id, -EIO, 0);
			workers[i].pid = 0;
			worker_count--;
		}
	}
}

/* --- listeners --- */

static void add_entry(int fd, bool listener)
{
	if (entry_count < MAX_ENTRIES)
		entries[entry_count++] = (struct entry){fd, listener};
	else
		close(fd); /* its calls are answered with ENOSYS */
}

static void drop_entry(unsigned at)
{
	close(entries[at].fd);
	entries[at] = entries[--entry_count];
}

/* A listener over a connection; nothing else comes over it. */
static void take_listener(unsigned at)
{
	char byte;
	int fd;

	message_receive(entries[at].fd, &byte, 1, &fd, MSG_DONTWAIT);
	drop_entry(at);
	if (fd >= 0)
		add_entry(fd, true);
}

static void accept_connection(void)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(FD_LISTEN, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || (peer.uid != 0 && peer.uid != geteuid()))
		close(fd);
	else
		add_entry(fd, false);
}

/* To the end of the last process that has a filter of ours. */
static _Noreturn void serve(void)
{
	struct pollfd fds[2 + MAX_ENTRIES];

	while (entry_count) {
		unsigned count = entry_count;

		fds[0] = (struct pollfd){.fd = FD_LISTEN, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = FD_SIGNALS, .events = POLLIN};
		for (unsigned i = 0; i < count; i++) {
			bool wait = entries[i].listener && worker_count == MAX_WORKERS;

			fds[2 + i] = (struct pollfd){.fd = entries[i].fd, .events = wait ? 0 : POLLIN};
		}
		if (poll(fds, 2 + count, -1) < 0)
			continue;
		if (fds[1].revents)
			reap_workers();
		/* from the last one down: an entry that goes is replaced by one that was looked at */
		for (unsigned i = count; i-- > 0;) {
			short events = fds[2 + i].revents;

			if (events & POLLIN && !entries[i].listener)
				take_listener(i);
			else if (events & POLLIN && worker_count < MAX_WORKERS)
				take_notification(entries[i].fd);
			else if (events & (POLLHUP | POLLERR | POLLNVAL))
				drop_entry(i);
		}
		if (fds[0].revents)
			accept_connection();
	}
	_exit(0);
}

/* --- beginning --- */

static uint64_t needed_capabilities(void)
{
	/* a caller's files in /proc are its user's */
	uint64_t set = CAP_BIT(CAP_SYS_PTRACE) | CAP_BIT(CAP_DAC_OVERRIDE);

	if (supervisor.what & (SUPERVISE_MKNOD | SUPERVISE_MOUNT))
		set |= CAP_BIT(CAP_SYS_ADMIN);
	if (supervisor.what & SUPERVISE_MKNOD)
		set |= CAP_BIT(CAP_MKNOD) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID);
	/* there a worker is in the guest's user namespace already: what it may there is what it has here */
	if (supervisor.what & SUPERVISE_MOUNT && supervisor.nested)
		set |= CAP_BIT(CAP_DAC_READ_SEARCH) | CAP_BIT(CAP_SYS_CHROOT) | CAP_BIT(CAP_SETUID) |
		       CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETPCAP);
	return set;
}

/* No more than it needs: what it is told comes from the guest. */
static int give_up(void)
{
	uint64_t needed = needed_capabilities();

	syscall(SYS_setgroups, 0, NULL); /* where it is refused there is no one's right in them to be had */
	bound_capabilities(needed);
	keep_capabilities(needed);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return sysret(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

/* The descriptors that stay, to their numbers; all others go. */
static int number_descriptors(const int *wanted, unsigned count)
{
	int high[FD_FREE];

	for (unsigned i = 0; i < count; i++)
		high[i] = wanted[i] < 0 ? -1 : fcntl(wanted[i], F_DUPFD_CLOEXEC, FD_FREE);
	for (unsigned i = 0; i < count; i++) {
		close(3 + (int)i);
		if (high[i] >= 0 && dup3(high[i], 3 + (int)i, O_CLOEXEC) < 0)
			return -errno;
	}
	sys_close_range(3 + count, ~0u, 0);
	return 0;
}

static _Noreturn void supervise(const int wanted[FD_SIGNALS - 3])
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t children;

	prctl(PR_SET_NAME, "pycontain-sup", 0, 0, 0);
	setsid();
	for (int i = 0; i < 3; i++)
		if (null < 0 || dup2(null, i) < 0)
			_exit(1);
	reset_signals();
	if (chdir("/") < 0 || number_descriptors(wanted, FD_SIGNALS - 3) < 0)
		_exit(1);
	if (supervisor.cgroup >= 0)
		supervisor.cgroup = FD_CGROUP;
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	null = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	if (null != FD_SIGNALS && (dup3(null, FD_SIGNALS, O_CLOEXEC) < 0 || close(null) < 0))
		_exit(1);
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0 || sizes.seccomp_notif > 4096 ||
		sizes.seccomp_notif_resp > 4096 || give_up() < 0)
		_exit(1);
	add_entry(FD_PEER, false);
	serve();
}

static int find_space(pid_t pid, const char *name, struct space *space)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	if (stat(path, &st) < 0)
		return -errno;
	*space = (struct space){st.st_dev, st.st_ino};
	return 0;
}

/* Where what is executed in the container brings its listener. */
static int listen_in(const char *directory)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (dir < 0 || fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/supervise", dir);
	unlinkat(dir, "supervise", 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	fchmodat(dir, "supervise", 0600, 0);
	return listen(fd, 16) < 0 ? -errno : take_fd(&fd);
}

static int describe(const struct run *run, const struct op *op)
{
	int r = find_space(run->pid, "user", &supervisor.user);

	supervisor.what = (unsigned)op_n(op, SUPERVISE_WHAT);
	supervisor.types = (unsigned)op_n(op, SUPERVISE_TYPES);
	supervisor.pass = op_n(op, SUPERVISE_PASS_MOUNTS);
	supervisor.nested = op_n(op, SUPERVISE_NESTED);
	supervisor.cgroup = op_fd(op, SUPERVISE_CGROUP);
	clock_gettime(CLOCK_BOOTTIME, &supervisor.started);
	if (r == 0)
		r = find_space(run->pid, "mnt", &supervisor.mounts);
	if (r == 0)
		r = find_space(getpid(), "user", &supervisor.our_user);
	supervisor.own = mmap(
		NULL, OWN_MAX * sizeof(*supervisor.own), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return supervisor.own == MAP_FAILED ? -errno : r;
}

int op_supervise(struct run *run, const struct op *op)
{
	struct clone3_args args = {.flags = CLONE_PIDFD_, .exit_signal = SIGCHLD};
	int wanted[] = {op_fd(op, SUPERVISE_SOCKET), -1, op_fd(op, SUPERVISE_CGROUP)};
	_cleanup_close_ int door = -1;
	int pidfd = -1, r = describe(run, op);
	long pid;

	if (r < 0)
		return fail(run, -r, "the namespaces of the container");
	door = listen_in(op_s(op, SUPERVISE_DIRECTORY));
	if (door < 0)
		return fail(run, -door, "%s/supervise", op_s(op, SUPERVISE_DIRECTORY));
	wanted[1] = door;
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	pid = syscall(NR_clone3, &args, sizeof(args));
	if (pid == 0)
		supervise(wanted);
	if (pid < 0)
		return -errno;
	run->companions[COMPANION_SUPERVISOR] = pidfd;
	/* only the two of them: the one sees by it that the other has gone */
	close(op_fd(op, SUPERVISE_SOCKET));
	close(op_fd(op, SUPERVISE_GUEST_SOCKET));
	munmap(supervisor.own, OWN_MAX * sizeof(*supervisor.own));
	return 0;
}
