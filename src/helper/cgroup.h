/* The end of a cgroup. */
#ifndef CGROUP_H
#define CGROUP_H

/* Kill what is left in a group (cgroup.kill) and remove it with its children. 0, also when it is not there; -ENODEV for
 * a directory that is no cgroup. */
int cgroup_remove(const char *path);

#endif
