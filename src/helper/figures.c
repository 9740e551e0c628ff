/* sysinfo(2) that tells a guest its own limits. */
#include <linux/sysinfo.h>
#include <stdio.h>
#include <string.h>

#include "supervise.h"
#include "sys.h"
#include "util.h"

/* A number in a file of the container's cgroup; UINT64_MAX for "max", where there is no such file, or no cgroup. */
static uint64_t figure(const struct supervisor *supervisor, const char *name)
{
	char text[32];
	uint64_t value;
	ssize_t n;

	if (supervisor->cgroup < 0)
		return UINT64_MAX;
	n = read_file_at(supervisor->cgroup, name, text, sizeof(text) - 1);
	if (n <= 0)
		return UINT64_MAX;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return parse_u64(text, &value) < 0 ? UINT64_MAX : value;
}

/* total and free, in units of `unit` bytes, lowered to what a limit leaves. */
static void lower(const struct supervisor *supervisor, const char *limit, const char *current, uint64_t unit,
	unsigned long *total, unsigned long *left)
{
	uint64_t most = figure(supervisor, limit), used = figure(supervisor, current);

	if (most == UINT64_MAX || most / unit >= *total)
		return;
	*total = (unsigned long)(most / unit);
	if (used != UINT64_MAX)
		used = used < most ? (most - used) / unit : 0;
	if (used < *left)
		*left = (unsigned long)used;
	if (*left > *total)
		*left = *total;
}

static int fill(const struct supervisor *supervisor, struct sysinfo *info)
{
	struct timespec now;
	uint64_t unit, processes = figure(supervisor, "pids.current");

	if (syscall(SYS_sysinfo, info) < 0)
		return -errno;
	unit = info->mem_unit ? info->mem_unit : 1;
	lower(supervisor, "memory.max", "memory.current", unit, &info->totalram, &info->freeram);
	lower(supervisor, "memory.swap.max", "memory.swap.current", unit, &info->totalswap, &info->freeswap);
	if (info->sharedram > info->totalram)
		info->sharedram = info->totalram;
	if (info->bufferram > info->totalram)
		info->bufferram = info->totalram;
	if (processes != UINT64_MAX)
		info->procs = (unsigned short)(processes < UINT16_MAX ? processes : UINT16_MAX);
	clock_gettime(CLOCK_BOOTTIME, &now);
	info->uptime = now.tv_sec - supervisor->started.tv_sec;
	return 0;
}

void do_sysinfo(struct call *call)
{
	struct sysinfo info;
	int r;

	memset(&info, 0, sizeof(info));
	r = fill(call->supervisor, &info);
	if (r == 0)
		r = call_write(call, call->request->data.args[0], &info, sizeof(info));
	call_answer(call, r);
}
