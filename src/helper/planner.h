/* A resident planner: Python that is warm makes the plan, this process executes it (docs/planner.md). */
#ifndef PLANNER_H
#define PLANNER_H

#include <stdbool.h>

/*
 * Have a planner do what a starting verb of this command line asks for; becomes the helper, or ends as Python would
 * have. Returns where there is no planner, or none that can be trusted, or is of this installation, or answers in time:
 * then nothing has been done.
 */
void planner_ask(int argc, char **argv, bool oci);

/*
 * The job "planned" of a sealed copy, which planner_ask has executed while the planner is at it: waits for the plan.
 * The command line and the environment are then those of the helper that executes it; ends where there is none.
 */
void planner_take(int *argc, char ***argv);

#endif
