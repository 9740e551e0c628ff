/* A container's log: lines in the CRI format ("TIME STREAM F|P TEXT"), bounded and rotated. */
#ifndef LOGFILE_H
#define LOGFILE_H

#include <stddef.h>
#include <stdint.h>

struct logfile {
	int dir;	/* descriptor of the directory that holds "log", "log.1", … */
	int fd;		/* -1 where there is no log, or none any more */
	uint64_t limit; /* bytes, then it is rotated */
	unsigned files; /* how many are kept, the current one included */
	uint64_t size;
};

/* 0 or -errno. limit 0: no log. */
int log_open(struct logfile *log, int dir, uint64_t limit, unsigned files);

/* What cannot be written (a full disk) is lost: the container goes on. */
void log_write(struct logfile *log, const char *stream, const char *data, size_t len);

void log_close(struct logfile *log);

#endif
