#include "planner.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "rootless.h"
#include "sys.h"
#include "util.h"

/* src/pycontain/planner/wire.py has all of these. */
#define MAGIC "PYCREQ1"
#define FDS_MAX 240	   /* of one message; the kernel's SCM_MAX_FD is 253 */
#define TOTAL_MAX 4096	   /* descriptors of one request or answer */
#define TEXT_MAX (8 << 20) /* bytes of a command line with its environment */
#define PATIENCE 50	   /* milliseconds until a planner has to say that it is ready */
#define SOCKET "-planner/socket"

struct request {
	char magic[8];
	uint32_t size, oci, argc, envc, fds, umask;
};

struct answer {
	uint32_t size, argc, envc, fds;
};

struct list {
	int fd[TOTAL_MAX];
	unsigned count;
};

/* --- which command lines --- */

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (!strcmp(text, *words))
			return true;
	return false;
}

/* Whether the verb is one that starts something. An option that is not known here is for Python to look at. */
static bool starts(int argc, char **argv, bool oci)
{
	static const char *const values[] = {"--root", "--run-root", "--log", "--log-format", "--cgroup-manager",
		"--tenants", "--criu", "--rootless", "--missing-controllers", "--trace", NULL};
	static const char *const flags[] = {"--debug", "--systemd-cgroup", NULL};
	static const char *const verbs[] = {"run", "create", "exec", "start", NULL};
	int at = 1;

	for (; at < argc && argv[at][0] == '-'; at++) {
		if (is_one_of(argv[at], values))
			at++;
		else if (!is_one_of(argv[at], flags) && !strchr(argv[at], '='))
			return false;
	}
	if (at >= argc)
		return false;
	if (!oci && !strcmp(argv[at], "container") && ++at >= argc)
		return false;
	return is_one_of(argv[at], verbs);
}

/* --- the socket --- */

/* Its directory has to be the user's alone, and the peer the user. */
static int find_socket(struct sockaddr_un *address)
{
	const char *given = getenv("PYCONTAIN_PLANNER"), *base = "/run/pycontain";
	char dir[sizeof(address->sun_path)];
	struct stat st;
	char *slash;
	int n;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (getenv(ROOTLESS_VARIABLE))
		base = getenv(ROOTLESS_DIRECTORY);
	if (given)
		n = snprintf(dir, sizeof(dir), "%s", given);
	else
		n = snprintf(dir, sizeof(dir), "%s%s", base ? base : "", SOCKET);
	if (n >= (int)sizeof(dir) || dir[0] != '/')
		return -ENOENT;
	strcpy(address->sun_path, dir);
	slash = strrchr(dir, '/');
	*slash = '\0';
	if (lstat(slash == dir ? "/" : dir, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 077) ? 0 : -EACCES;
}

static int connect_planner(void)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int r = find_socket(&address);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno; /* EAGAIN: all are busy, and more wait */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != geteuid())
		return -EACCES;
	return take_fd(&fd);
}

/* Readable in time. */
static bool ready(int fd)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};
	int r;

	do
		r = poll(&entry, 1, PATIENCE);
	while (r < 0 && errno == EINTR);
	return r > 0;
}

static int send_bytes(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int recv_bytes(int fd, void *data, size_t len)
{
	char *at = data;

	while (len > 0) {
		ssize_t n = recv(fd, at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

union control {
	struct cmsghdr head;
	char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static int send_fds(int fd, const struct list *list)
{
	for (unsigned at = 0; at < list->count; at += FDS_MAX) {
		unsigned count = list->count - at < FDS_MAX ? list->count - at : FDS_MAX;
		static union control control;
		struct iovec iov = {(void *)"F", 1};
		struct msghdr msg = {.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.buf,
			.msg_controllen = CMSG_SPACE(count * sizeof(int))};
		ssize_t n;

		control.head = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), list->fd + at, count * sizeof(int));
		do
			n = sendmsg(fd, &msg, MSG_NOSIGNAL);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
	}
	return 0;
}

/* One byte that says what comes, with descriptors for the list. */
static int recv_kind(int fd, struct list *list)
{
	static union control control;
	char kind;
	struct iovec iov = {&kind, 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -ECONNRESET;
	for (struct cmsghdr *part = CMSG_FIRSTHDR(&msg); part; part = CMSG_NXTHDR(&msg, part)) {
		unsigned count = (unsigned)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		if (count > TOTAL_MAX - list->count)
			return -EMFILE;
		memcpy(list->fd + list->count, CMSG_DATA(part), count * sizeof(int));
		list->count += count;
	}
	return msg.msg_flags & MSG_CTRUNC ? -EMFILE : kind;
}

/* --- the request --- */

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* All that is open here but one. */
static int list_fds(struct list *list, int but)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		uint64_t fd;

		if (parse_u64(entry->d_name, &fd) < 0 || (int)fd == but || (int)fd == dirfd(dir))
			continue;
		if (list->count == TOTAL_MAX) {
			closedir(dir);
			return -EMFILE;
		}
		list->fd[list->count++] = (int)fd;
	}
	closedir(dir);
	qsort(list->fd, list->count, sizeof(int), by_number);
	return 0;
}

static size_t strings_size(char **strings, uint32_t *count)
{
	size_t size = 0;

	for (*count = 0; strings[*count]; ++*count)
		size += strlen(strings[*count]) + 1;
	return size;
}

static char *put_strings(char *at, char **strings)
{
	for (; *strings; strings++)
		at = stpcpy(at, *strings) + 1;
	return at;
}

/* What a request is made of: the head, the numbers of the descriptors, the words, the environment. */
static int send_request(int planner, char **argv, bool oci)
{
	extern char **environ;
	static struct list list, sent;
	struct request request = {.magic = MAGIC, .oci = oci};
	_cleanup_close_ int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	size_t size;
	char *at;
	int r;

	if (cwd < 0)
		return -errno;
	list.count = 0;
	sent.fd[0] = cwd;
	r = list_fds(&list, planner);
	if (r < 0 || list.count >= TOTAL_MAX)
		return r < 0 ? r : -EMFILE;
	for (unsigned i = 0; i < list.count; i++) { /* the directory's own descriptor is not the caller's */
		if (list.fd[i] == cwd)
			memmove(list.fd + i, list.fd + i + 1, (--list.count - i) * sizeof(int));
	}
	sent.count = list.count + 1;
	memcpy(sent.fd + 1, list.fd, list.count * sizeof(int));
	size = sizeof(request) + list.count * sizeof(int);
	size += strings_size(argv + 1, &request.argc) + strings_size(environ, &request.envc);
	text = size <= TEXT_MAX ? malloc(size) : NULL;
	if (!text)
		return -E2BIG;
	request.umask = umask(0);
	umask(request.umask);
	request.size = (uint32_t)size;
	request.fds = list.count;
	memcpy(text, &request, sizeof(request));
	at = text + sizeof(request);
	memcpy(at, list.fd, list.count * sizeof(int));
	put_strings(put_strings(at + list.count * sizeof(int), argv + 1), environ);
	r = send_fds(planner, &sent);
	if (r == 0)
		r = send_bytes(planner, "Q", 1);
	return r < 0 ? r : send_bytes(planner, text, size);
}

/* --- the answer --- */

static char **take_strings(char **at, const char *end, uint32_t count)
{
	char **strings = calloc((size_t)count + 1, sizeof(*strings));

	if (!strings)
		return NULL;
	for (uint32_t i = 0; i < count; i++) {
		char *zero = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;

		if (!zero) {
			free(strings);
			return NULL;
		}
		strings[i] = *at;
		*at = zero + 1;
	}
	return strings;
}

/* The descriptors from the first one on get the numbers that the plan knows them by. */
static int place_fds(struct list *list, unsigned first, const int *numbers)
{
	int base = 3;

	for (unsigned i = first; i < list->count; i++)
		if (numbers[i - first] >= base)
			base = numbers[i - first] + 1;
	for (unsigned i = 0; i < list->count; i++) {
		int fd = fcntl(list->fd[i], F_DUPFD_CLOEXEC, base);

		if (fd < 0)
			return -errno;
		close(list->fd[i]);
		list->fd[i] = fd;
	}
	for (unsigned i = first; i < list->count; i++) {
		if (numbers[i - first] < 3 || dup2(list->fd[i], numbers[i - first]) < 0)
			return -EBADF;
		close(list->fd[i]);
	}
	return 0;
}

/* What the helper is to be called with. text: what the others point into. */
struct words {
	char *text;
	const int *numbers; /* of the descriptors */
	int count;
	char **args, **env;
};

static void free_words(struct words *words)
{
	free(words->args);
	free(words->env);
	free(words->text);
	*words = (struct words){0};
}

/* Before the plan's descriptors the list may have a copy of the helper, which is to be executed then. Returns whether
 * it has, or a negative errno. */
static int receive_plan(int planner, const struct list *list, struct words *words)
{
	struct answer answer;
	char *at, *end;
	int r = recv_bytes(planner, &answer, sizeof(answer));

	if (r < 0)
		return r;
	if (answer.size > TEXT_MAX || answer.fds > TOTAL_MAX || answer.argc > TEXT_MAX || answer.envc > TEXT_MAX ||
		answer.size < answer.fds * sizeof(int) || !answer.argc)
		return -EPROTO;
	if (list->count != answer.fds && list->count != answer.fds + 1)
		return -EPROTO;
	words->text = malloc((size_t)answer.size + 1);
	if (!words->text)
		return -ENOMEM;
	r = recv_bytes(planner, words->text, answer.size);
	at = words->text + answer.fds * sizeof(int);
	end = words->text + answer.size;
	if (r == 0) {
		words->numbers = (const int *)(const void *)words->text;
		words->count = (int)answer.argc;
		words->args = take_strings(&at, end, answer.argc);
		words->env = words->args ? take_strings(&at, end, answer.envc) : NULL;
		r = words->env ? (int)(list->count - answer.fds) : -EPROTO;
	}
	if (r < 0)
		free_words(words);
	return r;
}

/* as Python leaves them */
static void ignore_signals(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static _Noreturn void failed(int r, uint8_t status)
{
	dprintf(STDERR_FILENO,
		"pycontain: the planner failed while it did this: %s: what it left half done the next command "
		"repairs\n",
		strerror(-r));
	_exit(status);
}

/* The planner acts, so there is no way back. Where this process is the helper's copy already, the words are what it is
 * to do, and the descriptors are where they belong. The socket is closed: its number may be one of theirs. */
static int follow(int planner, uint8_t status, struct words *words)
{
	static struct list list;
	int kind = 'F', copy, r;

	list.count = 0;
	while (kind == 'F')
		kind = recv_kind(planner, &list);
	if (kind == 'X') {
		if (recv_bytes(planner, &status, 1) == 0)
			_exit(status);
		kind = -ECONNRESET;
	}
	copy = kind == 'P' ? receive_plan(planner, &list, words) : kind < 0 ? kind : -EPROTO;
	close(planner);
	if (copy < 0)
		return copy;
	r = place_fds(&list, (unsigned)copy, words->numbers);
	if (r == 0 && copy) {
		ignore_signals();
		fexecve(list.fd[0], words->args, words->env);
		r = -errno;
	}
	return r;
}

/* Execute the helper's copy while the planner makes its plan: planner_take goes on. */
static int become_copy(int planner, int copy, bool oci)
{
	char number[16];
	char *argv[] = {(char *)"pycontain-helper", (char *)"planned", number, (char *)(oci ? "oci" : "-"), NULL};

	snprintf(number, sizeof(number), "%d", planner);
	if (fcntl(planner, F_SETFD, 0) < 0)
		return -errno;
	fexecve(copy, argv, argv + 4);
	return -errno;
}

static uint8_t own_status(bool oci)
{
	return oci ? 1 : 125;
}

void planner_take(int *argc, char ***argv)
{
	extern char **environ;
	struct words words = {0};
	uint8_t status;
	uint64_t planner;
	int r;

	if (*argc != 4 || parse_u64((*argv)[2], &planner) < 0 || planner > INT_MAX)
		_exit(125);
	status = own_status(!strcmp((*argv)[3], "oci"));
	r = follow((int)planner, status, &words);
	if (r < 0)
		failed(r, status);
	ignore_signals();
	*argc = words.count;
	*argv = words.args;
	environ = words.env;
}

void planner_ask(int argc, char **argv, bool oci)
{
	static struct list list;
	_cleanup_close_ int planner = -1;
	struct words words = {0};
	char word = 0;
	int r;

	/* descriptors from a service manager are of one process ID (sd_listen_fds(3)) */
	if (!starts(argc, argv, oci) || getenv("LISTEN_PID"))
		return;
	planner = connect_planner();
	/* a planner that hangs is to have nothing of the caller's: a pipe that it held would have no end */
	if (planner < 0 || !ready(planner) || recv(planner, &word, 1, 0) != 1 || word != 'R')
		return;
	if (fcntl(planner, F_SETFL, 0) < 0 || send_request(planner, argv, oci) < 0)
		return; /* half a request is none */
	/* it acts after it has said so, and what it has said comes, also when it has died since */
	list.count = 0;
	r = recv_kind(planner, &list);
	if (r == -EMFILE) /* it has begun, and its descriptor has not come through */
		failed(r, own_status(oci));
	if (r != 'G')
		return;
	/* all that the caller left open the planner has, too: what the plan needs of it comes back */
	close_all_but(planner, list.count ? list.fd[0] : -1);
	if (list.count > 1)
		r = -EPROTO;
	else if (list.count == 1)
		r = become_copy(planner, list.fd[0], oci);
	else
		r = follow(take_fd(&planner), own_status(oci), &words);
	failed(r < 0 ? r : -EPROTO, own_status(oci)); /* without a copy there is nothing that could execute a plan */
}
