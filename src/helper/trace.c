#include "trace.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "util.h"

struct trace {
	int fd;
	uint32_t count;
	const struct field *words;
	struct {
		uint64_t begin, end;
	} records[];
};

uint64_t trace_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int op_trace(struct run *run, const struct op *op)
{
	size_t size = sizeof(struct trace) + run->plan.count * sizeof(run->trace->records[0]);
	struct trace *trace = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (trace == MAP_FAILED)
		return -errno;
	trace->fd = op_fd(op, TRACE_FD);
	trace->count = run->plan.count;
	trace->words = &op->field[F_TRACE_WORDS];
	run->trace = trace;
	return 0;
}

void trace_record(struct run *run, const struct op *op, uint64_t begin)
{
	if (!run->trace)
		return;
	run->trace->records[op->record].begin = begin;
	run->trace->records[op->record].end = trace_now();
}

/* The record that began next after this moment, and after the last one with the same. */
static uint32_t next_record(const struct trace *trace, uint64_t after, uint32_t last)
{
	uint32_t found = UINT32_MAX;

	for (uint32_t i = 0; i < trace->count; i++) {
		uint64_t begin = trace->records[i].begin;

		if (begin < after || (begin == after && i <= last) || !begin)
			continue;
		if (found == UINT32_MAX || begin < trace->records[found].begin)
			found = i;
	}
	return found;
}

static const char *words_of(const struct trace *trace, uint32_t record)
{
	const char *at = trace->words->text;

	if (record >= trace->words->count)
		return "";
	while (record--)
		at += strlen(at) + 1;
	return at;
}

/* No dprintf(3): by now a sandbox may be in force. */
static void print_line(const struct trace *trace, uint64_t began, uint64_t took, const char *words)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "%8u.%u %8u.%u  %s\n", (unsigned)(began / 1000),
		(unsigned)(began / 100 % 10), (unsigned)(took / 1000), (unsigned)(took / 100 % 10), words);

	if (n >= (int)sizeof(line)) {
		n = sizeof(line);
		line[sizeof(line) - 1] = '\n';
	}
	write_all(trace->fd, line, (size_t)n);
}

void trace_print(struct run *run)
{
	static const char head[] = "  began us    took us  side  operation\n";
	struct trace *trace = run->trace;
	uint64_t first = 0, after = 0;

	if (!trace)
		return;
	run->trace = NULL;
	write_all(trace->fd, head, sizeof(head) - 1);
	for (uint32_t i = next_record(trace, 1, UINT32_MAX); i != UINT32_MAX; i = next_record(trace, after, i)) {
		after = trace->records[i].begin;
		first = first ? first : after;
		print_line(trace, after - first, trace->records[i].end - after, words_of(trace, i));
	}
}
