/* A program of the host that carries an ordinary user's network: pasta(1) or slirp4netns(1).
 *
 * It finds the guest's network namespace under a name in a mount namespace of its own: by /proc it could not open it
 * without the capabilities that it gives up first.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "companion.h"
#include "util.h"

/* PLACE/net, where the guest's network namespace is for nobody but the program. */
static int show_namespace(const struct companion *companion)
{
	const char *place = op_s(companion->op, NET_HELPER_PLACE);
	char source[64], target[4096];
	_cleanup_close_ int fd = -1;

	if (snprintf(target, sizeof(target), "%s/net", place) >= (int)sizeof(target))
		return -ENAMETOOLONG;
	snprintf(source, sizeof(source), "/proc/%d/ns/net", companion->guest);
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
		mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=0700") < 0)
		return -errno;
	fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	return sysret(mount(source, target, NULL, MS_BIND, NULL));
}

/* One request of the program's socket, and whether it was granted. */
static int ask(struct run *run, const char *path, const char *request)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[512] = "";
	ssize_t n;
	int r;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	r = write_all(fd, request, strlen(request));
	if (r < 0 || shutdown(fd, SHUT_WR) < 0)
		return r < 0 ? r : -errno;
	n = read(fd, answer, sizeof(answer) - 1);
	if (n <= 0 || strstr(answer, "\"error\""))
		return fail(run, EADDRINUSE, "%s was refused: %s", request, answer);
	return 0;
}

static int ask_all(struct run *run, const struct op *op)
{
	_cleanup_free_ char **requests = op_strings(&op->field[F_NET_HELPER_REQUESTS]);
	int r = requests ? 0 : -ENOMEM;

	for (int i = 0; r == 0 && requests[i]; i++)
		r = ask(run, op_s(op, NET_HELPER_SOCKET), requests[i]);
	if (requests && requests[0])
		unlink(op_s(op, NET_HELPER_SOCKET));
	return r;
}

int op_net_helper(struct run *run, const struct op *op)
{
	struct companion companion = {.argv = &op->field[F_NET_HELPER_ARGV],
		.prepare = show_namespace,
		.op = op,
		.guest = run->pid,
		.stays = op_n(op, NET_HELPER_STAYS)};
	_cleanup_close_ int reader = -1;
	int pair[2], r;
	char byte;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	reader = pair[0];
	companion.ready = pair[1];
	r = companion_start(run, &companion, COMPANION_NETWORK);
	close(pair[1]);
	if (r < 0)
		return r;
	if (read(reader, &byte, 1) != 1) {
		companion_said(run, &companion);
		r = -ENETDOWN;
	}
	close_p(&companion.said);
	return r < 0 ? r : ask_all(run, op);
}
