/* What /proc says of a process. */
#ifndef PROC_H
#define PROC_H

#include <sys/types.h>

/* Field 22 of /proc/PID/stat, in clock ticks since the boot, and the state's letter; 0 where the process is gone. */
unsigned long long proc_start_time(pid_t pid, char *state);

#endif
