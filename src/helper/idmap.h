/* Mounts whose owners are mapped by a user namespace. */
#ifndef IDMAP_H
#define IDMAP_H

#include <stdbool.h>

#include "launch.h"

/* MapSource's userns: the guest's own, none (launch/ops_userns.py). */
#define GUEST_USERNS (-2)
#define NO_USERNS (-3)

/* A descriptor of the guest's user namespace, or -errno. */
int guest_userns(struct run *run);

/* mount_setattr(2), MOUNT_ATTR_IDMAP, on a detached tree. */
int map_owners(struct run *run, int tree, int userns, bool recursive);

#endif
