/* Which ids a user's namespace has: of /etc/subuid and /etc/subgid, by newuidmap(1) and newgidmap(1). */
#ifndef SUBID_H
#define SUBID_H

#include <sys/types.h>

/* Map the namespace of a child process: the user as root, and the user's ranges after it; or the user alone, where
 * there are no ranges or no program that may map them. */
int subid_map(pid_t pid);

#endif
