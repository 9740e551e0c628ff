#include "oci.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cgroup.h"
#include "launch.h"
#include "proc.h"
#include "rmtree.h"
#include "sys.h"
#include "util.h"

/* src/pycontain/oci/state.py has both. */
#define DEFAULT_ROOT "/run/pycontain-oci"
/* linux/proc_ns.h: PROC_USER_INIT_INO */
#define INITIAL_USERNS 0xEFFFFFFD
#define TO_PYTHON (-1)

enum status { STOPPED, CREATED, PAUSED, RUNNING };
static const char *const status_names[] = {"stopped", "created", "paused", "running"};

struct call {
	const char *root, *verb, *id, *signal;
	bool flag; /* --all, --force */
};

struct container {
	char path[PATH_MAX];
	char cgroup[PATH_MAX];
	int dir;
	pid_t pid; /* 0 when init has ended */
	int pidfd;
	enum status status;
};

/* --- the command line --- */

/* Options before the verb. They are of no meaning to these verbs, but for --root and for what goes wrong. */
static int global_option(char **argv, int argc, int at, struct call *call)
{
	static const char *const flags[] = {"--debug", "--systemd-cgroup"};
	static const char *const values[] = {"--root", "--log", "--log-format"};
	const char *text = argv[at];

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (!strcmp(text, flags[i]))
			return at + 1;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		size_t len = strlen(values[i]);
		const char *value;

		if (strncmp(text, values[i], len))
			continue;
		if (text[len] && text[len] != '=')
			continue;
		if (!text[len] && at + 1 >= argc)
			return TO_PYTHON;
		value = text[len] ? text + len + 1 : argv[at + 1];
		if (i == 0)
			call->root = value;
		if (i == 2 && strcmp(value, "json") && strcmp(value, "text"))
			return TO_PYTHON;
		if (i == 1 && strchr(value, ':')) /* crun's BACKEND:PATH */
			return TO_PYTHON;
		return text[len] ? at + 1 : at + 2;
	}
	return TO_PYTHON;
}

static bool is_id(const char *text)
{
	if (!*text || *text == '.' || strlen(text) > 255)
		return false;
	for (; *text; text++)
		if (!isascii(*text) || (!isalnum(*text) && !strchr("_+-.", *text)))
			return false;
	return true;
}

static bool is_flag(const struct call *call, const char *text)
{
	if (!strcmp(call->verb, "kill"))
		return !strcmp(text, "-a") || !strcmp(text, "--all");
	if (!strcmp(call->verb, "delete"))
		return !strcmp(text, "-f") || !strcmp(text, "--force");
	return false;
}

/* In a user namespace the user's own directory, as of runc; oci/state.py has it too. */
static const char *default_root(void)
{
	static char path[PATH_MAX];
	const char *base = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (!base || base[0] != '/' || stat("/proc/self/ns/user", &st) < 0 || st.st_ino == INITIAL_USERNS)
		return DEFAULT_ROOT;
	return snprintf(path, sizeof(path), "%s/pycontain-oci", base) < (int)sizeof(path) ? path : DEFAULT_ROOT;
}

static int parse_call(int argc, char **argv, struct call *call)
{
	int at = 1;

	*call = (struct call){.root = default_root()};
	while (at < argc && argv[at][0] == '-') {
		at = global_option(argv, argc, at, call);
		if (at < 0)
			return TO_PYTHON;
	}
	if (at >= argc || !*call->root)
		return TO_PYTHON;
	call->verb = argv[at++];
	for (; at < argc; at++) {
		if (argv[at][0] == '-') {
			if (!is_flag(call, argv[at]))
				return TO_PYTHON;
			call->flag = true;
		} else if (!call->id) {
			call->id = argv[at];
		} else if (!call->signal && !strcmp(call->verb, "kill")) {
			call->signal = argv[at];
		} else {
			return TO_PYTHON;
		}
	}
	return call->id && is_id(call->id) ? 0 : TO_PYTHON;
}

/* --- the state directory --- */

/* The text of a small file, without its last newline; a file that has none was cut off. */
static int read_line(int dir, const char *name, char *text, size_t size)
{
	ssize_t n = read_file_at(dir, name, text, size);

	if (n <= 0 || (size_t)n >= size || text[n - 1] != '\n' || memchr(text, '\0', (size_t)n))
		return TO_PYTHON;
	text[n - 1] = '\0';
	return 0;
}

/* Whether state.json was written to its end: what is damaged is Python's business. */
static bool is_whole(int dir)
{
	_cleanup_close_ int fd = openat(dir, "state.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	char ends[2], first;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 2 &&
	       pread(fd, &first, 1, 0) == 1 && first == '{' && pread(fd, ends, 2, st.st_size - 2) == 2 &&
	       !memcmp(ends, "}\n", 2);
}

static bool is_frozen(const struct container *container)
{
	_cleanup_close_ int dir = open(container->cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char text[8];

	return dir >= 0 && read_file_at(dir, "cgroup.freeze", text, sizeof(text)) > 0 && text[0] == '1';
}

/* Init, by its number and its start time. With the pidfd in hand the number is not given to another process, so now is
 * the time to compare. */
static int find_init(struct container *container)
{
	unsigned long long started;
	char text[64], state = 0, *end;
	long pid;

	if (read_line(container->dir, "pid", text, sizeof(text)) < 0)
		return TO_PYTHON;
	pid = strtol(text, &end, 10);
	if (pid <= 0 || pid > INT_MAX || *end != ' ' || !isdigit((unsigned char)end[1]))
		return TO_PYTHON;
	started = strtoull(end + 1, &end, 10);
	if (*end)
		return TO_PYTHON;
	container->pidfd = sys_pidfd_open((pid_t)pid);
	if (container->pidfd < 0)
		return 0;
	if (proc_stat((pid_t)pid, PROC_START_TIME, &state) != started || state == 'Z' || state == 'X') {
		close(container->pidfd);
		container->pidfd = -1;
		return 0;
	}
	container->pid = (pid_t)pid;
	return 0;
}

static int find_container(const struct call *call, struct container *container)
{
	*container = (struct container){.dir = -1, .pidfd = -1};
	if (snprintf(container->path, PATH_MAX, "%s/%s", call->root, call->id) >= PATH_MAX)
		return TO_PYTHON;
	container->dir = open(container->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (container->dir < 0 || !is_whole(container->dir))
		return TO_PYTHON;
	if (read_line(container->dir, "cgroup", container->cgroup, sizeof(container->cgroup)) < 0 ||
		container->cgroup[0] != '/' || find_init(container) < 0)
		return TO_PYTHON;
	if (!container->pid)
		container->status = STOPPED;
	else if (is_frozen(container))
		container->status = PAUSED;
	else
		container->status = faccessat(container->dir, "start", F_OK, 0) == 0 ? CREATED : RUNNING;
	return 0;
}

static bool is_pythons(const struct container *container)
{
	return faccessat(container->dir, "python", F_OK, 0) == 0;
}

/* --- state --- */

static int oci_state(const struct call *call, struct container *container)
{
	static char head[4096], tail[1 << 18], text[sizeof(head) + sizeof(tail) + 64];
	ssize_t heads = read_file_at(container->dir, "head", head, sizeof(head));
	ssize_t tails = read_file_at(container->dir, "tail", tail, sizeof(tail));
	static const char end[] = "\"pid\": ";
	const ssize_t ends = sizeof(end) - 1;
	int n;

	(void)call;
	/* a file that fills its buffer may have more */
	if (heads <= ends || heads == sizeof(head) || memcmp(head + heads - ends, end, (size_t)ends) || tails < 2 ||
		tails == sizeof(tail) || tail[tails - 2] != '}')
		return TO_PYTHON;
	n = snprintf(text, sizeof(text), "%.*s%d,\n  \"status\": \"%s\"%.*s", (int)heads, head, container->pid,
		status_names[container->status], (int)tails, tail);
	return write_all(STDOUT_FILENO, text, (size_t)n) < 0 ? 1 : 0;
}

/* --- start --- */

static int connect_gate(const struct container *container)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int link = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (link < 0)
		return -errno;
	/* the path may be longer than an address */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/start", container->dir);
	if (connect(link, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return take_fd(&link);
}

/* A service manager waits for the program to be ready, and there is a socket for it to say so. */
static bool is_awaited(const struct container *container)
{
	return getenv("NOTIFY_SOCKET") && faccessat(container->dir, "notify", F_OK, 0) == 0;
}

static int oci_start(const struct call *call, struct container *container)
{
	_cleanup_close_ int link = -1;
	char answer[sizeof(struct frame)];
	size_t len = 0;
	ssize_t n;

	(void)call;
	if (container->status != CREATED || is_pythons(container) || is_awaited(container))
		return TO_PYTHON;
	link = connect_gate(container);
	if (link < 0)
		return TO_PYTHON;
	/* at once: who finds it says that the container was not started */
	unlinkat(container->dir, "start", 0);
	do {
		n = recv(link, answer + len, sizeof(answer) - len, 0);
		if (n > 0)
			len += (size_t)n;
	} while ((n > 0 && len < sizeof(answer)) || (n < 0 && errno == EINTR));
	if (n == 0 && len == 0)
		return 0;
	/* init could not execute its program: Python finds the words */
	write_file_at(container->dir, "failed", O_CREAT | O_TRUNC | O_NOFOLLOW, answer, len);
	return TO_PYTHON;
}

/* --- kill --- */

static int signal_number(const char *text)
{
	/* src/pycontain/oci/signals.py has them all */
	static const struct {
		const char *name;
		int number;
	} names[] = {
		{"HUP", SIGHUP},
		{"INT", SIGINT},
		{"QUIT", SIGQUIT},
		{"KILL", SIGKILL},
		{"USR1", SIGUSR1},
		{"USR2", SIGUSR2},
		{"TERM", SIGTERM},
		{"CONT", SIGCONT},
		{"STOP", SIGSTOP},
		{"WINCH", SIGWINCH},
	};
	uint64_t number;

	if (!text)
		return SIGTERM;
	if (strlen(text) < 4 && parse_u64(text, &number) == 0)
		return number <= 64 ? (int)number : TO_PYTHON;
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcasecmp(text, names[i].name))
			return names[i].number;
	return TO_PYTHON;
}

static int kill_group(const struct container *container)
{
	_cleanup_close_ int dir = open(container->cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || !cgroup_may_end(dir) || write_file_at(dir, "cgroup.kill", 0, "1", 1) < 0)
		return TO_PYTHON;
	return 0;
}

/* With a PID namespace of its own, its init's death is everybody's; without, KILL means all, as runc has it. */
static bool is_shared(const struct container *container)
{
	return faccessat(container->dir, "shared", F_OK, 0) == 0;
}

static int oci_kill(const struct call *call, struct container *container)
{
	int number = signal_number(call->signal);

	if (number < 0)
		return TO_PYTHON;
	if (number == SIGKILL && (call->flag || (container->pid && is_shared(container))))
		return kill_group(container);
	if (call->flag)
		return TO_PYTHON;
	if (container->pidfd < 0 || sys_pidfd_send_signal(container->pidfd, number) < 0)
		return TO_PYTHON;
	return 0;
}

/* --- delete --- */

/* Nothing there any more, or a group that we may end. */
static bool removable(const struct container *container)
{
	_cleanup_close_ int dir = open(container->cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return errno == ENOENT;
	return cgroup_may_end(dir);
}

static int oci_delete(const struct call *call, struct container *container)
{
	if (is_pythons(container) || !removable(container))
		return TO_PYTHON;
	if (container->status != STOPPED) {
		if (!call->flag)
			return TO_PYTHON;
		sys_pidfd_send_signal(container->pidfd, SIGKILL);
		cgroup_wait_end(container->cgroup, container->pidfd);
	}
	if (cgroup_remove(container->cgroup) < 0 || rmtree(container->path) < 0)
		return TO_PYTHON;
	return 0;
}

int oci_main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct call *call, struct container *container);
	} verbs[] = {
		{"state", oci_state},
		{"start", oci_start},
		{"kill", oci_kill},
		{"delete", oci_delete},
	};
	struct container container;
	struct call call;
	int r = TO_PYTHON;

	if (geteuid() != 0 || parse_call(argc, argv, &call) < 0)
		return TO_PYTHON;
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(call.verb, verbs[i].name))
			continue;
		r = find_container(&call, &container);
		if (r == 0)
			r = verbs[i].run(&call, &container);
		close_p(&container.dir);
		close_p(&container.pidfd);
	}
	return r;
}
