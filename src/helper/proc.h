/* What /proc says of a process. */
#ifndef PROC_H
#define PROC_H

#include <sys/types.h>

/* Fields of /proc/PID/stat (proc_pid_stat(5)), those that are numbers. */
enum { PROC_FLAGS = 9, PROC_START_TIME = 22 };

/* A field, and the state's letter where somebody wants it; 0 where the process is gone. */
unsigned long long proc_stat(pid_t pid, int number, char *state);

#endif
