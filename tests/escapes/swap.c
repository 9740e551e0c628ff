/* The other side of a race: two names change places as fast as they can, and with -m masks are in the way.
 *
 * swap ONE OTHER...: exchange ONE with each OTHER in turn (renameat2(2), RENAME_EXCHANGE) until it is ended.
 * Prints "swapping" when it has begun.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/prctl.h>
#include <signal.h>

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc < 3)
		return 2;
	for (unsigned long round = 0;; round++) {
		const char *other = argv[2 + round / 2 % (unsigned long)(argc - 2)];
		if (syscall(SYS_renameat2, AT_FDCWD, argv[1], AT_FDCWD, other, 2)) {
			perror(other);
			return 1;
		}
		if (!round && puts("swapping") >= 0)
			fflush(stdout);
	}
}
