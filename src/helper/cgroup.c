#include "cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
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

/* The groups below first: a guest with a writable cgroup file system may have made some. */
static int remove_groups_below(int dir, int depth)
{
	_cleanup_close_ int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *list;

	if (fd < 0 || depth > 64)
		return fd < 0 ? -errno : -ELOOP;
	list = fdopendir(fd);
	if (!list)
		return -ENOMEM;
	take_fd(&fd);
	while ((entry = readdir(list))) {
		_cleanup_close_ int child = -1;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		child = openat(dirfd(list), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child >= 0)
			remove_groups_below(child, depth + 1);
		unlinkat(dirfd(list), entry->d_name, AT_REMOVEDIR);
	}
	closedir(list);
	return 0;
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
	remove_groups_below(dir, 0);
	return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}
