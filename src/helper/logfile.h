/* A container's log: lines in the CRI format ("TIME STREAM F|P TEXT"), bounded and rotated. */
#ifndef LOGFILE_H
#define LOGFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The files, "log", "log.1" … in dir: move them all on by one number first where rotate is set, so that "files" of them
 * are kept, then open "log" for appending. *size is what it has. A descriptor or -errno. */
int log_file(int dir, unsigned files, bool rotate, uint64_t *size);

struct logfile {
	int fd;		/* -1 where there is no log, or none any more */
	uint64_t limit; /* bytes, then it is rotated; 0: no log */
	uint64_t size;
	/* Who writes a log need not be who may open it: sets fd and size, 0 or -errno. */
	int (*open)(struct logfile *log, bool rotate);
};

/* What cannot be written (a full disk) is lost: the container goes on. */
void log_write(struct logfile *log, const char *stream, const char *data, size_t len);

void log_close(struct logfile *log);

#endif
