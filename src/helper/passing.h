/* Messages over Unix sockets, each with at most one descriptor (SCM_RIGHTS). */
#ifndef PASSING_H
#define PASSING_H

#include <stddef.h>
#include <sys/types.h>

/* fd: -1 for none. flags: of send(2). Bytes sent, or -errno. */
ssize_t message_send(int socket, const void *data, size_t len, int fd, int flags);

/* *fd: what came with it, closed by execve(2), or -1. flags: of recv(2). Bytes, 0 at the end, or -errno. */
ssize_t message_receive(int socket, void *data, size_t len, int *fd, int flags);

#endif
