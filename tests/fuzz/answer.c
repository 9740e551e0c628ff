/* libFuzzer: the answer of a planner, as the front reads it. Whoever takes its place says what it likes: a command line
 * and an environment for the helper come of it, or an error. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int execute(int fd, char *const argv[], char *const envp[]);

#define fexecve execute
#include "../../src/helper/planner.c"

static volatile size_t sink;

static int execute(int fd, char *const argv[], char *const envp[])
{
	(void)fd;
	if (!argv[0])
		abort();
	for (int i = 0; argv[i]; i++)
		sink += strlen(argv[i]);
	for (int i = 0; envp[i]; i++)
		sink += strlen(envp[i]);
	errno = ENOEXEC;
	return -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct list list;
	int pair[2], kind;

	/* all that one message of the socket's buffer takes */
	if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	if (send_bytes(pair[1], data, size) < 0)
		abort();
	shutdown(pair[1], SHUT_WR);
	list.count = 0;
	do
		kind = recv_kind(pair[0], &list);
	while (kind == 'F');
	if (kind == 'P') {
		/* the helper's copy; with more descriptors the numbers would be this process's own */
		list.fd[0] = dup(STDIN_FILENO);
		list.count = 1;
		if (become(pair[0], &list) >= 0)
			abort();
		close_p(&list.fd[0]);
	}
	close(pair[0]);
	close(pair[1]);
	return 0;
}
