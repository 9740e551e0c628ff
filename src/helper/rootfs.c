#include "rootfs.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "launch.h"
#include "sys.h"
#include "util.h"

/* openat2 answers EAGAIN when a rename raced with ".." or a link: try again, but not for ever. */
#define RACE_ATTEMPTS 64

static int root_openat2(int root, const char *path, uint64_t flags, uint64_t resolve)
{
	for (int i = 0; i < RACE_ATTEMPTS; i++) {
		int fd = sys_openat2(root, path, flags | O_PATH, 0, resolve);

		if (fd >= 0)
			return fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

int root_open(int root, const char *path, uint64_t flags)
{
	return root_openat2(root, *path ? path : "/", flags, RESOLVE_IN_ROOT_ | RESOLVE_NO_MAGICLINKS_);
}

int root_open_nolink(int root, const char *path, uint64_t flags)
{
	return root_openat2(
		root, *path ? path : "/", flags, RESOLVE_IN_ROOT_ | RESOLVE_NO_MAGICLINKS_ | RESOLVE_NO_SYMLINKS_);
}

/* One component below a directory that we hold: made, and opened without following what may have
 * taken its place. */
static int step_into(int dir, const char *name, mode_t mode)
{
	int fd;

	if (mkdirat(dir, name, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/*
 * The longest part of path that exists, resolved inside the root. *rest points at what is missing
 * ("" when nothing is). The copy in buf is cut at that place.
 */
static int open_existing(int root, char *buf, char **rest, bool no_symlinks)
{
	size_t len = strlen(buf);
	char *end = buf + len;

	for (;;) {
		char saved = *end;
		int fd;

		*end = '\0';
		fd = no_symlinks ? root_open_nolink(root, buf, O_DIRECTORY) : root_open(root, buf, O_DIRECTORY);
		*end = saved;
		if (fd != -ENOENT || end == buf) {
			*rest = end;
			return fd;
		}
		while (end > buf && end[-1] == '/')
			end--;
		while (end > buf && end[-1] != '/')
			end--;
	}
}

int root_mkdirs(int root, const char *path, mode_t mode, bool no_symlinks)
{
	char buf[PATH_MAX], *rest, *name, *save = NULL;
	int fd;

	if (strlen(path) >= sizeof(buf))
		return -ENAMETOOLONG;
	strcpy(buf, path);
	fd = open_existing(root, buf, &rest, no_symlinks);
	if (fd < 0)
		return fd;
	for (name = strtok_r(rest, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int next;

		/* a missing directory has no parent to go back to */
		if (!strcmp(name, "..")) {
			close(fd);
			return -EINVAL;
		}
		if (!strcmp(name, "."))
			continue;
		next = step_into(fd, name, mode);
		close(fd);
		if (next < 0)
			return next;
		fd = next;
	}
	return fd;
}

int root_parent(int root, const char *path, const char **name)
{
	char buf[PATH_MAX];
	const char *slash;
	size_t len = strlen(path);

	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len == 0 || len >= sizeof(buf) || path[len] != '\0')
		return -EINVAL; /* the root itself, or a trailing slash: not a name to create */
	slash = memrchr(path, '/', len);
	*name = slash ? slash + 1 : path;
	if (!strcmp(*name, ".") || !strcmp(*name, ".."))
		return -EINVAL;
	len = (size_t)(*name - path);
	memcpy(buf, path, len);
	buf[len] = '\0';
	return root_mkdirs(root, buf, 0755, false);
}

int root_file(int root, const char *path)
{
	_cleanup_close_ int dir = -1;
	const char *name;
	int fd = root_open(root, path, 0);

	if (fd != -ENOENT)
		return fd;
	dir = root_parent(root, path, &name);
	if (dir < 0)
		return dir;
	/* O_EXCL follows no link; what exists by now is looked at again through the root */
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 && errno != EEXIST)
		return -errno;
	if (fd >= 0)
		close(fd);
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int op_mkdir(struct run *run, const struct op *op)
{
	const char *path = op_s(op, MKDIR_PATH);
	_cleanup_close_ int fd = root_open(run->root, path, O_DIRECTORY);

	if (fd >= 0)
		return 0;
	fd = root_mkdirs(run->root, path, (mode_t)op_n(op, MKDIR_MODE), false);
	if (fd < 0)
		return fd;
	if (op_n(op, MKDIR_UID) || op_n(op, MKDIR_GID))
		return sysret(fchownat(fd, "", (uid_t)op_n(op, MKDIR_UID), (gid_t)op_n(op, MKDIR_GID), AT_EMPTY_PATH));
	return 0;
}

int op_symlink(struct run *run, const struct op *op)
{
	const char *name;
	_cleanup_close_ int dir = root_parent(run->root, op_s(op, SYMLINK_PATH), &name);

	if (dir < 0)
		return dir;
	if (symlinkat(op_s(op, SYMLINK_TEXT), dir, name) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

int op_device(struct run *run, const struct op *op)
{
	const char *name;
	_cleanup_close_ int dir = root_parent(run->root, op_s(op, DEVICE_PATH), &name);
	mode_t mode = (mode_t)op_n(op, DEVICE_MODE);
	struct stat st;

	if (dir < 0)
		return dir;
	if (mknodat(dir, name, mode, (dev_t)op_n(op, DEVICE_RDEV)) < 0) {
		if (errno != EEXIST)
			return -errno;
		/* runtime-spec, Devices: a file that does not match is an error */
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if ((st.st_mode & S_IFMT) != (mode & S_IFMT) || st.st_rdev != (dev_t)op_n(op, DEVICE_RDEV))
			return fail(run, EEXIST, "another file is there");
		return 0;
	}
	/* the umask is 0 on this side; only the owner is left to set */
	if (op_n(op, DEVICE_UID) || op_n(op, DEVICE_GID))
		return sysret(fchownat(
			dir, name, (uid_t)op_n(op, DEVICE_UID), (gid_t)op_n(op, DEVICE_GID), AT_SYMLINK_NOFOLLOW));
	return 0;
}

/* mountinfo writes blanks and backslashes in octal (proc_pid_mountinfo(5)). */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; to++) {
		if (text[0] == '\\' && text[1] && text[2] && text[3]) {
			*to = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 4;
		} else {
			*to = *text++;
		}
	}
	*to = '\0';
}

/* Whether a line of mountinfo is of a whole proc or sysfs outside of the root; its mount point. */
static bool is_whole(const char *line, const char *root, char *point)
{
	const char *type = strstr(line, " - ");
	size_t len = strlen(root);

	if (!type || (strncmp(type, " - proc ", 8) && strncmp(type, " - sysfs ", 9)))
		return false;
	/* of a part of one the "point" would be the rest of its root, which does not begin with a slash */
	if (sscanf(line, "%*s %*s %*s / %4095s", point) != 1 || *point != '/')
		return false;
	unescape(point);
	return strncmp(point, root, len) || point[len] != '/';
}

static int detach_whole(struct run *run, const char *point)
{
	/* the host's mounts stay as they are */
	(void)mount(NULL, point, NULL, MS_SLAVE | MS_REC, NULL);
	if (umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno == ENOENT)
		return 0;
	/* in a user namespace it is locked to what it lies on: there it is covered */
	if ((errno == EINVAL || errno == EPERM) && mount("tmpfs", point, "tmpfs", 0, NULL) == 0)
		return 0;
	return fail(run, errno, "hiding the host's %s", point);
}

/*
 * Where the old root cannot be detached, the host's mounts lie below ours. A guest that makes a user namespace of its
 * own may mount a new proc or sysfs in it, without our masks, as long as a whole one is among its mounts, seen or not
 * (mount_too_revealing in the kernel).
 */
static int detach_whole_ones(struct run *run)
{
	char root[PATH_MAX], link[32], point[PATH_MAX];
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int table = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	size_t used = 0, size = 0;
	ssize_t n;
	int r = 0;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", run->root);
	n = readlink(link, root, sizeof(root) - 1);
	if (table < 0 || n < 0)
		return -errno;
	root[n] = '\0';
	/* all of it first, since it changes with each that goes */
	do {
		if (size - used < 4096) {
			char *more = realloc(text, size + 65536);

			if (!more)
				return -ENOMEM;
			text = more;
			size += 65536;
		}
		n = read(table, text + used, size - used - 1);
		if (n < 0)
			return -errno;
		used += (size_t)n;
	} while (n > 0);
	text[used] = '\0';
	for (char *line = text, *end; r == 0 && (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		if (is_whole(line, root, point))
			r = detach_whole(run, point);
	}
	return r;
}

int op_pivot(struct run *run, const struct op *op)
{
	if (fchdir(run->root) < 0)
		return -errno;
	if (op_n(op, PIVOT_CHROOT)) {
		/* initramfs: "/" cannot be pivoted away, so the root is moved over it
		 * (switch_root(8)) */
		_cleanup_close_ int slash = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

		int r;

		if (slash < 0)
			return -errno;
		r = detach_whole_ones(run);
		if (r < 0)
			return r;
		if (sys_move_mount(run->root, slash) < 0)
			return fail(run, errno, "moving the root mount to /");
		if (chroot(".") < 0)
			return -errno;
	} else {
		/* the old root comes to lie on the new one, and is detached from there: no
		 * directory is needed */
		if (sys_pivot_root(".", ".") < 0)
			return -errno;
		if (umount2(".", MNT_DETACH) < 0)
			return fail(run, errno, "detaching the old root");
	}
	return sysret(chdir("/"));
}
