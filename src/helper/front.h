/* The process that the caller waits for: passes terminal, signals and standard descriptors to the
 * monitor. */
#ifndef FRONT_H
#define FRONT_H

#include "launch.h"

/* From the monitor's side, before it is a monitor: 0, or -errno when nobody is there. */
int front_warning(int channel, const char *text);
int front_failure(int channel, const struct frame *failure);
int front_started(int channel);

/* Until the front process has ended, or become another program. */
void front_wait(int channel);

/* The exit status to end with, or -1 with run->failure filled when the launch failed. Takes the
 * channel. */
int front_loop(struct run *run, const struct op *front, int channel);

/* pycontain-helper attach SOCKET OUTPUT STDIN TERMINAL SIGNALS KEYS-HEX */
int attach_main(int argc, char **argv);

#endif
