/* The user namespace in which an ordinary user's commands work (docs/design.md, "Rootless"). */
#ifndef ROOTLESS_H
#define ROOTLESS_H

/* What Python and the helper know of it: "UID FD" of the user and of the lock that every user of the namespace holds,
 * or "-STEP ERRNO" where there is no namespace. */
#define ROOTLESS_VARIABLE "_PYCONTAIN_ROOTLESS"
/* The directory of what lives as long as the namespace. */
#define ROOTLESS_DIRECTORY "_PYCONTAIN_ROOTLESS_RUN"

/* For a process that is not root: join the user's namespace, or make it. The environment says how it went. */
void rootless_enter(void);

/* The lock's descriptor where this process was started by rootless_enter, else -1. */
int rootless_lock(void);

/* pycontain-helper pause DIRECTORY: stays until nobody is in the namespace. */
int pause_main(int argc, char **argv);

#endif
