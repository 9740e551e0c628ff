/* mknod(2) of devices that harm nobody, for guests whose user namespace may not make any. */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "launch.h"
#include "supervise.h"
#include "sys.h"
#include "util.h"

struct wish {
	char path[PATH_MAX];
	const char *name; /* its last component */
	mode_t mode;
	dev_t device;
	int from; /* the caller's descriptor */
};

/* The kernel's own encoding in this argument (new_decode_dev): all of these are below 256. */
bool is_harmless(mode_t mode, dev_t device)
{
	static const unsigned known[] = {
		0x103, /* null */
		0x105, /* zero */
		0x107, /* full */
		0x108, /* random */
		0x109, /* urandom */
		0x500, /* tty: the caller's own */
	};

	if (!S_ISCHR(mode))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (device == known[i])
			return true;
	return false;
}

static int read_wish(const struct call *call, struct wish *wish)
{
	const __u64 *args = call->request->data.args;
	bool at = call->request->data.nr == SYS_mknodat;
	unsigned device = (unsigned)args[at ? 3 : 2];
	char *slash;
	int r;

	*wish = (struct wish){.mode = (mode_t)args[at ? 2 : 1], .from = at ? (int)args[0] : AT_FDCWD};
	wish->device = makedev(device >> 8, device & 0xff);
	r = call_string(call, args[at ? 1 : 0], wish->path, sizeof(wish->path));
	if (r < 0)
		return r;
	slash = strrchr(wish->path, '/');
	wish->name = slash ? slash + 1 : wish->path;
	if (!*wish->name)
		return *wish->path && strspn(wish->path, "/") == strlen(wish->path) ? -EEXIST : -ENOENT;
	if (!strcmp(wish->name, ".") || !strcmp(wish->name, ".."))
		return -EEXIST;
	return 0;
}

/* The directory, found by a process that has the caller's rights and no more; and that it may be written by it. */
static int find_parent(struct call *call, struct wish *wish, int directory)
{
	char parent[PATH_MAX];
	_cleanup_close_ int fd = -1;
	size_t len = (size_t)(wish->name - wish->path);
	int r = call_join(call, directory);

	if (r < 0)
		return r;
	memcpy(parent, wish->path, len);
	parent[len] = '\0';
	fd = sys_openat2(AT_FDCWD, len ? parent : ".", O_PATH | O_DIRECTORY, 0, RESOLVE_NO_MAGICLINKS_);
	if (fd < 0)
		return -errno;
	if (syscall(NR_faccessat2, fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return -errno;
	return take_fd(&fd);
}

/* The same in a process of its own, which shares our descriptors: the way back from a user namespace is closed. */
static int ask_parent(struct call *call, struct wish *wish)
{
	struct clone3_args args = {.flags = CLONE_FILES_, .exit_signal = SIGCHLD};
	_cleanup_close_ int directory =
		wish->path[0] == '/' ? call_directory(call, AT_FDCWD) : call_directory(call, wish->from);
	int answer[2], result = -EIO, error;
	unsigned left;
	long pid;

	if (directory < 0)
		return directory;
	if (pipe2(answer, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	/* who waits for it stays as long as it does, and keeps its place: the time is the other one's */
	left = alarm(0);
	pid = syscall(NR_clone3, &args, sizeof(args));
	error = errno;
	if (pid == 0) {
		alarm(left ? left : 1);
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		result = find_parent(call, wish, directory);
		(void)!write(answer[1], &result, sizeof(result));
		_exit(0);
	}
	while (pid > 0 && waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
		;
	alarm(left ? left : 1);
	if (pid < 0)
		return -error;
	if (read(answer[0], &result, sizeof(result)) != sizeof(result))
		result = -EIO;
	close(answer[0]);
	close(answer[1]);
	return result;
}

/* Whether it can be opened where it is: not on a file system of the user namespace's own, nor one that is nodev. */
static int check_open(const struct call *call, int parent, const struct wish *wish)
{
	_cleanup_close_ int node = -1, opened = -1;
	char path[32];
	struct stat st;

	node = sys_openat2(parent, wish->name, O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS_);
	/* somebody has taken it away: what is there now is not ours */
	if (node < 0 || fstat(node, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != wish->device)
		return 0;
	snprintf(path, sizeof(path), "fd/%d", node);
	opened = openat(call->self, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (opened >= 0 || errno != EACCES)
		return 0;
	unlinkat(parent, wish->name, 0);
	return -EPERM;
}

static int make(struct call *call)
{
	struct wish wish;
	_cleanup_close_ int parent = -1;
	int r = read_wish(call, &wish);

	if (r < 0)
		return r;
	parent = ask_parent(call, &wish);
	if (parent < 0)
		return parent;
	/* whose it is to be; that the directory may be written was asked with the caller's rights */
	r = lend_ids(call->uid, call->gid);
	if (r < 0)
		return r;
	umask(call->umask);
	if (mknodat(parent, wish.name, wish.mode, wish.device) < 0)
		return -errno;
	return check_open(call, parent, &wish);
}

void do_mknod(struct call *call)
{
	/* who may not, may not: mknod(2) says why */
	if (!call_is_inside(call) || !(call->capabilities & CAP_BIT(CAP_MKNOD)))
		call_continue(call);
	else
		call_answer(call, make(call));
}
