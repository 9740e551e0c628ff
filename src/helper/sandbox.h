/* What processes of ours that stay give up: docs/monitor-sandbox.md. */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdint.h>

/* Which filter, by who the process is. */
enum sandbox_kind {
	SANDBOX_RELAY,
	SANDBOX_FRONT,
	SANDBOX_WAIT,
	SANDBOX_INIT,
	SANDBOX_WITH,
	SANDBOX_PAUSE,
	SANDBOX_MONITOR
};

#define CAP_BIT(number) (1ull << (number))

/* Keep of the capabilities that there are no more than these; and of those that an exec could give back. */
void keep_capabilities(uint64_t keep);
void bound_capabilities(uint64_t keep);

/*
 * Give up all capabilities but those of keep; with SANDBOX_WAIT and SANDBOX_INIT keep may have CAP_KILL. After it the
 * process can open, create and execute nothing, is not dumpable, and no exec could give it anything back. Descriptors
 * that it has stay as they are. Every step is tried; 0, or -errno of the first that failed, but for Landlock, which not
 * every kernel has.
 */
int sandbox(enum sandbox_kind kind, uint64_t keep);

/* linux/landlock.h, LANDLOCK_ACCESS_FS_*: what a process may do with files all the same. */
#define RIGHT_WRITE (1u << 1)
#define RIGHT_READ (1u << 2)
#define RIGHT_LIST (1u << 3)
#define RIGHT_REMOVE_DIR (1u << 4)
#define RIGHT_REMOVE (1u << 5)
#define RIGHT_MAKE_DIR (1u << 7)
#define RIGHT_MAKE (1u << 8)
#define RIGHT_MOVE (1u << 13)
#define RIGHT_TRUNCATE (1u << 14)

struct sandbox_rule {
	int dir; /* and all that is below it */
	uint64_t rights;
};

/* The same, but for those that have files to see to: SANDBOX_PAUSE, SANDBOX_MONITOR. Where a rule cannot be made there
 * is no Landlock. */
int sandbox_in(enum sandbox_kind kind, uint64_t keep, const struct sandbox_rule *rules, unsigned count);

/* Close all descriptors from 3 on but these; what is below 3 or appears twice is left alone. */
void keep_descriptors(int *fds, unsigned count);

#endif
