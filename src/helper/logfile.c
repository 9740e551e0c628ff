#include "logfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "util.h"

#define STAMP_SIZE 64

static void name(char buf[32], unsigned number)
{
	if (number)
		snprintf(buf, 32, "log.%u", number);
	else
		strcpy(buf, "log");
}

/* log.1 becomes log.2 and so on; the oldest is overwritten. */
static void move_on(int dir, unsigned files)
{
	char from[32], to[32];

	for (unsigned i = files - 1; i > 0; i--) {
		name(from, i - 1);
		name(to, i);
		renameat(dir, from, dir, to);
	}
}

int log_file(int dir, unsigned files, bool rotate, uint64_t *size)
{
	int extra = rotate && files <= 1 ? O_TRUNC : 0, fd;
	struct stat st;

	if (rotate && files > 1)
		move_on(dir, files);
	fd = openat(dir, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | extra, 0640);
	if (fd < 0)
		return -errno;
	*size = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	return fd;
}

void log_close(struct logfile *log)
{
	close_p(&log->fd);
	log->fd = -1;
}

static size_t stamp(char buf[STAMP_SIZE], const char *stream)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	return (size_t)snprintf(buf, STAMP_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ %s ", tm.tm_year + 1900,
		tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec, stream);
}

/* Whole lines. */
static void put(struct logfile *log, const char *data, size_t len)
{
	/* a disk that was full when the file should have been made may have room by now */
	if (log->fd < 0 && log->open(log, false) < 0)
		return;
	if (write_all(log->fd, data, len) < 0) {
		/* half a line would spoil the next one; where that fails as well, it does */
		(void)ftruncate(log->fd, (off_t)log->size);
		return;
	}
	log->size += len;
	if (log->size >= log->limit) {
		log_close(log);
		log->open(log, true);
	}
}

void log_write(struct logfile *log, const char *stream, const char *data, size_t len)
{
	char buf[8192], head[STAMP_SIZE];
	size_t head_len, used = 0;

	if (!log->limit)
		return;
	head_len = stamp(head, stream);
	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t line = end ? (size_t)(end - data) : len;
		bool whole = end;

		/* a long line is written in parts */
		if (line > sizeof(buf) / 2) {
			line = sizeof(buf) / 2;
			whole = false;
		}
		if (used + head_len + 3 + line > sizeof(buf)) {
			put(log, buf, used);
			used = 0;
		}
		memcpy(buf + used, head, head_len);
		used += head_len;
		buf[used++] = whole ? 'F' : 'P';
		buf[used++] = ' ';
		memcpy(buf + used, data, line);
		used += line;
		buf[used++] = '\n';
		data += line + whole;
		len -= line + whole;
	}
	put(log, buf, used);
}
