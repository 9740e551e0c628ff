/* What a process can still do after sandbox(): "name errno" on a line for each attempt. Built by test_sandbox_probe.py
 * with the helper's sandbox.c, and a filter or an empty one. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

static void report(const char *name, long result)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%s %s\n", name, result < 0 ? strerrorname_np(errno) : "done");

	/* not dprintf(3): glibc's looks for the file's position first, and says nothing where lseek(2) is refused */
	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		_exit(1);
}

int main(int argc, char **argv)
{
	enum sandbox_kind kind = argc > 1 ? (enum sandbox_kind)atoi(argv[1]) : SANDBOX_RELAY;
	int file = open(argc > 2 ? argv[2] : "/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC);
	int dir = argc > 3 ? open(argv[3], O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	struct sandbox_rule rule = {dir, RIGHT_READ | RIGHT_LIST | RIGHT_WRITE | RIGHT_MAKE | RIGHT_REMOVE};
	char *const nothing[] = {NULL};
	int alive[2], r;
	pid_t child;
	char byte;

	if (pipe2(alive, O_CLOEXEC) < 0)
		return 1;
	child = fork();
	if (child == 0) {
		/* It ends with us. PR_SET_PDEATHSIG would not do: that signal is the dying parent's, and Landlock may not
		 * let it out. */
		close(alive[1]);
		while (read(alive[0], &byte, 1) < 0 && errno == EINTR)
			;
		_exit(0);
	}
	if (child < 0)
		return 1; /* kill(-1, …) would be everybody */
	r = dir < 0 ? sandbox(kind, 0) : sandbox_in(kind, 0, &rule, 1);
	report("sandbox", r < 0 ? (errno = -r, -1) : 0);
	report("write", write(file, "x", 1));
	report("truncate", ftruncate(file, 1));
	report("shadow", open("/etc/shadow", O_RDONLY | O_CLOEXEC));
	report("create", open("/tmp/pycontain-sandbox-probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	report("mkdir", mkdir("/tmp/pycontain-sandbox-probe", 0700));
	report("exec", execve("/bin/true", nothing, nothing));
	report("ptrace", ptrace(PTRACE_ATTACH, child, NULL, NULL));
	report("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	report("kill", kill(child, SIGKILL));
	report("setuid", setuid(65534));
	report("code", mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	report("memory", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	if (dir >= 0) {
		report("create-below", openat(dir, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		report("remove-below", unlinkat(dir, "new", 0));
		report("create-above", openat(dir, "../new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	}
	_exit(0);
}
