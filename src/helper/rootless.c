#include "rootless.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "proc.h"
#include "sandbox.h"
#include "subid.h"
#include "sys.h"
#include "util.h"

#define LOWEST_LOCK 100

#define NS_GET_PARENT_ 0xb702
#define NS_GET_OWNER_UID_ 0xb704

/*
 * In the user's run directory:
 *   users         every command and monitor has a shared flock(2) on it, the pause process waits for an exclusive one
 *   userns        `pid start-time` of the pause process
 *   userns.lock   held while the namespace is made
 */
struct place {
	char path[PATH_MAX];
	int dir, users;
};

static int report(const char *step, int error)
{
	char text[64];

	snprintf(text, sizeof(text), "-%s %d", step, error);
	setenv(ROOTLESS_VARIABLE, text, 1);
	return -error;
}

/* --- the directory --- */

/* A directory that is the user's alone; what somebody else has put there is not. */
static int open_private(const char *path, uid_t uid)
{
	struct stat st;
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || st.st_uid != uid || st.st_mode & 022) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

static int find_place(struct place *place)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	uid_t uid = getuid();

	/* after su(1) it is another user's */
	if (base && base[0] == '/' && stat(base, &st) == 0 && st.st_uid == uid &&
		snprintf(place->path, sizeof(place->path), "%s/pycontain", base) < (int)sizeof(place->path)) {
		place->dir = open_private(place->path, uid);
	} else {
		snprintf(place->path, sizeof(place->path), "/tmp/pycontain-run-%u", uid);
		place->dir = open_private(place->path, uid);
	}
	return place->dir;
}

/* --- a namespace that is there --- */

/* The user namespace of a process, by its number and start time. */
static int userns_of(pid_t pid, unsigned long long started)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* after it was opened: what the number means now it meant then */
	if (!started || proc_stat(pid, PROC_START_TIME, NULL) != started) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

/* `pid start-time` in a file, and that process's user namespace. */
static int userns_in(int dir, const char *name)
{
	unsigned long long started;
	char text[64];
	ssize_t n = read_file_at(dir, name, text, sizeof(text) - 1);
	int pid;

	if (n <= 0 || text[n - 1] != '\n')
		return -ENOENT;
	text[n] = '\0';
	if (sscanf(text, "%d %llu", &pid, &started) != 2 || pid <= 0)
		return -ENOENT;
	return userns_of(pid, started);
}

/* The namespace itself, or one above it (a container may have a user namespace of its own), that this user has made
 * directly below the one that we are in. Takes fd. */
static int own_userns(int fd)
{
	struct stat here, above;
	uid_t owner;

	if (stat("/proc/self/ns/user", &here) < 0) {
		close(fd);
		return -errno;
	}
	for (int depth = 0; depth < 4; depth++) {
		int parent = ioctl(fd, NS_GET_PARENT_);

		if (parent < 0 || fstat(parent, &above) < 0 || ioctl(fd, NS_GET_OWNER_UID_, &owner) < 0) {
			close_p(&parent);
			break;
		}
		if (above.st_ino == here.st_ino) {
			close(parent);
			if (owner != getuid())
				break;
			return fd;
		}
		close(fd);
		fd = parent;
	}
	close(fd);
	return -ESRCH;
}

/* A namespace of the user's in which a container of this directory lives. */
static int userns_below(const struct place *place, const char *path)
{
	int dir = openat(place->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *stream = dir < 0 ? NULL : fdopendir(dir);
	struct dirent *entry;
	int found = -ESRCH;

	while (stream && found < 0 && (entry = readdir(stream))) {
		char name[NAME_MAX + 8];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/pid", entry->d_name);
		found = userns_in(dir, name);
		if (found >= 0)
			found = own_userns(found);
	}
	if (stream)
		closedir(stream);
	return found;
}

/* The pause process was killed, or nobody waits for what lives on (pycontain-oci has no monitors): the namespace is
 * that of any of the containers. */
static int userns_of_containers(const struct place *place)
{
	static const char *const places[] = {"containers", "oci", "../pycontain-oci"};
	int found = -ESRCH;

	for (size_t i = 0; found < 0 && i < ARRAY_SIZE(places); i++)
		found = userns_below(place, places[i]);
	return found;
}

static int find_userns(const struct place *place)
{
	int fd = userns_in(place->dir, "userns");

	return fd < 0 ? fd : own_userns(fd);
}

/* --- the pause process --- */

/* Waits until nobody uses the namespace. While it has the exclusive lock nobody can begin to. */
int pause_main(int argc, char **argv)
{
	_cleanup_close_ int dir = -1, users = -1;
	char text[64];
	ssize_t n;

	if (argc != 3)
		return 125;
	prctl(PR_SET_NAME, "pycontain-pause", 0, 0, 0);
	dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	users = dir < 0 ? -1 : openat(dir, "users", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (users < 0)
		return 125;
	sandbox_in(SANDBOX_PAUSE, 0, &(struct sandbox_rule){dir, RIGHT_READ | RIGHT_REMOVE}, 1);
	while (flock(users, LOCK_EX) < 0)
		if (errno != EINTR)
			return 125;
	n = read_file_at(dir, "userns", text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	if (strtol(text, NULL, 10) == getpid())
		unlinkat(dir, "userns", 0);
	return 0;
}

static _Noreturn void become_pause(const char *path, int go)
{
	char *argv[] = {(char *)"pycontain-helper", (char *)"pause", (char *)path, NULL};
	char *environment[] = {NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char byte;

	/* without the word that its ids are mapped there is nothing to keep */
	if (read(go, &byte, 1) != 1)
		_exit(1);
	setsid();
	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC_);
	if (chdir("/") < 0)
		_exit(1);
	execve("/proc/self/exe", argv, environment);
	_exit(1);
}

struct child {
	pid_t pid;
	int go; /* a byte for it says that its namespace is complete */
};

static _Noreturn void child_main(const struct place *place, int userns, int ready, int go)
{
	int error = 0;

	if (userns >= 0 ? setns(userns, CLONE_NEWUSER) < 0 : unshare(CLONE_NEWUSER) < 0)
		error = errno;
	if (write(ready, &error, sizeof(error)) != sizeof(error) || error)
		_exit(1);
	become_pause(place->path, go);
}

/* A process in a new namespace, or in the one that userns is. */
static int fork_pause(const struct place *place, int userns, struct child *child)
{
	int go[2] = {-1, -1}, ready[2] = {-1, -1}, error = EIO;

	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0)
		return -errno; /* this process is at its end */
	child->pid = fork();
	if (child->pid == 0) {
		close(go[1]);
		child_main(place, userns, ready[1], go[0]);
	}
	close(go[0]);
	close(ready[1]);
	child->go = go[1];
	if (child->pid < 0)
		error = errno;
	else if (read(ready[0], &error, sizeof(error)) != sizeof(error))
		error = EIO;
	close(ready[0]);
	return -error;
}

static int write_pid(const struct place *place, pid_t pid)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%d %llu\n", pid, proc_stat(pid, PROC_START_TIME, NULL));
	int r = write_file_at(place->dir, "userns.new", O_CREAT | O_TRUNC | O_NOFOLLOW, text, (size_t)n);

	if (r == 0)
		r = sysret(renameat(place->dir, "userns.new", place->dir, "userns"));
	return r;
}

/* The namespace of the child, complete and known; the child stays. */
static int publish(const struct place *place, const struct child *child)
{
	int fd = userns_of(child->pid, proc_stat(child->pid, PROC_START_TIME, NULL));
	int r = fd < 0 ? fd : write_pid(place, child->pid);

	if (r == 0 && write(child->go, "", 1) == 1)
		return fd;
	if (fd >= 0)
		close(fd);
	return r < 0 ? r : -EIO;
}

/* A new pause process, in the namespace that userns is, or in one of its own; a descriptor of it. */
static int start_pause(const struct place *place, int userns)
{
	struct child child = {.go = -1};
	const char *step = userns >= 0 ? "setns" : "unshare";
	int r = fork_pause(place, userns, &child);

	if (r == 0 && userns < 0) {
		step = "map";
		r = subid_map(child.pid);
	}
	if (r == 0) {
		step = "pause";
		r = publish(place, &child);
	}
	if (child.go >= 0)
		close(child.go); /* without a byte it ends */
	if (r < 0 && child.pid > 0)
		waitpid(child.pid, NULL, 0);
	return r < 0 ? report(step, -r) : r;
}

static int make_userns(const struct place *place)
{
	_cleanup_close_ int lock = openat(place->dir, "userns.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	_cleanup_close_ int old = -1;
	int fd;

	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return report("lock", errno);
	fd = find_userns(place);
	if (fd >= 0)
		return fd; /* somebody was quicker */
	old = userns_of_containers(place);
	return start_pause(place, old);
}

/* --- entering --- */

static int enter(struct place *place)
{
	_cleanup_close_ int userns = -1;
	int lock;

	setenv(ROOTLESS_DIRECTORY, "", 1);
	if (find_place(place) < 0)
		return report("directory", -place->dir);
	setenv(ROOTLESS_DIRECTORY, place->path, 1);
	place->users = openat(place->dir, "users", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* from now on a pause process that is there stays */
	if (place->users < 0 || flock(place->users, LOCK_SH) < 0)
		return report("lock", errno);
	userns = find_userns(place);
	if (userns < 0)
		userns = make_userns(place);
	if (userns < 0)
		return userns;
	if (setns(userns, CLONE_NEWUSER) < 0)
		return report("setns", errno);
	/* whatever this process becomes keeps it, out of the way of descriptors that a caller counts (--preserve-fds)
	 */
	lock = fcntl(place->users, F_DUPFD, LOWEST_LOCK); /* not closed by execve(2) */
	if (lock < 0)
		return report("lock", errno);
	close(place->users);
	place->users = lock;
	return 0;
}

void rootless_enter(void)
{
	static struct place place;
	char text[64];
	uid_t uid = getuid();

	place.dir = place.users = -1;
	if (enter(&place) == 0) {
		snprintf(text, sizeof(text), "%u %d", uid, place.users);
		setenv(ROOTLESS_VARIABLE, text, 1);
	} else {
		close_p(&place.users);
	}
	close_p(&place.dir);
}

int rootless_lock(void)
{
	const char *text = getenv(ROOTLESS_VARIABLE);
	unsigned uid;
	int fd;

	return text && sscanf(text, "%u %d", &uid, &fd) == 2 && fd > 2 ? fd : -1;
}
