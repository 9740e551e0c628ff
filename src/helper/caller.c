/* Who has made a supervised call: its memory, its files, and how a worker becomes like it. */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "supervise.h"
#include "sys.h"
#include "util.h"

#define STATUS_SIZE 16384
#define GROUPS_MAX 256
/* No boundary of pages is crossed by a read that could have ended before it. */
#define CHUNK 4096

/* --- its descriptors --- */

static int is_waiting(const struct call *call)
{
	uint64_t id = call->request->id;

	return sysret(ioctl(call->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id));
}

/* A file of its directory in our /proc; the links there lead to the thing itself and not along a path. */
static int open_of(const struct call *call, const char *name, int flags)
{
	int fd = openat(call->proc, name, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static const char *line_of(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at ? at + strlen(key) : NULL;
}

static ssize_t read_status(const struct call *call, char *text)
{
	ssize_t n = read_file_at(call->proc, "status", text, STATUS_SIZE - 1);

	text[n > 0 ? n : 0] = '\0';
	return n;
}

static int read_facts(struct call *call)
{
	char text[STATUS_SIZE];
	const char *uid, *gid, *mask, *caps, *tgid;

	if (read_status(call, text) <= 0)
		return -ESRCH;
	tgid = line_of(text, "\nTgid:");
	uid = line_of(text, "\nUid:");
	gid = line_of(text, "\nGid:");
	mask = line_of(text, "\nUmask:");
	caps = line_of(text, "\nCapEff:");
	if (!tgid || !uid || !gid || !mask || !caps)
		return -ESRCH;
	call->tgid = (pid_t)strtol(tgid, NULL, 10);
	if (sscanf(uid, "%*u %*u %*u %u", &call->uid) != 1 || sscanf(gid, "%*u %*u %*u %u", &call->gid) != 1)
		return -ESRCH;
	call->umask = (mode_t)strtoul(mask, NULL, 8);
	call->capabilities = strtoull(caps, NULL, 16);
	return 0;
}

int call_open(struct call *call)
{
	char path[32];
	int r;

	/* we leave the root in which there is a /proc */
	call->self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d", (int)call->request->pid);
	call->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (call->self < 0 || call->proc < 0)
		return -errno;
	call->mem = open_of(call, "mem", O_RDWR);
	call->root = open_of(call, "root", O_PATH | O_DIRECTORY);
	call->cwd = open_of(call, "cwd", O_PATH | O_DIRECTORY);
	call->mntns = open_of(call, "ns/mnt", O_RDONLY);
	call->userns = open_of(call, "ns/user", O_RDONLY);
	if (call->mem < 0 || call->root < 0 || call->cwd < 0 || call->mntns < 0 || call->userns < 0)
		return -EPERM;
	r = read_facts(call);
	/* it has waited all the time: these are of the process that asked, and not of one that has its number now */
	return r < 0 ? r : is_waiting(call);
}

int call_directory(const struct call *call, int fd)
{
	char name[32];

	if (fd == AT_FDCWD)
		return fcntl(call->cwd, F_DUPFD_CLOEXEC, 3);
	snprintf(name, sizeof(name), "fd/%d", fd);
	fd = open_of(call, name, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd == -ENOENT ? -EBADF : fd;
	return is_waiting(call) < 0 ? -ESRCH : fd;
}

static bool is_space(int fd, const struct space *space)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_dev == space->dev && st.st_ino == space->ino;
}

bool call_is_inside(const struct call *call)
{
	return is_space(call->userns, &call->supervisor->user) && is_space(call->mntns, &call->supervisor->mounts);
}

/* --- its memory --- */

int call_string(const struct call *call, uint64_t address, char *text, size_t size)
{
	size_t used = 0;

	while (used < size) {
		size_t most = CHUNK - (address + used) % CHUNK;
		ssize_t n;

		if (most > size - used)
			most = size - used;
		n = pread(call->mem, text + used, most, (off_t)(address + used));
		if (n <= 0)
			return -EFAULT;
		if (memchr(text + used, '\0', (size_t)n))
			return 0;
		used += (size_t)n;
	}
	return -ENAMETOOLONG;
}

int call_write(const struct call *call, uint64_t address, const void *data, size_t len)
{
	return pwrite(call->mem, data, len, (off_t)address) == (ssize_t)len ? 0 : -EFAULT;
}

/* --- to be like it --- */

int call_raise(const struct call *call, uint64_t more)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	uint64_t set;

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	set = (call->capabilities | more) & (data[0].permitted | (uint64_t)data[1].permitted << 32);
	data[0].effective = (uint32_t)set;
	data[1].effective = (uint32_t)(set >> 32);
	return sysret(syscall(SYS_capset, &header, data));
}

/* Its user and groups for files, by their numbers in its own user namespace. The real ones stay ours: its processes do
 * not come near us. */
static int take_user(struct call *call)
{
	char text[STATUS_SIZE], *end;
	const char *uid, *gid, *groups;
	unsigned user = 0, group = 0, list[GROUPS_MAX];
	size_t count = 0;

	if (read_status(call, text) <= 0)
		return -ESRCH;
	uid = line_of(text, "\nUid:");
	gid = line_of(text, "\nGid:");
	groups = line_of(text, "\nGroups:");
	if (!uid || !gid || !groups || sscanf(uid, "%*u %*u %*u %u", &user) != 1 ||
		sscanf(gid, "%*u %*u %*u %u", &group) != 1)
		return -ESRCH;
	call->own_uid = user;
	while (count < GROUPS_MAX) {
		while (*groups == ' ' || *groups == '\t')
			groups++;
		list[count] = (unsigned)strtoul(groups, &end, 10);
		if (*groups == '\n' || end == groups)
			break;
		groups = end;
		count++;
	}
	/* the namespace may deny it: then it has no groups, and we have none */
	if (syscall(SYS_setgroups, count, list) < 0 && errno != EPERM)
		return -errno;
	if (syscall(SYS_setresgid, -1, group, -1) < 0 || syscall(SYS_setresuid, -1, user, -1) < 0)
		return -errno;
	return 0;
}

int call_join(struct call *call, int directory)
{
	int r;

	if (!is_space(call->userns, &call->supervisor->our_user) && syscall(SYS_setns, call->userns, CLONE_NEWUSER) < 0)
		return -errno;
	if (syscall(SYS_setns, call->mntns, CLONE_NEWNS) < 0)
		return -errno;
	/* the namespace's own root, and the table as it is seen from there */
	call->ns_root = sys_openat2(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0, 0);
	call->mountinfo = openat(call->self, "mountinfo", O_RDONLY | O_CLOEXEC);
	if (call->ns_root < 0 || call->mountinfo < 0)
		return -errno;
	if (fchdir(call->root) < 0 || chroot(".") < 0 || fchdir(directory) < 0)
		return -errno;
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
		return -errno;
	r = take_user(call);
	if (r == 0) /* another user, or namespace, and the kernel has forgotten it */
		r = sysret(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
	return r < 0 ? r : call_raise(call, 0);
}

void call_release(const struct call *call)
{
	const int held[] = {call->cwd, call->root, call->ns_root};

	if (call->ns_root >= 0) {
		call_raise(call, CAP_BIT(CAP_SYS_CHROOT));
		if (fchdir(call->self) < 0 || chroot(".") < 0)
			_exit(1); /* to be answered when we have ended */
	}
	for (size_t i = 0; i < ARRAY_SIZE(held); i++)
		if (held[i] >= 0)
			close(held[i]);
}
