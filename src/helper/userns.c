/* A guest in a user namespace of its own: who makes it, its root, its pipes. */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "idmap.h"
#include "launch.h"
#include "rootfs.h"
#include "sys.h"
#include "util.h"

/*
 * What a user namespace holds of the kernel's scarce things (inotify, pids, pending signals) is counted against the
 * user who has made it, in the namespace above: made by root, all guests would share root's. So for a moment this
 * process is the user that the guest's root is to be. Its real and saved IDs stay root's: nobody else's process comes
 * near it.
 */
static gid_t own_gid;

int lend_ids(int64_t uid, int64_t gid)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	own_gid = getegid();
	if (syscall(SYS_setresgid, -1, gid, -1) < 0 || syscall(SYS_setresuid, -1, uid, -1) < 0)
		return -errno;
	/* the effective ones have gone with the effective user; the permitted ones have not */
	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	return sysret(syscall(SYS_capset, &header, data));
}

void return_ids(void)
{
	if (syscall(SYS_setresuid, -1, 0, -1) < 0 || syscall(SYS_setresgid, -1, own_gid, -1) < 0)
		_exit(125); /* our real user is root: it cannot be refused */
}

/* --- an overlay whose layers are mapped --- */

bool lend_owner(struct run *run)
{
	_cleanup_close_ int userns = guest_userns(run);
	uid_t uid = 0;

	if (userns < 0 || geteuid() != 0 || ioctl(userns, NS_GET_OWNER_UID, &uid) < 0 || uid == 0 || uid == (uid_t)-1)
		return false;
	if (lend_ids(uid, -1) == 0)
		return true;
	return_ids();
	return false;
}

/* What the process that mounts has to say: there is no other memory that it shares with us. */
struct report {
	int result; /* a descriptor, which we share, or -errno */
	char detail[DETAIL_SIZE];
};

/* What is found, replaced by itself with its owners mapped: in this namespace alone. */
static int map_found(struct run *run, int target, const char *path, int userns)
{
	_cleanup_close_ int tree = -1;
	int r;

	tree = sys_open_tree(target, "", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | AT_EMPTY_PATH);
	if (tree < 0)
		return fail(run, errno, "%s", path);
	r = map_owners(run, tree, userns, false);
	if (r < 0)
		return r;
	return sys_move_mount(tree, target) < 0 ? fail(run, errno, "%s", path) : 0;
}

/* A directory of ours (or a person's link to it), relative to where we are. */
static int map_in_place(struct run *run, const char *path, int userns)
{
	_cleanup_close_ int target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return target < 0 ? fail(run, errno, "%s", path) : map_found(run, target, path, userns);
}

/* What is mounted at a path of ours, a directory or a file. */
int op_map_place(struct run *run, const struct op *op)
{
	const char *path = op_s(op, MAP_PLACE_PATH);
	_cleanup_close_ int target = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), userns = -1;

	if (target < 0)
		return fail(run, errno, "%s", path);
	userns = guest_userns(run);
	return userns < 0 ? fail(run, -userns, "the user namespace") : map_found(run, target, path, userns);
}

/* What an overlay is made of: the fields of its record. */
struct layers {
	const char *store, *target, *lower, *upper, *work, *options;
	int64_t uid, gid;
	int disk;
};

#define LAYERS(op, kind)                                                                                               \
	{                                                                                                              \
		op_s(op, kind##_STORE), op_s(op, kind##_TARGET), op_s(op, kind##_LOWER), op_s(op, kind##_UPPER),       \
			op_s(op, kind##_WORK), op_s(op, kind##_OPTIONS), (int64_t)op_n(op, kind##_UID),                \
			(int64_t)op_n(op, kind##_GID), op_fd(op, kind##_DISK)                                          \
	}

static int mount_mapped(struct run *run, const struct layers *of, int userns)
{
	char own[PATH_MAX], options[8192];
	int r, n;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fail(run, errno, "a mount namespace");
	if (chdir(of->store) < 0)
		return fail(run, errno, "%s", of->store);
	/* upper and work directory have to be on one mount */
	r = directory_of(own, sizeof(own), of->upper);
	if (r == 0 && of->disk >= 0)
		r = mount_disk(run, of->disk, of->upper);
	if (r == 0 && userns >= 0)
		r = map_in_place(run, own, userns);
	if (r == 0 && userns >= 0)
		r = map_in_place(run, "layers", userns);
	if (r < 0)
		return r;
	n = overlay_options(options, sizeof(options), of->lower, of->upper, of->work, of->options);
	if (n < 0)
		return fail(run, -n, "too many layers");
	/* the overlay makes its working directory now, and an ID that the layers do not have cannot make anything */
	if (userns >= 0) {
		r = lend_ids(of->uid, of->gid);
		if (r < 0)
			return fail(run, -r, "becoming the container's root");
	}
	if (mount("overlay", of->target, "overlay", 0, options) < 0)
		return fail(run, errno, "overlay");
	r = sysret(sys_open_tree(AT_FDCWD, of->target, OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_));
	return r < 0 ? fail(run, -r, "%s", of->target) : r;
}

/* The overlay as a mount that is attached nowhere, made in a namespace that nobody else sees. */
static int detached_root(struct run *run, const struct layers *of)
{
	struct clone3_args args = {.flags = CLONE_NEWNS_ | CLONE_FILES_, .exit_signal = SIGCHLD};
	struct report report = {.result = -EIO};
	/* ours goes: what stays while the container runs is not to keep its disk */
	_cleanup_close_ int userns = -1, disk = of->disk;
	int answer[2];
	long pid;

	if (of->uid != -1) {
		userns = guest_userns(run);
		if (userns < 0)
			return fail(run, -userns, "the user namespace");
	}
	if (pipe2(answer, O_CLOEXEC) < 0)
		return -errno;
	pid = syscall(NR_clone3, &args, sizeof(args));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		report.result = mount_mapped(run, of, userns);
		memcpy(report.detail, run->detail, sizeof(report.detail));
		(void)!write(answer[1], &report, sizeof(report));
		_exit(0);
	}
	if (pid < 0) {
		report.result = -errno;
	} else {
		/* it has our descriptors, so nothing but its end tells that it has not written */
		while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
			;
		fcntl(answer[0], F_SETFL, O_NONBLOCK);
		if (read(answer[0], &report, sizeof(report)) != sizeof(report))
			report.result = -EIO;
	}
	close(answer[0]);
	close(answer[1]);
	return report.result < 0 ? fail(run, -report.result, "%s", report.detail) : report.result;
}

int op_map_root(struct run *run, const struct op *op)
{
	struct layers of = LAYERS(op, MAP_ROOT);
	int r = detached_root(run, &of);

	return r < 0 ? r : fill_slot(run, op_n(op, MAP_ROOT_SLOT), r);
}

/* In this process's own mount namespace, by its path: for a program that mounts by paths. */
int op_place_root(struct run *run, const struct op *op)
{
	struct layers of = LAYERS(op, PLACE_ROOT);
	_cleanup_close_ int tree = detached_root(run, &of), store = -1, target = -1;

	if (tree < 0)
		return tree;
	store = open(of.store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	target = store < 0 ? -1 : openat(store, of.target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (target < 0)
		return fail(run, errno, "%s", of.target);
	return sys_move_mount(tree, target) < 0 ? fail(run, errno, "%s", of.target) : 0;
}

int op_take_root(struct run *run, const struct op *op)
{
	_cleanup_close_ int tree = take_slot(run, op_n(op, TAKE_ROOT_SLOT)), here = -1;

	if (tree < 0)
		return tree;
	here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (here < 0)
		return -errno;
	if (sys_move_mount(tree, here) < 0)
		return -errno;
	run->root = take_fd(&tree);
	return 0;
}

int op_own_pipes(struct run *run, const struct op *op)
{
	for (int i = 0; i < 3; i++)
		if (run->guest_pipes[i] >= 0 &&
			fchown(run->guest_pipes[i], (uid_t)op_n(op, OWN_PIPES_UID), (gid_t)op_n(op, OWN_PIPES_GID)) < 0)
			return -errno;
	return 0;
}
