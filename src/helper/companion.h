/* Programs of the host that work for one container: each in a PID namespace whose first process is ours and is killed
 * with the monitor, so that nothing of it stays behind, whoever is killed. */
#ifndef COMPANION_H
#define COMPANION_H

#include "launch.h"

struct companion {
	const struct field *argv;
	int (*prepare)(const struct companion *companion); /* in its first process; or NULL */
	const struct op *op;				   /* for that */
	pid_t guest;
	bool stays; /* it does not go to the background when it is ready */
	int ready;  /* a byte comes to it then; -1 for nothing */
	int said;   /* its messages; to be closed */
};

/* run->companions[number] is its pidfd then. */
int companion_start(struct run *run, struct companion *companion, int number);

/* The last line that it has said becomes the detail of a failure. */
void companion_said(struct run *run, const struct companion *companion);

/* Detach the root that a companion has mounted. */
void unmount_root(const char *target);

#endif
