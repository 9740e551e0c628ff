/* A container's program says that it is ready (sd_notify(3)) to a socket of ours, which its relay reads. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "launch.h"
#include "util.h"

/* In a directory that only we can come to; the guest has the socket by a bind mount, and anybody in it may write. */
int op_ready_socket(struct run *run, const struct op *op)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int dir = open(op_s(op, READY_SOCKET_DIRECTORY), O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (dir < 0 || fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/notify", dir);
	unlinkat(dir, "notify", 0);
	unlinkat(dir, "ready", 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || fchmodat(dir, "notify", 0666, 0) < 0)
		return -errno;
	run->ready = take_fd(&fd);
	return 0;
}
