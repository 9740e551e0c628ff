/* System calls of a guest's that a process outside of it makes, or answers, in its place (docs/supervised-calls.md).
 *
 * The supervisor takes the calls; each is done by a worker, a process that lives for it alone.
 */
#ifndef SUPERVISE_H
#define SUPERVISE_H

#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "sandbox.h"

/* launch/supervise.py has both lists. */
enum { SUPERVISE_MKNOD = 1, SUPERVISE_SYSINFO = 2, SUPERVISE_MOUNT = 4 };
enum { TYPE_TMPFS = 1, TYPE_OVERLAY = 2, TYPE_FUSE = 4 };

/* More mounts than that a guest has not got of us at one time. */
#define OWN_MAX 128

/* A namespace, as stat(2) of its file in /proc/PID/ns tells it. */
struct space {
	dev_t dev;
	ino_t ino;
};

struct supervisor {
	unsigned what, types;
	bool pass;   /* the guest's filter would let a mount through: what we do not make is the kernel's business */
	bool nested; /* we are in a user namespace ourselves */
	int cgroup;  /* the container's, or -1 */
	struct timespec started;
	struct space user, mounts, our_user; /* the guest's; the user namespace that we are in */
	atomic_ullong *own;		     /* shared with the workers: the mounts made here, 0 where there is none */
};

/* One call, and what a worker has found out about who made it. */
struct call {
	const struct supervisor *supervisor;
	const struct seccomp_notif *request;
	int listener;
	int self; /* /proc/self of ours: once the guest's mount namespace is joined there is no other way to it */
	int proc, mem, root, cwd, mntns, userns;
	pid_t tgid;
	uid_t uid;     /* of the filesystem, as we see it */
	uid_t own_uid; /* the same as the caller sees it; after call_join */
	gid_t gid;
	mode_t umask;
	uint64_t capabilities;
	int ns_root, mountinfo; /* after call_join */
};

/* Everything of the caller's that has a descriptor; then the kernel is asked whether it still waits. 0 or -errno. */
int call_open(struct call *call);

/* A string of the caller's memory, read once. 0 or -errno: -EFAULT, -ENAMETOOLONG. */
int call_string(const struct call *call, uint64_t address, char *text, size_t size);

/* Write to the caller's memory. 0 or -EFAULT. */
int call_write(const struct call *call, uint64_t address, const void *data, size_t len);

/* An O_PATH descriptor of what the caller's descriptor (or AT_FDCWD) is. */
int call_directory(const struct call *call, int fd);

/* Whether the caller is in the namespaces that the container began with. */
bool call_is_inside(const struct call *call);

/*
 * Become a process in the caller's user and mount namespace, with its root, with `directory` as the working directory,
 * its user and groups for files and its effective capabilities. All capabilities in the user namespace stay permitted.
 */
int call_join(struct call *call, int directory);

/* The caller's effective capabilities, and these (bits). */
int call_raise(const struct call *call, uint64_t more);

/* Let go of all that is the caller's: with the answer it goes on, and what it unmounts then is not to be busy by us. */
void call_release(const struct call *call);

/* Answer: 0 or -errno; releases. */
void call_answer(const struct call *call, int result);

/* The kernel is to do it as if nobody had asked us. */
void call_continue(const struct call *call);

/* Each is done in a worker, and answers. */
void do_mknod(struct call *call);
void do_mount(struct call *call);
void do_umount(struct call *call);
void do_sysinfo(struct call *call);

/* Whether a mknod(2) with this mode and device is one that we make. */
bool is_harmless(mode_t mode, dev_t device);

/* Whether these flags of mount(2) are of a new mount. */
bool is_new_mount(uint64_t flags);

#endif
