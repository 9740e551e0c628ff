/* Binds whose owners are mapped: mount_setattr(2), MOUNT_ATTR_IDMAP. On the host side, whose capabilities the file
 * system's owner asks for. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "idmap.h"
#include "launch.h"
#include "sys.h"
#include "util.h"

static int write_map(struct run *run, pid_t pid, const char *name, const char *text)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	r = write_file_at(AT_FDCWD, path, 0, text, strlen(text));
	return r < 0 ? fail(run, -r, "%s", name) : 0;
}

/* A user namespace with these maps; the process in it is only there to have them written. */
static int user_namespace(struct run *run, const char *uids, const char *gids)
{
	struct clone3_args args = {.flags = CLONE_NEWUSER_, .exit_signal = SIGCHLD};
	long pid = syscall(NR_clone3, &args, sizeof(args));
	char path[64];
	int r;

	if (pid < 0)
		return fail(run, errno, "a user namespace");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		for (;;)
			pause();
	}
	r = write_map(run, (pid_t)pid, "uid_map", uids);
	if (r == 0)
		r = write_map(run, (pid_t)pid, "gid_map", gids);
	if (r == 0) {
		snprintf(path, sizeof(path), "/proc/%ld/ns/user", pid);
		r = sysret(open(path, O_RDONLY | O_CLOEXEC));
	}
	kill((pid_t)pid, SIGKILL);
	while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}

int guest_userns(struct run *run)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", run->pid);
	return sysret(open(path, O_RDONLY | O_CLOEXEC));
}

int map_owners(struct run *run, int tree, int userns, bool recursive)
{
	struct mount_attr_ attr = {.attr_set = MOUNT_ATTR_IDMAP_, .userns_fd = (uint64_t)userns};

	if (sys_mount_setattr(tree, recursive ? AT_RECURSIVE_ : 0, &attr) == 0)
		return 0;
	return errno == EINVAL ? fail(run, EINVAL, "its file system does not support mapped owners") : -errno;
}

int fill_slot(struct run *run, uint64_t slot, int fd)
{
	struct frame frame = {.type = FRAME_SLOT, .record = (uint32_t)slot};
	int r;

	if (slot < 1 || slot > MAX_SLOTS) {
		close(fd);
		return -EINVAL;
	}
	if (!run->pid) {
		run->mapped[slot - 1] = fd + 1;
		return 0;
	}
	r = frame_send(run->baton, &frame, fd);
	close(fd);
	return r;
}

int take_slot(struct run *run, uint64_t slot)
{
	int fd;

	if (slot < 1 || slot > MAX_SLOTS || !run->mapped[slot - 1])
		return -EBADF;
	fd = run->mapped[slot - 1] - 1;
	run->mapped[slot - 1] = 0;
	return fd;
}

int op_map_source(struct run *run, const struct op *op)
{
	_cleanup_close_ int userns = -1, tree = -1;
	int which = op_fd(op, MAP_SOURCE_USERNS), r = 0;

	if (which == GUEST_USERNS)
		userns = guest_userns(run);
	else if (which != NO_USERNS)
		userns = user_namespace(run, op_s(op, MAP_SOURCE_UIDS), op_s(op, MAP_SOURCE_GIDS));
	if (userns < 0 && which != NO_USERNS)
		return userns;
	tree = sys_open_tree(AT_FDCWD, op_s(op, MAP_SOURCE_SOURCE),
		OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | (op_n(op, MAP_SOURCE_RECURSIVE) ? AT_RECURSIVE_ : 0));
	if (tree < 0)
		return -errno;
	if (userns >= 0)
		r = map_owners(run, tree, userns, op_n(op, MAP_SOURCE_MAPPED));
	return r < 0 ? r : fill_slot(run, op_n(op, MAP_SOURCE_SLOT), take_fd(&tree));
}
