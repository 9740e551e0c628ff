/* The sandbox of a monitor: it may do what the AFTER records need, and no more. */
#ifndef ENDING_H
#define ENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "launch.h"

/* Whether the plan executes a program afterwards: one for another life. */
bool ending_executes(const struct run *run);

/*
 * Keep these capabilities alone. Where the plan executes nothing afterwards (an --rm container has no other life), the
 * rest as well: a filter, and Landlock, which leaves these directories and those that the records name; -1 among dirs
 * is passed over. What fails is passed over, too: there is a container by now.
 */
void ending_sandbox(const struct run *run, uint64_t keep, const int *dirs, unsigned count);

#endif
