/* When processes of a container were killed for want of memory. */
#ifndef OOM_H
#define OOM_H

#include <stdbool.h>
#include <stdint.h>

struct oom {
	int events;	 /* the cgroup's memory.events, which poll(2) reports with POLLPRI; -1 where it has none */
	int cgroup, dir; /* dir: the container's directory, where the record is */
	uint64_t first, known; /* kills when it began, and so far */
};

/* Both descriptors stay the caller's. A host without the memory controller has no such file: then nothing is watched.
 */
void oom_open(struct oom *oom, int cgroup, int dir);

/* Record what was killed since the last look; whether anything was since oom_open. */
bool oom_look(struct oom *oom);

void oom_close(struct oom *oom);

#endif
