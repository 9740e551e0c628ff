/* The root of an ordinary user's container where the kernel's own overlay refuses the file system: fuse-overlayfs(1).
 *
 * It is mounted in a mount namespace of the monitor's, of which the guest gets a copy, and its program lives as that of
 * the network does: no longer than the monitor.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "companion.h"
#include "fuseroot.h"
#include "launch.h"
#include "rmtree.h"
#include "sys.h"
#include "util.h"

#define FUSE_SUPER_MAGIC_ 0x65735546

static int private_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	return 0;
}

/* The kernel tells of every change of the mount table; 0 when the program has mounted, -ECHILD when it has ended. */
static int wait_mounted(const char *target, int pidfd)
{
	_cleanup_close_ int table = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	struct statfs fs;

	if (table < 0)
		return -errno;
	for (;;) {
		struct pollfd fds[2] = {{.fd = table, .events = POLLPRI}, {.fd = pidfd, .events = POLLIN}};

		if (statfs(target, &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC_)
			return 0;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			return -ECHILD;
	}
}

int op_root_fuse(struct run *run, const struct op *op)
{
	const char *target = op_s(op, ROOT_FUSE_TARGET);
	struct companion companion = {.argv = &op->field[F_ROOT_FUSE_ARGV], .stays = true, .ready = -1};
	int r = private_mounts();

	if (r == 0)
		r = companion_start(run, &companion, COMPANION_ROOT);
	if (r < 0)
		return r;
	r = wait_mounted(target, run->companions[COMPANION_ROOT]);
	if (r == -ECHILD) {
		companion_said(run, &companion);
		r = -EIO;
	}
	close_p(&companion.said);
	return r;
}

void unmount_root(const char *target)
{
	umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* DIR/lower, upper, work and root, and an overlay of them as an ordinary user's containers have it. */
static int try_in(int dir)
{
	static const char *const names[] = {"lower", "upper", "work", "root"};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++)
		r = sysret(mkdirat(dir, names[i], 0700));
	if (r == 0)
		r = sysret(fchdir(dir));
	if (r == 0)
		r = private_mounts();
	if (r == 0)
		r = sysret(
			mount("overlay", "root", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work,userxattr"));
	if (r == 0)
		umount2("root", MNT_DETACH | UMOUNT_NOFOLLOW);
	return r;
}

int try_overlay_main(int argc, char **argv)
{
	_cleanup_close_ int dir = -1;
	char path[4096];
	int r;

	if (argc != 3 || snprintf(path, sizeof(path), "%s/.try-%d", argv[2], getpid()) >= (int)sizeof(path))
		return 125;
	if (mkdir(path, 0700) < 0) {
		dprintf(STDERR_FILENO, "pycontain: cannot make %s: %m\n", path);
		return 125;
	}
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	r = dir < 0 ? -errno : try_in(dir);
	rmtree(path);
	return r < 0 ? 1 : 0;
}
