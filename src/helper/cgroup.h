/* The end of a cgroup. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>

/* Kill what is left in a group (cgroup.kill) and remove it with its children. 0, also when it is not there; -ENODEV for
 * a directory that is no cgroup. */
int cgroup_remove(const char *path);

/* Wait for the end of a process that was killed, or of all in its group. The kernel tells of an empty group at most
 * every 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV); and an init does not end before somebody has waited for those of its PID
 * namespace whose parents are outside. */
void cgroup_wait_end(const char *path, int pidfd);

/* Whether it is a group with cgroup.kill, and not a root: neither the hierarchy's nor, which looks like any other group
 * but for being where something is mounted, that of a cgroup namespace. */
bool cgroup_may_end(int dir);

#endif
