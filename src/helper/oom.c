#include "oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "util.h"

/* Beyond this size the record becomes oom.1 and a new one begins: the last hundreds of kills are known. */
#define RECORD_MAX 8192

/* The counter oom_kill of memory.events. Reading also says that the event was seen. */
static uint64_t killed(int events)
{
	char text[1024], *at;
	ssize_t n = pread(events, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strstr(text, "oom_kill ");
	return at ? strtoull(at + 9, NULL, 10) : 0;
}

void oom_open(struct oom *oom, int cgroup, int dir)
{
	*oom = (struct oom){.events = -1, .cgroup = cgroup, .dir = dir};
	if (cgroup < 0)
		return;
	oom->events = openat(cgroup, "memory.events", O_RDONLY | O_CLOEXEC);
	if (oom->events >= 0)
		oom->first = oom->known = killed(oom->events);
}

/* "TIME COUNT": seconds since the epoch, and how many processes since the line before. */
static void put(struct oom *oom, uint64_t count)
{
	_cleanup_close_ int fd = openat(oom->dir, "oom", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct timespec now;
	struct stat st;
	char line[64];
	int n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	n = snprintf(
		line, sizeof(line), "%lld.%09ld %llu\n", (long long)now.tv_sec, now.tv_nsec, (unsigned long long)count);
	/* half a line would spoil the next one */
	if (write_all(fd, line, (size_t)n) < 0)
		(void)ftruncate(fd, st.st_size);
	else if (st.st_size + n >= RECORD_MAX)
		renameat(oom->dir, "oom", oom->dir, "oom.1");
}

bool oom_look(struct oom *oom)
{
	uint64_t now;

	/* an update of a container without limits may have brought the controller */
	if (oom->events < 0 && oom->cgroup >= 0)
		oom->events = openat(oom->cgroup, "memory.events", O_RDONLY | O_CLOEXEC);
	if (oom->events < 0)
		return false;
	now = killed(oom->events);
	if (now > oom->known) {
		put(oom, now - oom->known);
		oom->known = now;
	}
	return oom->known > oom->first;
}

void oom_close(struct oom *oom)
{
	close_p(&oom->events);
	oom->events = -1;
}
