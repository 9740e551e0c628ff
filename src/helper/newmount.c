/* mount(2) and umount2(2) of what a user namespace may mount, for guests without CAP_SYS_ADMIN. */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "newmount.h"
#include "sys.h"
#include "util.h"

/* mount(2) copies one page */
#define DATA_SIZE 4096
#define OPTIONS_MAX 128

#define MOUNT_ATTR_NOATIME_ 0x00000010
#define MOUNT_ATTR_STRICTATIME_ 0x00000020
#define MOUNT_ATTR_NODIRATIME_ 0x00000080
#define MS_LAZYTIME_ (1 << 25)

/* The attributes of the mount, and the flags of its file system, that flags of mount(2) ask for. */
static const struct {
	unsigned long flag;
	unsigned attribute;
	const char *option;
} flag_names[] = {
	{MS_RDONLY, MOUNT_ATTR_RDONLY_, "ro"},
	{MS_NOSUID, MOUNT_ATTR_NOSUID_, NULL},
	{MS_NODEV, MOUNT_ATTR_NODEV_, NULL},
	{MS_NOEXEC, MOUNT_ATTR_NOEXEC_, NULL},
	{MS_NOATIME, MOUNT_ATTR_NOATIME_, NULL},
	{MS_STRICTATIME, MOUNT_ATTR_STRICTATIME_, NULL},
	{MS_NODIRATIME, MOUNT_ATTR_NODIRATIME_, NULL},
	{MS_SYNCHRONOUS, 0, "sync"},
	{MS_DIRSYNC, 0, "dirsync"},
	{MS_LAZYTIME_, 0, "lazytime"},
	{MS_RELATIME, 0, NULL},
	{MS_SILENT, 0, NULL},
};

struct wish {
	char type[64], source[PATH_MAX], target[PATH_MAX], data[DATA_SIZE + 1];
	char *subtype; /* of fuse.SUBTYPE, or NULL */
	unsigned kind; /* TYPE_* */
	unsigned long flags;
	struct option options[OPTIONS_MAX];
	unsigned option_count;
	int device; /* fuse: the caller's /dev/fuse */
};

bool is_new_mount(uint64_t flags)
{
	uint64_t known = 0;

	if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
		flags &= ~(uint64_t)MS_MGC_MSK;
	for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++)
		known |= flag_names[i].flag;
	return !(flags & ~known);
}

/* --- what may be mounted on --- */

/* What is at a path of the guest's, and which mount that is on. */
static int open_place(int directory, const char *path, uint64_t flags, struct place *place)
{
	_cleanup_close_ int fd = sys_openat2(directory, path, O_PATH | flags, 0, RESOLVE_GUEST);
	int r = fd < 0 ? -errno : find_place(fd, place);

	return r < 0 ? r : take_fd(&fd);
}

/* Nothing is mounted on what the container was set up with: neither does it cover a mask, nor is it in the way of an
 * umount of ours. And nothing where the host would get it, too. */
static int find_target(const struct call *call, const struct wish *wish)
{
	struct place place;
	_cleanup_close_ int fd = open_place(AT_FDCWD, wish->target, 0, &place);
	int r;

	if (fd < 0)
		return fd;
	if (is_kernels(fd) || (place.is_root && !is_own(call, &place)))
		return -EPERM;
	r = is_shared(call, place.mount);
	if (r)
		return r < 0 ? r : -EPERM;
	return take_fd(&fd);
}

/* --- the wish --- */

static int find_kind(struct wish *wish)
{
	if (!strncmp(wish->type, "fuse.", 5)) {
		wish->subtype = wish->type + 5;
		wish->type[4] = '\0';
	}
	if (!strcmp(wish->type, "tmpfs"))
		wish->kind = TYPE_TMPFS;
	else if (!strcmp(wish->type, "overlay"))
		wish->kind = TYPE_OVERLAY;
	else if (!strcmp(wish->type, "fuse"))
		wish->kind = TYPE_FUSE;
	else
		return -EPERM;
	return 0;
}

static int split_options(struct wish *wish)
{
	char *save = NULL;

	/* of all the ways to write a comma into a value none means the same to all three */
	if (strchr(wish->data, '\\'))
		return -EINVAL;
	for (char *word = strtok_r(wish->data, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(word, '=');

		if (wish->option_count == OPTIONS_MAX)
			return -EINVAL;
		if (equals)
			*equals++ = '\0';
		wish->options[wish->option_count++] = (struct option){word, equals};
	}
	return 0;
}

/* The caller's /dev/fuse becomes ours, for the kernel looks for it here. */
static int take_device(const struct call *call, struct wish *wish)
{
	_cleanup_close_ int pidfd = -1;
	struct stat st;
	uint64_t number;
	uint64_t id = call->request->id;

	for (unsigned i = 0; i < wish->option_count; i++) {
		struct option *option = &wish->options[i];

		if (!option->key || strcmp(option->key, "fd") || !option->value)
			continue;
		if (wish->device >= 0 || parse_u64(option->value, &number) < 0 || number > INT_MAX)
			return -EINVAL;
		pidfd = sys_pidfd_open(call->tgid);
		if (pidfd < 0 || ioctl(call->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) < 0)
			return -ESRCH;
		wish->device = (int)syscall(NR_pidfd_getfd, pidfd, (int)number, 0);
		if (wish->device < 0)
			return -errno;
		if (fstat(wish->device, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(10, 229))
			return -EINVAL;
		option->key = NULL; /* set by its number here */
	}
	return wish->device < 0 ? -EINVAL : 0;
}

static int read_wish(const struct call *call, struct wish *wish)
{
	const __u64 *args = call->request->data.args;
	int r;

	wish->device = -1;
	wish->flags = args[3];
	if ((wish->flags & MS_MGC_MSK) == MS_MGC_VAL)
		wish->flags &= ~(unsigned long)MS_MGC_MSK;
	r = args[2] ? call_string(call, args[2], wish->type, sizeof(wish->type)) : -EINVAL;
	if (r == 0)
		r = find_kind(wish);
	if (r < 0)
		return r;
	if (!(call->supervisor->types & wish->kind))
		return -EPERM;
	r = call_string(call, args[1], wish->target, sizeof(wish->target));
	if (r == 0 && args[0])
		r = call_string(call, args[0], wish->source, sizeof(wish->source));
	if (r == 0 && args[4])
		r = call_string(call, args[4], wish->data, DATA_SIZE);
	return r < 0 ? r : split_options(wish);
}

/* Who has the right over its own view of the files that the container's root has by default. */
static bool may_mount(const struct call *call)
{
	return call_is_inside(call) && call->capabilities & CAP_BIT(CAP_SYS_CHROOT);
}

/* To be in the caller's place, where that is the container's root. */
static int join_root(struct call *call)
{
	int r = call_join(call, call->cwd);

	return r == 0 && call->own_uid ? -EPERM : r;
}

/* --- making it --- */

static int set_options(int fs, const struct wish *wish)
{
	char number[16];

	if (*wish->source && sys_fsconfig(fs, FSCONFIG_SET_STRING_, "source", wish->source) < 0)
		return -errno;
	if (wish->subtype && *wish->subtype && sys_fsconfig(fs, FSCONFIG_SET_STRING_, "subtype", wish->subtype) < 0)
		return -errno;
	if (wish->device >= 0) {
		snprintf(number, sizeof(number), "%d", wish->device);
		if (sys_fsconfig(fs, FSCONFIG_SET_STRING_, "fd", number) < 0)
			return -errno;
	}
	for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++)
		if (wish->flags & flag_names[i].flag && flag_names[i].option &&
			sys_fsconfig(fs, FSCONFIG_SET_FLAG_, flag_names[i].option, NULL) < 0)
			return -errno;
	for (unsigned i = 0; i < wish->option_count; i++) {
		const struct option *option = &wish->options[i];

		if (option->key && sys_fsconfig(fs, option->value ? FSCONFIG_SET_STRING_ : FSCONFIG_SET_FLAG_,
					   option->key, option->value) < 0)
			return -errno;
	}
	return 0;
}

static unsigned attributes_of(unsigned long flags)
{
	unsigned attributes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++)
		if (flags & flag_names[i].flag)
			attributes |= flag_names[i].attribute;
	/* of the ways to keep times there is one */
	return attributes & MOUNT_ATTR_NOATIME_ ? attributes & ~(unsigned)MOUNT_ATTR_STRICTATIME_ : attributes;
}

/* A detached mount of the wish. */
static int make_mount(const struct wish *wish, const struct overlay *overlay)
{
	_cleanup_close_ int fs = sys_fsopen(wish->type);
	int r;

	if (fs < 0)
		return -errno;
	r = set_options(fs, wish);
	if (r == 0 && overlay)
		r = set_layers(fs, overlay);
	if (r == 0)
		r = sysret(sys_fsconfig(fs, FSCONFIG_CMD_CREATE_, NULL, NULL));
	return r < 0 ? r : sysret(sys_fsmount(fs, attributes_of(wish->flags) | (overlay ? overlay->attributes : 0)));
}

/* cost: places in the table that it takes besides its own. */
static int attach(const struct call *call, int mount, int target, unsigned cost)
{
	struct place place;
	int r = find_place(mount, &place);

	if (r < 0)
		return r;
	for (unsigned i = 0; r == 0 && i <= cost; i++)
		r = own_replace(call, 0, own_key(&place)) ? 0 : -ENOSPC;
	if (r == 0)
		r = sysret(sys_move_mount(mount, target));
	if (r < 0)
		own_replace_all(call, own_key(&place), 0);
	return r;
}

static int mount_wish(struct call *call, struct wish *wish)
{
	struct overlay overlay = {.parent = -1};
	bool layered = wish->kind == TYPE_OVERLAY;
	_cleanup_close_ int target = -1, mount = -1;
	int r = join_root(call);

	if (r < 0)
		return r;
	target = find_target(call, wish);
	if (target < 0)
		return target;
	/* not before the last look at a path: while we wait for a server of the guest's, which may never answer, its
	 * device must not be ours, too, for then nothing would end its connection, and us */
	if (wish->kind == TYPE_FUSE) {
		r = call_raise(call, CAP_BIT(CAP_SYS_PTRACE));
		if (r == 0)
			r = take_device(call, wish);
		if (r < 0)
			return r;
	}
	r = layered ? copy_layers(call, wish->options, wish->option_count, &overlay) : 0;
	if (r == 0)
		r = call_raise(call, CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_SYS_CHROOT));
	if (r == 0 && layered)
		r = stage_layers(call, &overlay);
	if (r < 0)
		return r;
	mount = make_mount(wish, layered ? &overlay : NULL);
	/* while we have it, the end of its server does not end it */
	if (wish->device >= 0)
		close(wish->device);
	if (mount < 0)
		return mount;
	if (layered && syscall(SYS_setns, call->mntns, CLONE_NEWNS_) < 0)
		return -errno;
	return attach(call, mount, target, overlay.cost);
}

static void refuse(const struct call *call)
{
	if (call->supervisor->pass)
		call_continue(call);
	else
		call_answer(call, -EPERM);
}

void do_mount(struct call *call)
{
	static struct wish wish;
	int r = may_mount(call) ? read_wish(call, &wish) : -EPERM;

	if (r == 0)
		r = mount_wish(call, &wish);
	if (r == -EPERM)
		refuse(call);
	else
		call_answer(call, r);
}

/* --- umount2 --- */

/* The mount on a path, where it is one of ours. */
static int check_own(const struct call *call, int directory, const char *path, uint64_t flags, uint64_t *key)
{
	struct place place;
	_cleanup_close_ int fd = open_place(directory, path, flags, &place);

	if (fd < 0)
		return fd;
	if (!place.is_root)
		return -EINVAL;
	*key = own_key(&place);
	return is_own(call, &place) ? take_fd(&fd) : -EPERM;
}

/*
 * By the name in its directory, since a descriptor of the mount would keep it busy. Of what is mounted no name can be
 * moved, and on the container's own mounts there is none of ours: the name leads to ours or to nothing.
 */
static int unmount(struct call *call, const char *target, int flags)
{
	char link[32], path[PATH_MAX], *slash;
	_cleanup_close_ int parent = -1, fd = -1;
	uint64_t key = 0;
	ssize_t n;
	int r;

	fd = check_own(call, AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? O_NOFOLLOW : 0, &key);
	if (fd < 0)
		return fd;
	snprintf(link, sizeof(link), "fd/%d", fd);
	n = readlinkat(call->self, link, path, sizeof(path) - 1);
	if (n <= 0)
		return -errno;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash || !slash[1])
		return -EINVAL;
	*slash = '\0';
	close(take_fd(&fd));
	parent = sys_openat2(
		AT_FDCWD, *path ? path : "/", O_PATH | O_DIRECTORY, 0, RESOLVE_GUEST | RESOLVE_NO_SYMLINKS_);
	if (parent < 0)
		return -errno;
	fd = check_own(call, parent, slash + 1, O_NOFOLLOW, &key);
	if (fd < 0)
		return fd;
	close(take_fd(&fd));
	r = call_raise(call, CAP_BIT(CAP_SYS_ADMIN));
	if (r < 0 || fchdir(parent) < 0)
		return r < 0 ? r : -errno;
	if (umount2(slash + 1, (flags & ~MNT_DETACH) | UMOUNT_NOFOLLOW) == 0) {
		own_replace_all(call, key, 0);
		return 0;
	}
	if (errno != EBUSY || !(flags & MNT_DETACH))
		return -errno;
	r = has_own_child(call, key >> 32);
	if (r)
		return r < 0 ? r : -EBUSY; /* they would go without a word, and keep their places for ever */
	if (umount2(slash + 1, flags | UMOUNT_NOFOLLOW) < 0)
		return -errno;
	own_replace_all(call, key, OWN_LOST);
	return 0;
}

void do_umount(struct call *call)
{
	static char target[PATH_MAX];
	const __u64 *args = call->request->data.args;
	int r = may_mount(call) ? call_string(call, args[0], target, sizeof(target)) : -EPERM;

	if (r == 0 && args[1] & ~(__u64)(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
		r = -EINVAL;
	if (r == 0)
		r = join_root(call);
	if (r == 0)
		r = unmount(call, target, (int)args[1]);
	if (r == -EPERM)
		refuse(call);
	else
		call_answer(call, r);
}
