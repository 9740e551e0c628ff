#include "proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

unsigned long long proc_stat(pid_t pid, int number, char *state)
{
	char path[64], text[1024], *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	n = read_file_at(AT_FDCWD, path, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* the name in field 2 may hold anything, so count from its last ")" */
	at = strrchr(text, ')');
	if (state)
		*state = at && at[1] ? at[2] : 0;
	for (int field = 2; at && field < number; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}
