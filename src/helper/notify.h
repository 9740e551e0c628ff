#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdbool.h>
#include <sys/types.h>

/* One datagram of the container's program. 1 when it said that it is ready, and the service manager at ``host`` was
 * told so, with main as the service's main process; 0 when it was something else, or -errno. */
int notify_pass(int socket, const char *host, pid_t main);

/* Until the program is ready, or has ended; then until the service manager has read it. */
int notify_wait(int socket, const char *host, int pidfd, pid_t main);

struct run;

/* Tells the service manager whose main process this is that it has started, and gives back its place among those that
 * start (the record service_ready). */
void notify_service(struct run *run);

int notify_main(int argc, char **argv);

/* Whether one of the lines is READY=1; the text is taken apart. */
bool notify_is_ready(char *text);

#endif
