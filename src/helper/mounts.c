/* File systems and binds onto descriptors, masks, the root itself. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "copyup.h"
#include "launch.h"
#include "rootfs.h"
#include "sys.h"
#include "util.h"

/* Flags of the mount and bind records: launch/ops.py. */
enum { NO_SYMLINKS = 1, COPY_UP = 2, SUPER_READ_ONLY = 4 };
enum { RECURSIVE = 1, IS_DEVICE = 2 };

static int set_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive)
{
	struct mount_attr_ attr = {.attr_set = set, .attr_clr = clear, .propagation = propagation};

	if (!set && !clear && !propagation)
		return 0;
	return sysret(sys_mount_setattr(fd, recursive ? AT_RECURSIVE_ : 0, &attr));
}

/* What the kernel says of a file system context: its log has more than errno. */
static int context_failed(struct run *run, int context, int error, const char *option)
{
	char text[256];
	ssize_t n = read(context, text, sizeof(text) - 1);

	if (n > 2) { /* "e message" */
		text[n] = '\0';
		text[strcspn(text, "\n")] = '\0';
		return fail(run, error, "%s", text + 2);
	}
	return option ? fail(run, error, "option %s", option) : -error;
}

static int set_option(struct run *run, int context, const char *option)
{
	char key[64];
	const char *equals = strchr(option, '=');
	int r;

	if (!equals) {
		r = sys_fsconfig(context, FSCONFIG_SET_FLAG_, option, NULL);
	} else {
		if ((size_t)(equals - option) >= sizeof(key))
			return fail(run, EINVAL, "option %s", option);
		memcpy(key, option, (size_t)(equals - option));
		key[equals - option] = '\0';
		r = sys_fsconfig(context, FSCONFIG_SET_STRING_, key, equals + 1);
	}
	return r < 0 ? context_failed(run, context, errno, option) : 0;
}

/* A detached mount of a new file system. first: one more option, before the others, or "". */
static int new_mount(struct run *run, const char *type, const char *source, const char *first,
	const struct field *options, uint64_t attrs, bool super_read_only)
{
	_cleanup_close_ int context = sys_fsopen(type);
	const char *option;
	int fd, r;

	if (context < 0)
		return errno == ENODEV ? fail(run, ENODEV, "this kernel has no file system %s", type) : -errno;
	if (*source && sys_fsconfig(context, FSCONFIG_SET_STRING_, "source", source) < 0)
		return context_failed(run, context, errno, "source");
	if (super_read_only && sys_fsconfig(context, FSCONFIG_SET_FLAG_, "ro", NULL) < 0)
		return context_failed(run, context, errno, "ro");
	r = *first ? set_option(run, context, first) : 0;
	if (r < 0)
		return r;
	option = options ? options->text : "";
	for (uint32_t i = 0; options && i < options->count; i++, option += strlen(option) + 1) {
		r = set_option(run, context, option);
		if (r < 0)
			return r;
	}
	if (sys_fsconfig(context, FSCONFIG_CMD_CREATE_, NULL, NULL) < 0)
		return context_failed(run, context, errno, NULL);
	fd = sys_fsmount(context, (unsigned)attrs);
	return fd < 0 ? context_failed(run, context, errno, NULL) : fd;
}

/* The source is the host's path, as the caller gave it. */
static int bind_source(const struct op *op)
{
	bool recursive = op_n(op, BIND_FLAGS) & RECURSIVE;

	return sysret(sys_open_tree(AT_FDCWD, op_s(op, BIND_SOURCE),
		OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | (recursive ? AT_RECURSIVE_ : 0)));
}

/* What becomes the host's slave is no peer of it any more: the sources that have to be are opened
 * before. What cannot be opened fails again when it is its turn. */
static int open_shared_sources(struct run *run)
{
	run->sources = malloc(run->plan.count * sizeof(*run->sources));
	if (!run->sources)
		return -ENOMEM;
	for (uint32_t i = 0; i < run->plan.count; i++) {
		const struct op *op = &run->plan.ops[i];

		run->sources[i] = -1;
		if (op->side == SIDE_GUEST && op->code == OP_BIND && op_n(op, BIND_PROPAGATION) & MS_SHARED)
			run->sources[i] = bind_source(op);
	}
	return 0;
}

int op_propagation(struct run *run, const struct op *op)
{
	int r = op_n(op, PROPAGATION_SHARED) ? open_shared_sources(run) : 0;

	return r < 0 ? r : sysret(mount(NULL, "/", NULL, op_n(op, PROPAGATION_FLAGS), NULL));
}

int overlay_options(char *text, size_t size, const char *lower, const char *upper, const char *work, const char *extra)
{
	int n = snprintf(text, size, "lowerdir=%s%s%s%s%s%s%s", lower, *upper ? ",upperdir=" : "", upper,
		*upper ? ",workdir=" : "", *upper ? work : "", *extra ? "," : "", extra);

	/* mount(2) takes one page of them */
	return n < 0 || n >= (int)size || n >= (int)sysconf(_SC_PAGESIZE) ? -E2BIG : n;
}

int directory_of(char *buf, size_t size, const char *path)
{
	char *slash;

	if (snprintf(buf, size, "%s", path) >= (int)size)
		return -ENAMETOOLONG;
	slash = strrchr(buf, '/');
	if (!slash || slash == buf)
		return -EINVAL;
	*slash = '\0';
	return 0;
}

int mount_disk(struct run *run, int disk, const char *upper)
{
	_cleanup_close_ int target = -1;
	char path[PATH_MAX];
	int r = directory_of(path, sizeof(path), upper);

	if (r < 0)
		return r;
	target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (target < 0)
		return fail(run, errno, "%s", path);
	return sys_move_mount(disk, target) < 0 ? fail(run, errno, "the disk on %s", path) : 0;
}

int op_give_mount(struct run *run, const struct op *op)
{
	int fd = op_fd(op, GIVE_MOUNT_FD);

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return fill_slot(run, op_n(op, GIVE_MOUNT_SLOT), fd);
}

int op_root_overlay(struct run *run, const struct op *op)
{
	char options[8192];

	if (overlay_options(options, sizeof(options), op_s(op, ROOT_OVERLAY_LOWER), op_s(op, ROOT_OVERLAY_UPPER),
		    op_s(op, ROOT_OVERLAY_WORK), op_s(op, ROOT_OVERLAY_OPTIONS)) < 0)
		return fail(run, E2BIG, "too many layers");
	if (chdir(op_s(op, ROOT_OVERLAY_STORE)) < 0)
		return fail(run, errno, "%s", op_s(op, ROOT_OVERLAY_STORE));
	if (op_n(op, ROOT_OVERLAY_SLOT)) {
		_cleanup_close_ int disk = take_slot(run, op_n(op, ROOT_OVERLAY_SLOT));
		int r = disk < 0 ? disk : mount_disk(run, disk, op_s(op, ROOT_OVERLAY_UPPER));

		if (r < 0)
			return r;
	}
	/* These are directories of ours in a store that only root enters; the guest's own paths
	 * begin below. */
	if (mount("overlay", op_s(op, ROOT_OVERLAY_TARGET), "overlay", 0, options) < 0)
		return -errno;
	run->root = open(op_s(op, ROOT_OVERLAY_TARGET), O_PATH | O_DIRECTORY | O_CLOEXEC);
	return sysret(run->root);
}

int op_root_bind(struct run *run, const struct op *op)
{
	const char *path = op_s(op, ROOT_BIND_PATH);
	_cleanup_close_ int tree = -1, target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (target < 0)
		return -errno;
	tree = sys_open_tree(target, "", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | AT_RECURSIVE_ | AT_EMPTY_PATH);
	if (tree < 0)
		return -errno;
	if (op_n(op, ROOT_BIND_PROPAGATION) && set_attributes(tree, 0, 0, op_n(op, ROOT_BIND_PROPAGATION), true) < 0)
		return -errno;
	if (sys_move_mount(tree, target) < 0)
		return -errno;
	/* a mount's descriptor stays the root of what was mounted with it */
	run->root = take_fd(&tree);
	return 0;
}

int op_root_attributes(struct run *run, const struct op *op)
{
	return set_attributes(
		run->root, op_n(op, ROOT_ATTRIBUTES_SET), 0, op_n(op, ROOT_ATTRIBUTES_PROPAGATION), false);
}

static int no_directory(struct run *run, int r)
{
	return r == -ENOTDIR ? fail(run, ENOTDIR, "the image has a file or a link to nothing there, or on the way") : r;
}

/* Where something is to be mounted; the root itself is refused: what lies on it is not seen from
 * inside. */
static int target_directory(struct run *run, const char *path, bool no_symlinks)
{
	int fd = root_mkdirs(run->root, path, 0755, no_symlinks);
	struct stat st, root;

	if (fd == -ELOOP && no_symlinks)
		return fail(run, ELOOP, "the image has a symbolic link there");
	if (fd < 0)
		return no_directory(run, fd);
	if (fstat(fd, &st) < 0 || fstat(run->root, &root) < 0 ||
		(st.st_dev == root.st_dev && st.st_ino == root.st_ino)) {
		close(fd);
		return fail(run, EBUSY, "it is the container's root");
	}
	return fd;
}

/* As runc has it, and callers rely on it: a tmpfs on a directory of the image has that directory's mode, and the
 * kernel's default, 1777, where there was none. An option that says otherwise comes later and counts. */
static void tmpfs_mode(struct run *run, const struct op *op, char *option, size_t size)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (strcmp(op_s(op, MOUNT_TYPE), "tmpfs"))
		return;
	fd = root_open(run->root, op_s(op, MOUNT_TARGET), 0);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		snprintf(option, size, "mode=%o", st.st_mode & 07777);
}

/* The length of a path without the slashes at its end. */
static size_t path_length(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	return len;
}

/* Whether path is, or is below, a target that is kept; *rest is what follows, "" for the target itself. */
static bool below(const char *path, const char *target, const char **rest)
{
	size_t len = path_length(target);

	if (strncmp(path, target, len) || (path[len] && path[len] != '/'))
		return false;
	*rest = path + len + strspn(path + len, "/");
	return true;
}

/*
 * What the kernel shows of itself (/proc, /sys) is masked where it was mounted, not where its path leads by then:
 * whoever can write to the root may have put a link there, and a mask that is not found is left out (CVE-2023-27561).
 * What is mounted later on the same target, or above it, hides it. Takes the descriptor of what is to be kept.
 */
static void keep_mount(struct run *run, const char *target, bool own, int *fd)
{
	const char *rest;
	unsigned count = 0;

	for (unsigned i = 0; i < run->kept_count; i++) {
		bool hidden = below(run->kept[i].target, target, &rest);

		own |= hidden && !*rest;
		if (hidden)
			close(run->kept[i].fd);
		else
			run->kept[count++] = run->kept[i];
	}
	if (own && count < KEPT_MAX) {
		run->kept[count].target = target;
		run->kept[count++].fd = take_fd(fd);
	}
	run->kept_count = count;
}

/* A path to be masked: in the mount that was put there, else in the root. */
static int open_shown(struct run *run, const char *path)
{
	const char *rest;

	for (unsigned i = 0; i < run->kept_count; i++) {
		if (below(path, run->kept[i].target, &rest) && *rest)
			return root_open(run->kept[i].fd, rest, 0);
	}
	return root_open(run->root, path, 0);
}

int op_mount(struct run *run, const struct op *op)
{
	uint64_t flags = op_n(op, MOUNT_FLAGS), propagation = op_n(op, MOUNT_PROPAGATION);
	uint64_t attrs = op_n(op, MOUNT_ATTRS), late = flags & COPY_UP ? attrs & MOUNT_ATTR_RDONLY_ : 0;
	_cleanup_close_ int target = -1, fd = -1;
	char mode[16] = "";
	int r;

	tmpfs_mode(run, op, mode, sizeof(mode));
	target = target_directory(run, op_s(op, MOUNT_TARGET), flags & NO_SYMLINKS);
	if (target < 0)
		return target;
	fd = new_mount(run, op_s(op, MOUNT_TYPE), op_s(op, MOUNT_SOURCE), mode, &op->field[F_MOUNT_OPTIONS],
		attrs & ~late, flags & SUPER_READ_ONLY);
	if (fd < 0)
		return fd;
	if (flags & COPY_UP) {
		r = copy_up(target, fd);
		if (r < 0)
			return fail(run, -r, "copying what the directory has into the new file system");
	}
	r = set_attributes(fd, late, 0, propagation, false);
	if (r == 0)
		r = sysret(sys_move_mount(fd, target));
	if (r == 0)
		keep_mount(run, op_s(op, MOUNT_TARGET), flags & NO_SYMLINKS, &fd);
	return r;
}

static int bind_target(struct run *run, int source, const char *path)
{
	struct stat st;
	int fd;

	if (fstatat(source, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return target_directory(run, path, false);
	fd = root_file(run->root, path);
	if (fd < 0)
		return no_directory(run, fd);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(fd);
		return fail(run, EISDIR, "the source is a file");
	}
	return fd;
}

/* What was prepared, or the host's path. */
static int take_source(struct run *run, const struct op *op)
{
	if (op_n(op, BIND_SLOT))
		return take_slot(run, op_n(op, BIND_SLOT));
	return run->sources && run->sources[op->record] >= 0 ? run->sources[op->record] : bind_source(op);
}

int op_bind(struct run *run, const struct op *op)
{
	uint64_t flags = op_n(op, BIND_FLAGS);
	bool recursive = flags & RECURSIVE;
	_cleanup_close_ int source = -1, target = -1;
	struct stat st;
	int r;

	source = take_source(run, op);
	if (source < 0)
		return fail(run, -source, "%s", op_s(op, BIND_SOURCE));
	if (flags & IS_DEVICE) {
		if (fstatat(source, "", &st, AT_EMPTY_PATH) < 0)
			return -errno;
		if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
			return fail(run, ENODEV, "%s is no device", op_s(op, BIND_SOURCE));
	}
	target = bind_target(run, source, op_s(op, BIND_TARGET));
	if (target < 0)
		return target;
	r = set_attributes(source, op_n(op, BIND_ALL_SET), op_n(op, BIND_ALL_CLEAR), 0, true);
	if (r == 0)
		r = set_attributes(source, op_n(op, BIND_SET), op_n(op, BIND_CLEAR), 0, false);
	if (r == 0)
		r = set_attributes(source, 0, 0, op_n(op, BIND_PROPAGATION), recursive);
	if (r == 0)
		r = sysret(sys_move_mount(source, target));
	if (r == 0)
		keep_mount(run, op_s(op, BIND_TARGET), false, &source);
	return r;
}

/* The mount on the target; a path on which none is would change the one that it lies in. */
static int mount_root(struct run *run, const char *path)
{
	_cleanup_close_ int fd = root_open(run->root, path, 0);
	struct statx_ st;

	if (fd < 0)
		return fd;
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, 0, &st) < 0)
		return -errno;
	if (!(st.attributes & STATX_ATTR_MOUNT_ROOT_))
		return fail(run, EINVAL, "nothing is mounted there");
	return take_fd(&fd);
}

int op_remount(struct run *run, const struct op *op)
{
	_cleanup_close_ int target = mount_root(run, op_s(op, REMOUNT_TARGET)), context = -1;
	const struct field *options = &op->field[F_REMOUNT_OPTIONS];
	const char *option = options->text;
	int r;

	if (target < 0)
		return target;
	if (op_n(op, REMOUNT_RECONFIGURE)) {
		context = (int)syscall(NR_fspick, target, "", FSPICK_CLOEXEC_ | FSPICK_EMPTY_PATH_);
		if (context < 0)
			return -errno;
		for (uint32_t i = 0; i < options->count; i++, option += strlen(option) + 1) {
			r = set_option(run, context, option);
			if (r < 0)
				return r;
		}
		if (sys_fsconfig(context, FSCONFIG_CMD_RECONFIGURE_, NULL, NULL) < 0)
			return context_failed(run, context, errno, NULL);
	}
	return set_attributes(target, op_n(op, REMOUNT_SET), op_n(op, REMOUNT_CLEAR), 0, false);
}

/* The host's /dev/null, opened before the root is pivoted, and proved to be that (CVE-2025-31133).
 */
static int dev_null(struct run *run)
{
	struct stat st;

	if (run->dev_null >= 0)
		return run->dev_null;
	run->dev_null = open("/dev/null", O_PATH | O_CLOEXEC | O_NOFOLLOW);
	if (run->dev_null < 0)
		return -errno;
	if (fstat(run->dev_null, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return fail(run, ENODEV, "the host's /dev/null is not the null device");
	return run->dev_null;
}

/*
 * One empty read-only file system serves all masked directories. The first takes it itself, the others take clones:
 * before Linux 6.15 a mount can be cloned only when it is attached.
 */
static int empty_tree(struct run *run)
{
	if (run->mask_dir >= 0)
		return sysret(sys_open_tree(run->mask_dir, "", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | AT_EMPTY_PATH));
	run->mask_dir = new_mount(run, "tmpfs", "tmpfs", "", NULL,
		MOUNT_ATTR_RDONLY_ | MOUNT_ATTR_NOSUID_ | MOUNT_ATTR_NODEV_ | MOUNT_ATTR_NOEXEC_, true);
	return run->mask_dir < 0 ? run->mask_dir : sysret(fcntl(run->mask_dir, F_DUPFD_CLOEXEC, 3));
}

static int null_tree(struct run *run)
{
	int null = dev_null(run);

	if (null < 0)
		return null;
	return sysret(sys_open_tree(null, "", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | AT_EMPTY_PATH));
}

int op_mask(struct run *run, const struct op *op)
{
	_cleanup_close_ int target = open_shown(run, op_s(op, MASK_PATH)), tree = -1;
	struct stat st;

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return target;
	if (fstatat(target, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	tree = S_ISDIR(st.st_mode) ? empty_tree(run) : null_tree(run);
	if (tree < 0)
		return tree;
	return sysret(sys_move_mount(tree, target));
}

int op_read_only(struct run *run, const struct op *op)
{
	_cleanup_close_ int target = open_shown(run, op_s(op, READ_ONLY_PATH)), tree = -1;
	int r;

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return target;
	tree = sys_open_tree(target, "", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | AT_RECURSIVE_ | AT_EMPTY_PATH);
	if (tree < 0)
		return -errno;
	r = set_attributes(tree, MOUNT_ATTR_RDONLY_, 0, 0, false);
	if (r < 0)
		return r;
	return sysret(sys_move_mount(tree, target));
}

/*
 * A proc instance that nobody can have put anything over: for sysctls and attributes. Where the
 * kernel refuses one (a user namespace that does not own the PID namespace), the mounted one
 * serves, if it is a proc.
 */
static int own_proc(struct run *run)
{
	struct statfs fs;

	if (run->proc >= 0)
		return run->proc;
	run->proc = new_mount(run, "proc", "proc", "", NULL, 0, false);
	if (run->proc >= 0)
		return run->proc;
	run->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (run->proc < 0)
		return -errno;
	if (fstatfs(run->proc, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC_)
		return fail(run, ENODEV, "/proc is not a proc file system");
	return run->proc;
}

int op_sysctl(struct run *run, const struct op *op)
{
	const char *value = op_s(op, SYSCTL_VALUE);
	char path[512];
	_cleanup_close_ int fd = -1;
	int proc = own_proc(run);

	if (proc < 0)
		return proc;
	if (snprintf(path, sizeof(path), "sys/%s", op_s(op, SYSCTL_PATH)) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = sys_openat2(proc, path, O_WRONLY, 0,
		RESOLVE_BENEATH_ | RESOLVE_NO_XDEV_ | RESOLVE_NO_MAGICLINKS_ | RESOLVE_NO_SYMLINKS_);
	if (fd < 0)
		return -errno;
	return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

int op_exec_label(struct run *run, const struct op *op)
{
	const char *text = op_s(op, EXEC_LABEL_TEXT);
	char path[128];
	_cleanup_close_ int fd = -1;
	int proc = own_proc(run);

	if (proc < 0)
		return proc;
	if (snprintf(path, sizeof(path), "%d/attr/%s", getpid(), op_s(op, EXEC_LABEL_FILE)) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = sys_openat2(proc, path, O_WRONLY, 0,
		RESOLVE_BENEATH_ | RESOLVE_NO_XDEV_ | RESOLVE_NO_MAGICLINKS_ | RESOLVE_NO_SYMLINKS_);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}
