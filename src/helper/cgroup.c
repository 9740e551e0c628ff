#include "cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>

#include "sys.h"
#include "util.h"

static bool populated(int events)
{
	char text[256];
	ssize_t n = pread(events, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = '\0';
	return strstr(text, "populated 1") != NULL;
}

/* Until nobody is left in the group, which the kernel notifies by POLLPRI; or a process has ended (its pidfd, or -1);
 * or time is up (milliseconds). */
static void wait_empty(int dir, int pidfd, int timeout)
{
	_cleanup_close_ int events = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
	struct timespec start, now;

	if (events < 0)
		return;
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (populated(events)) {
		struct pollfd waited[] = {{.fd = events, .events = POLLPRI}, {.fd = pidfd, .events = POLLIN}};
		int left;

		clock_gettime(CLOCK_MONOTONIC, &now);
		left = timeout - (int)((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000);
		if (left <= 0)
			return;
		if (poll(waited, ARRAY_SIZE(waited), left) > 0 && waited[1].revents)
			return;
	}
}

/* The name of a group right below this one; -ENOENT for none. */
static int first_below(int dir, char *name, size_t size)
{
	_cleanup_close_ int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	int r = -ENOENT;
	DIR *list;

	if (fd < 0)
		return -errno;
	list = fdopendir(fd);
	if (!list)
		return -ENOMEM;
	take_fd(&fd);
	while (r == -ENOENT && (entry = readdir(list))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		r = snprintf(name, size, "%s", entry->d_name) < (int)size ? 0 : -ENAMETOOLONG;
	}
	closedir(list);
	return r;
}

/* The groups below first: a guest with a writable cgroup file system may have made some, as deep as it likes. Groups
 * are not moved, so the way up leads back. */
static int remove_groups_below(int dir)
{
	_cleanup_close_ int at = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[NAME_MAX + 1];
	bool back = false;
	int depth = 0, r;

	if (at < 0)
		return -errno;
	for (;;) {
		int next;

		r = first_below(at, name, sizeof(name));
		if (r == -ENOENT && depth == 0)
			return 0;
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && (unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT)) {
			back = false;
			continue;
		}
		/* empty below, and not to be removed: somebody lives in it */
		if (r == 0 && back)
			return -EBUSY;
		next = openat(at, r == 0 ? name : "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0 && !(r == 0 && errno == ENOENT))
			return -errno;
		if (next < 0)
			continue;
		close(at);
		at = next;
		depth += r == 0 ? 1 : -1;
		back = r != 0;
	}
}

bool cgroup_may_end(int dir)
{
	struct statx_ st;

	return syscall(SYS_statx, dir, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) == 0 &&
	       !(st.attributes & STATX_ATTR_MOUNT_ROOT_) && faccessat(dir, "cgroup.events", F_OK, 0) == 0 &&
	       faccessat(dir, "cgroup.kill", F_OK, 0) == 0;
}

void cgroup_wait_end(const char *path, int pidfd)
{
	_cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir >= 0)
		wait_empty(dir, pidfd, 10000);
}

int cgroup_remove(const char *path)
{
	_cleanup_close_ int dir = -1;
	struct statfs fs;
	int r;

	if (rmdir(path) == 0 || errno == ENOENT)
		return 0;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstatfs(dir, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC_)
		return -ENODEV;
	r = write_file_at(dir, "cgroup.kill", 0, "1", 1);
	if (r == 0)
		wait_empty(dir, -1, 10000);
	remove_groups_below(dir);
	return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}
