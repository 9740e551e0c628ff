/* mount(2) and umount2(2) of what a user namespace may mount, for guests without CAP_SYS_ADMIN. */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "supervise.h"
#include "sys.h"
#include "util.h"

/* mount(2) copies one page */
#define DATA_SIZE 4096
#define LAYERS_MAX 64
#define OPTIONS_MAX 128
/* What a path of the guest's is resolved with, as its user, in its root. */
#define RESOLVE_GUEST RESOLVE_NO_MAGICLINKS_

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

struct option {
	char *key, *value; /* value NULL: a flag */
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

/* --- mounts made here --- */

struct place {
	uint64_t mount, device;
	bool is_root; /* of its mount */
};

/* Asks the kernel alone, and no file system: that may be one of the guest's. */
static int find_place(int fd, struct place *place)
{
	struct statx_ st;

	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) < 0)
		return -errno;
	/* linux/stat.h: stx_dev_major and stx_dev_minor, stx_mnt_id */
	*place = (struct place){st.rest[16], (st.rest[15] & 0xfff) << 20 | (st.rest[15] >> 32 & 0xfffff),
		st.attributes & STATX_ATTR_MOUNT_ROOT_};
	return place->mount ? 0 : -EOPNOTSUPP;
}

/* A number is given to another mount when its mount has gone: with the device it says which one it was. */
static uint64_t own_key(const struct place *place)
{
	return place->mount << 32 | place->device;
}

static bool is_own(const struct call *call, const struct place *place)
{
	for (unsigned i = 0; i < OWN_MAX; i++)
		if (atomic_load(&call->supervisor->own[i]) == own_key(place))
			return true;
	return false;
}

static bool is_own_mount(const struct call *call, uint64_t mount)
{
	for (unsigned i = 0; i < OWN_MAX; i++)
		if (atomic_load(&call->supervisor->own[i]) >> 32 == mount)
			return true;
	return false;
}

static bool own_replace(const struct call *call, uint64_t old, uint64_t new)
{
	for (unsigned i = 0; i < OWN_MAX; i++) {
		unsigned long long expected = old;

		if (atomic_compare_exchange_strong(&call->supervisor->own[i], &expected, new))
			return true;
	}
	return false;
}

/* How many places something has. */
static unsigned own_count(const struct call *call, uint64_t key)
{
	unsigned count = 0;

	for (unsigned i = 0; i < OWN_MAX; i++)
		count += atomic_load(&call->supervisor->own[i]) == key;
	return count;
}

/* All places of something get another content. */
static void own_replace_all(const struct call *call, uint64_t old, uint64_t new)
{
	while (own_replace(call, old, new))
		;
}

/* A place in the table whose file system may live on: somebody had something of it open when it was detached. It stays
 * taken, or a guest could have any number of them. */
#define OWN_LOST 1

/* --- the mount table of the guest's namespace --- */

struct row {
	uint64_t mount, parent;
	bool shared; /* what is mounted on it is mounted elsewhere, too */
};

/* Calls `each` with every row until it says false. */
static int each_row(const struct call *call, bool (*each)(const struct row *row, void *context), void *context)
{
	_cleanup_close_ int copy = fcntl(call->mountinfo, F_DUPFD_CLOEXEC, 3);
	FILE *table = copy < 0 || lseek(copy, 0, SEEK_SET) < 0 ? NULL : fdopen(copy, "r");
	char *line = NULL;
	size_t size = 0;
	bool more = true;
	int r;

	if (!table)
		return -ENOMEM;
	take_fd(&copy);
	while (more && getline(&line, &size, table) > 0) {
		unsigned long long mount, parent;
		char *end = strstr(line, " - ");

		if (!end || sscanf(line, "%llu %llu ", &mount, &parent) != 2)
			continue;
		*end = '\0'; /* behind it is what the mounting process has said */
		more = each(&(struct row){mount, parent, strstr(line, " shared:")}, context);
	}
	/* half a table says nothing of what is not in it */
	r = more && !feof(table) ? -EIO : 0;
	free(line);
	fclose(table);
	return r;
}

struct search {
	const struct call *call;
	uint64_t mount;
	bool found;
};

static bool is_foreign_child(const struct row *row, void *context)
{
	struct search *search = context;

	search->found = row->parent == search->mount && !is_own_mount(search->call, row->mount);
	return !search->found;
}

static bool is_own_child(const struct row *row, void *context)
{
	struct search *search = context;

	search->found = row->parent == search->mount && is_own_mount(search->call, row->mount);
	return !search->found;
}

static bool is_shared(const struct row *row, void *context)
{
	struct search *search = context;

	search->found = row->mount == search->mount && row->shared;
	return !search->found;
}

/* --- what may be mounted on, and shown by an overlay --- */

/* File systems of the kernel's: some of what is in them is masked by mounts. */
static bool is_kernels(int fd)
{
	static const unsigned long kernels[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC, BPF_FS_MAGIC, NSFS_MAGIC,
		PIPEFS_MAGIC, SOCKFS_MAGIC, SELINUX_MAGIC, SMACK_MAGIC, EFIVARFS_MAGIC, BINFMTFS_MAGIC,
		0x7655821 /* resctrl */, 0x19800202 /* mqueue */, 0x62656570 /* configfs */, 0x65735543 /* fusectl */,
		0x6165676C /* pstore */};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++)
		if ((unsigned long)fs.f_type == kernels[i])
			return true;
	return false;
}

/* Nothing is mounted on what the container was set up with: neither does it cover a mask, nor is it in the way of an
 * umount of ours. And nothing where the host would get it, too. */
static int find_target(const struct call *call, const struct wish *wish)
{
	_cleanup_close_ int fd = sys_openat2(AT_FDCWD, wish->target, O_PATH, 0, RESOLVE_GUEST);
	struct search search = {.call = call};
	struct place place;
	int r;

	if (fd < 0)
		return -errno;
	r = find_place(fd, &place);
	if (r < 0)
		return r;
	if (is_kernels(fd) || (place.is_root && !is_own(call, &place)))
		return -EPERM;
	search.mount = place.mount;
	r = each_row(call, is_shared, &search);
	if (r < 0 || search.found)
		return r < 0 ? r : -EPERM;
	return take_fd(&fd);
}

/*
 * A layer shows its directory without what is mounted below it, and directories can be renamed into it later. So there
 * may be no such mount on all of its mount but ours; those on the container's root hide only what its image has.
 */
static int check_layer(const struct call *call, int fd)
{
	struct search search = {.call = call};
	struct place place, root;
	int r = find_place(fd, &place);

	if (r == 0)
		r = find_place(call->ns_root, &root);
	if (r < 0)
		return r;
	if (is_kernels(fd))
		return -EPERM;
	if (place.mount == root.mount)
		return 0;
	search.mount = place.mount;
	r = each_row(call, is_foreign_child, &search);
	return r < 0 ? r : search.found ? -EPERM : 0;
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

		if (strcmp(option->key, "fd") || !option->value)
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

/* --- overlay: its layers are what was checked, wherever their paths lead later --- */

struct overlay {
	int layers[LAYERS_MAX]; /* detached copies of their mounts */
	unsigned count;
	int parent; /* the same, of the directory in which upper and work directory are; or -1 */
	char upper[NAME_MAX + 1], work[NAME_MAX + 1];
	unsigned attributes; /* of the layers' mounts: what is nosuid or noexec stays so */
	uint64_t seen[LAYERS_MAX + 2];
	unsigned seen_count, cost; /* places in the table that its layers have */
};

/*
 * The file systems of the layers live as long as the overlay, whatever is unmounted meanwhile: it takes as many places
 * as they have, or a guest could have any number of them.
 */
static int add_cost(const struct call *call, struct overlay *overlay, int layer)
{
	struct place place;
	int r = find_place(layer, &place);
	uint64_t key = own_key(&place);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < overlay->seen_count; i++)
		if (overlay->seen[i] == key)
			return 0;
	if (overlay->seen_count == ARRAY_SIZE(overlay->seen))
		return -EINVAL;
	overlay->seen[overlay->seen_count++] = key;
	overlay->cost += own_count(call, key);
	return 0;
}

static int copy_layer(struct call *call, struct overlay *overlay, const char *path)
{
	_cleanup_close_ int fd = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0, RESOLVE_GUEST);
	struct statfs fs;
	int r;

	if (fd < 0)
		return -errno;
	r = check_layer(call, fd);
	if (r == 0)
		r = sysret(fstatfs(fd, &fs));
	if (r == 0)
		r = add_cost(call, overlay, fd);
	if (r == 0)
		r = call_raise(call, CAP_BIT(CAP_SYS_ADMIN));
	if (r < 0)
		return r;
	overlay->attributes |= fs.f_flags & ST_NOSUID ? MOUNT_ATTR_NOSUID_ : 0;
	overlay->attributes |= fs.f_flags & ST_NOEXEC ? MOUNT_ATTR_NOEXEC_ : 0;
	r = sysret(sys_open_tree(fd, "", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | AT_EMPTY_PATH));
	call_raise(call, 0);
	return r;
}

static int copy_lower(struct call *call, struct overlay *overlay, char *list)
{
	char *save = NULL;

	if (overlay->count || strstr(list, "::"))
		return -EINVAL; /* given twice; layers of data only */
	for (char *path = strtok_r(list, ":", &save); path; path = strtok_r(NULL, ":", &save)) {
		int fd = overlay->count < LAYERS_MAX ? copy_layer(call, overlay, path) : -EINVAL;

		if (fd < 0)
			return fd;
		overlay->layers[overlay->count++] = fd;
	}
	return 0;
}

/* The name, with the directory that it is in; both directories have to be in one, as those of container tools are. */
static int copy_upper(struct call *call, struct overlay *overlay, char *path, char *name)
{
	_cleanup_close_ int parent = -1;
	struct stat here, other;
	char *slash;

	while (*path && path[strlen(path) - 1] == '/')
		path[strlen(path) - 1] = '\0';
	slash = strrchr(path, '/');
	if (*name || snprintf(name, NAME_MAX + 1, "%s", slash ? slash + 1 : path) > NAME_MAX || !*name ||
		!strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (slash)
		slash[1] = '\0';
	parent = copy_layer(call, overlay, slash ? path : ".");
	if (parent < 0)
		return parent;
	if (overlay->parent < 0) {
		overlay->parent = take_fd(&parent);
		return 0;
	}
	if (fstat(parent, &here) < 0 || fstat(overlay->parent, &other) < 0)
		return -errno;
	return here.st_dev == other.st_dev && here.st_ino == other.st_ino ? 0 : -EINVAL;
}

static int copy_layers(struct call *call, struct wish *wish, struct overlay *overlay)
{
	overlay->parent = -1;
	for (unsigned i = 0; i < wish->option_count; i++) {
		struct option *option = &wish->options[i];
		int r = 0;

		if (strchr(option->key, '+') || strstr(option->key, "override_creds"))
			return -EINVAL;
		if (!strcmp(option->key, "lowerdir"))
			r = option->value ? copy_lower(call, overlay, option->value) : -EINVAL;
		else if (!strcmp(option->key, "upperdir"))
			r = option->value ? copy_upper(call, overlay, option->value, overlay->upper) : -EINVAL;
		else if (!strcmp(option->key, "workdir"))
			r = option->value ? copy_upper(call, overlay, option->value, overlay->work) : -EINVAL;
		else
			continue;
		if (r < 0)
			return r;
		option->key = NULL;
	}
	return overlay->count ? 0 : -EINVAL;
}

/* One of the layers at /NAME of the root that is made for them. */
static int place_layer(int stage, const char *name, int layer)
{
	_cleanup_close_ int on = -1;

	if (mkdirat(stage, name, 0700) < 0)
		return -errno;
	on = openat(stage, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (on < 0)
		return -errno;
	return sysret(sys_move_mount(layer, on));
}

/*
 * A mount namespace of our own, and in it a root in which there is nothing but the layers: whatever the guest does to
 * its tree now, and whatever links there are in it, no path leads to anything else.
 */
static int stage_layers(const struct call *call, const struct overlay *overlay)
{
	_cleanup_close_ int fs = -1, stage = -1, here = -1;
	char name[16];
	int r = 0;

	if (fchdir(call->ns_root) < 0 || syscall(SYS_unshare, CLONE_NEWNS_) < 0)
		return -errno;
	if (mount(NULL, ".", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	fs = sys_fsopen("tmpfs");
	if (fs < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE_, NULL, NULL) < 0)
		return -errno;
	stage = sys_fsmount(fs, 0);
	here = sys_openat2(AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0, 0);
	if (stage < 0 || here < 0 || sys_move_mount(stage, here) < 0)
		return -errno;
	if (fchdir(stage) < 0 || chroot(".") < 0)
		return -errno;
	for (unsigned i = 0; r == 0 && i < overlay->count; i++) {
		snprintf(name, sizeof(name), "%u", i);
		r = place_layer(stage, name, overlay->layers[i]);
	}
	if (r == 0 && overlay->parent >= 0)
		r = place_layer(stage, "p", overlay->parent);
	return r;
}

static int set_layers(int fs, const struct overlay *overlay)
{
	char text[LAYERS_MAX * 5 + NAME_MAX + 8];
	size_t used = 0;

	for (unsigned i = 0; i < overlay->count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s/%u", i ? ":" : "", i);
	if (sys_fsconfig(fs, FSCONFIG_SET_STRING_, "lowerdir", text) < 0)
		return -errno;
	if (*overlay->upper) {
		snprintf(text, sizeof(text), "/p/%s", overlay->upper);
		if (sys_fsconfig(fs, FSCONFIG_SET_STRING_, "upperdir", text) < 0)
			return -errno;
	}
	if (*overlay->work) {
		snprintf(text, sizeof(text), "/p/%s", overlay->work);
		if (sys_fsconfig(fs, FSCONFIG_SET_STRING_, "workdir", text) < 0)
			return -errno;
	}
	return 0;
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
	r = layered ? copy_layers(call, wish, &overlay) : 0;
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
	_cleanup_close_ int fd = sys_openat2(directory, path, O_PATH | flags, 0, RESOLVE_GUEST);
	struct place place;
	int r;

	if (fd < 0)
		return -errno;
	r = find_place(fd, &place);
	if (r < 0)
		return r;
	if (!place.is_root)
		return -EINVAL;
	*key = own_key(&place);
	return is_own(call, &place) ? take_fd(&fd) : -EPERM;
}

static int has_own_child(const struct call *call, uint64_t mount)
{
	struct search search = {.call = call, .mount = mount};
	int r = each_row(call, is_own_child, &search);

	return r < 0 ? r : search.found;
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
