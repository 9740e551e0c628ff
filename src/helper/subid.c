#include "subid.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "util.h"

#define MAX_RANGES 32
#define NUMBER 24

/* The arguments of newuidmap: the process, and three numbers a range. */
struct arguments {
	char text[1 + 3 * (MAX_RANGES + 1)][NUMBER];
	char *argv[3 + 3 * (MAX_RANGES + 1)];
	int count; /* of text */
	unsigned long long next;
};

static void add(struct arguments *arguments, unsigned long long value)
{
	snprintf(arguments->text[arguments->count], NUMBER, "%llu", value);
	arguments->argv[1 + arguments->count] = arguments->text[arguments->count];
	arguments->count++;
}

static void add_range(struct arguments *arguments, unsigned long long outside, unsigned long long size)
{
	add(arguments, arguments->next);
	add(arguments, outside);
	add(arguments, size);
	arguments->next += size;
}

/* "NAME:START:COUNT" of subuid(5), where NAME is this user's name or number. */
static bool is_mine(char *line, const char *name, uid_t uid, unsigned long long *start, unsigned long long *size)
{
	char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL, number[NUMBER];

	if (!second)
		return false;
	*first = *second = '\0';
	snprintf(number, sizeof(number), "%u", uid);
	if (strcmp(line, number) && (!name || strcmp(line, name)))
		return false;
	*start = strtoull(first + 1, NULL, 10);
	*size = strtoull(second + 1, NULL, 10);
	return *start > 0 && *size > 0 && *start < UINT32_MAX && *size < UINT32_MAX;
}

/* How many ranges were found. */
static int read_ranges(struct arguments *arguments, const char *path)
{
	const struct passwd *user = getpwuid(getuid());
	FILE *file = fopen(path, "re");
	char line[256];
	int found = 0;

	while (file && found < MAX_RANGES && fgets(line, sizeof(line), file)) {
		unsigned long long start, size;

		if (!is_mine(line, user ? user->pw_name : NULL, getuid(), &start, &size))
			continue;
		add_range(arguments, start, size);
		found++;
	}
	if (file)
		fclose(file);
	return found;
}

/* Exit status of a program; 127 where it is not there. */
static int run(char **argv)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(errno == ENOENT ? 127 : 126);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

/* False where there is nothing to map, or nobody who may. */
static bool map_ranges(pid_t pid, const char *program, const char *file, unsigned id)
{
	struct arguments arguments = {0};
	int status;

	arguments.argv[0] = (char *)program;
	add(&arguments, (unsigned long long)pid);
	add_range(&arguments, id, 1);
	if (!read_ranges(&arguments, file))
		return false;
	status = run(arguments.argv);
	if (status != 0 && status != 127)
		dprintf(STDERR_FILENO, "pycontain: warning: %s has failed, so there is one user alone in containers\n",
			program);
	return status == 0;
}

static int write_map(pid_t pid, const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return write_file_at(AT_FDCWD, path, 0, text, strlen(text));
}

static int map_alone(pid_t pid, const char *name, unsigned id)
{
	char text[64];

	snprintf(text, sizeof(text), "0 %u 1\n", id);
	return write_map(pid, name, text);
}

int subid_map(pid_t pid)
{
	int r;

	if (map_ranges(pid, "newgidmap", "/etc/subgid", getgid()))
		return map_ranges(pid, "newuidmap", "/etc/subuid", getuid()) ? 0 : map_alone(pid, "uid_map", getuid());
	r = write_map(pid, "setgroups", "deny");
	if (r == 0)
		r = map_alone(pid, "gid_map", getgid());
	if (r == 0)
		r = map_alone(pid, "uid_map", getuid());
	return r;
}
