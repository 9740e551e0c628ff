#include "rmtree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "sys.h"
#include "util.h"

/*
 * A guest can nest directories deeper than our stack and our descriptors reach, so past this depth
 * a subtree is first moved up to the top ("flattened") and removed from there.
 */
#define MAX_DEPTH 64

struct removal {
	int top;
	unsigned long moved; /* names for the directories that are moved up */
	int error;	     /* the first */
};

static void note(struct removal *removal, int error)
{
	if (!removal->error)
		removal->error = error;
}

static bool is_directory(int dir, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static void number_name(char *name, unsigned long number)
{
	char *at = name + 31;

	*at = '\0';
	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	memmove(name + 2, at, (size_t)(name + 32 - at));
	name[0] = '.';
	name[1] = 'm';
}

/* Move a directory that lies too deep to the top, where the loop in rmtree finds it. */
static void flatten(struct removal *removal, int dir, const char *name)
{
	char to[32];

	do
		number_name(to, removal->moved++);
	while (renameat(dir, name, removal->top, to) < 0 &&
		(errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR) && removal->moved < 1000000);
	if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		note(removal, ELOOP);
}

/* Never into something that is mounted there: it is not ours. */
static int open_below(int dir, const char *name)
{
	struct stat above, here;
	int fd = sys_openat2(dir, name, O_RDONLY | O_DIRECTORY, 0,
		RESOLVE_BENEATH_ | RESOLVE_NO_XDEV_ | RESOLVE_NO_SYMLINKS_ | RESOLVE_NO_MAGICLINKS_);

	if (fd >= 0 || errno != ENOSYS)
		return fd;
	/* a kernel on which no container ever started, but where one that was made has to go again */
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && (fstat(dir, &above) < 0 || fstat(fd, &here) < 0 || above.st_dev != here.st_dev)) {
		close(fd);
		errno = EXDEV;
		return -1;
	}
	return fd;
}

static void empty(struct removal *removal, int fd, int depth);

static void remove_entry(struct removal *removal, int dir, const struct dirent *entry, int depth)
{
	int fd;

	if (!is_directory(dir, entry)) {
		if (unlinkat(dir, entry->d_name, 0) < 0 && errno != ENOENT)
			note(removal, errno);
		return;
	}
	if (unlinkat(dir, entry->d_name, AT_REMOVEDIR) == 0)
		return;
	if (depth >= MAX_DEPTH) {
		flatten(removal, dir, entry->d_name);
		return;
	}
	fd = open_below(dir, entry->d_name);
	if (fd < 0) {
		if (errno != ENOENT)
			note(removal, errno == EXDEV ? EBUSY : errno);
		return;
	}
	empty(removal, fd, depth + 1);
	if (unlinkat(dir, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		note(removal, errno);
}

/* Takes the descriptor. */
static void empty(struct removal *removal, int fd, int depth)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		close(fd);
		note(removal, ENOMEM);
		return;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			remove_entry(removal, dirfd(dir), entry, depth);
	closedir(dir);
}

int rmtree(const char *path)
{
	struct removal removal = {0};
	unsigned long before;
	int fd;

	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	if (rmdir(path) == 0)
		return 0;
	removal.top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (removal.top < 0)
		return errno == ENOENT ? 0 : -errno;
	do {
		before = removal.moved;
		fd = openat(removal.top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			note(&removal, errno);
		else
			empty(&removal, fd, 0);
	} while (fd >= 0 && removal.moved != before);
	close(removal.top);
	if (rmdir(path) < 0 && errno != ENOENT)
		return removal.error ? -removal.error : -errno;
	return 0;
}
