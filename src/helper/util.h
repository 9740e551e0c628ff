/* Small things that every file uses.
 *
 * Error convention of the helper: a function that can fail returns a value >= 0, or -errno.
 * Descriptors are closed and memory is freed by the cleanup attributes below.
 */
#ifndef UTIL_H
#define UTIL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#define _cleanup_close_ __attribute__((cleanup(close_p)))
#define _cleanup_free_ __attribute__((cleanup(free_p)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void close_p(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void free_p(void *p)
{
	free(*(void **)p);
}

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* The result of a system call as >= 0 or -errno. */
static inline int sysret(long r)
{
	return r < 0 ? -errno : (int)r;
}

/*
 * recv(2) of what a peer sent before it went: a peer that closes its end with packets of ours unread leaves ECONNRESET,
 * which the kernel reports once, and before the packets that are still there to be read (unix(7) does not tell).
 */
ssize_t recv_last(int fd, void *buf, size_t len);

/* Close all descriptors from 3 on but two, each of which may be -1. */
void close_all_but(int one, int other);

/* All of the buffer, however many writes it takes. */
int write_all(int fd, const void *data, size_t len);

/* Up to size bytes of a file; how many there were. */
ssize_t read_file_at(int dirfd, const char *path, char *buf, size_t size);

/* One write of a short text into an existing file. */
int write_file_at(int dirfd, const char *path, int extra_flags, const char *text, size_t len);

/* Unsigned decimal number without sign or blanks; -EINVAL, -ERANGE. */
int parse_u64(const char *text, uint64_t *value);

/* Keep our descriptors out of 0, 1, 2 where the caller closed them. */
void fill_standard_fds(void);

#endif
