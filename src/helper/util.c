#include "util.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <string.h>

#include "sys.h"

ssize_t recv_last(int fd, void *buf, size_t len)
{
	ssize_t n = recv(fd, buf, len, 0);

	return n < 0 && errno == ECONNRESET ? recv(fd, buf, len, 0) : n;
}

void close_all_but(int one, int other)
{
	int low = one < other ? one : other, high = one < other ? other : one;

	if (low > 3)
		sys_close_range(3, (unsigned)low - 1, 0);
	if (high > low + 1 && high > 3)
		sys_close_range(low < 3 ? 3 : (unsigned)low + 1, (unsigned)high - 1, 0);
	sys_close_range(high < 3 ? 3 : (unsigned)high + 1, ~0u, 0);
}

int write_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) { /* whoever shares it with us has made it so */
			struct pollfd full = {.fd = fd, .events = POLLOUT};

			poll(&full, 1, -1);
			continue;
		}
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t read_file_at(int dirfd, const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t total = 0;

	if (fd < 0)
		return -errno;
	while (total < size) {
		ssize_t n = read(fd, buf + total, size - total);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		total += (size_t)n;
	}
	return (ssize_t)total;
}

int write_file_at(int dirfd, const char *path, int extra_flags, const char *text, size_t len)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY | extra_flags, 0600);
	ssize_t n;

	if (fd < 0)
		return -errno;
	/* kernel files take a value in one write */
	n = write(fd, text, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int parse_u64(const char *text, uint64_t *value)
{
	uint64_t v = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (digit > 9)
			return -EINVAL;
		if (v > (UINT64_MAX - digit) / 10)
			return -ERANGE;
		v = v * 10 + digit;
	}
	*value = v;
	return 0;
}

void fill_standard_fds(void)
{
	int fd = open("/dev/null", O_RDWR);

	while (fd >= 0 && fd < 2)
		fd = dup(fd);
	if (fd > 2)
		close(fd);
}
