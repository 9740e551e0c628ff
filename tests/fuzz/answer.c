/* libFuzzer: the answer of a planner, as the front reads it. Whoever takes its place says what it likes: a command line
 * and an environment for the helper come of it, or an error. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/helper/planner.c"

static volatile size_t sink;

static void look(const struct words *words)
{
	if (words->count < 1 || !words->args[0] || words->args[words->count])
		abort();
	for (int i = 0; words->args[i]; i++)
		sink += strlen(words->args[i]);
	for (int i = 0; words->env[i]; i++)
		sink += strlen(words->env[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct list list;
	struct words words = {0};
	int pair[2], kind, copy;

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
		/* the helper's copy, one of the plan's, or none */
		list.count = size % 2;
		if (list.count)
			list.fd[0] = dup(STDIN_FILENO);
		copy = receive_plan(pair[0], &list, &words);
		if (copy >= 0) {
			if (copy > (int)list.count)
				abort();
			/* with a descriptor of the plan's its number could be one of this process's own */
			if (copy == (int)list.count && place_fds(&list, (unsigned)copy, words.numbers) < 0)
				abort();
			look(&words);
			free_words(&words);
		}
		if (list.count)
			close_p(&list.fd[0]);
	}
	close(pair[0]);
	close(pair[1]);
	return 0;
}
