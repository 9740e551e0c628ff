#include "proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

/* The name in field 2 may hold anything, so count from its last ")". */
unsigned long long proc_start_time(pid_t pid, char *state)
{
	char path[64], text[1024], *at;
	unsigned long long value = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	n = read_file_at(AT_FDCWD, path, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strrchr(text, ')');
	*state = at && at[1] ? at[2] : 0;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		value = strtoull(at + 1, NULL, 10);
	return value;
}
