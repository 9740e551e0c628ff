/* How long each record of a plan takes, where a record asks for it: in memory that both sides share. */
#ifndef TRACE_H
#define TRACE_H

#include "launch.h"

/* Nanoseconds of a clock that does not jump. */
uint64_t trace_now(void);

/* A record was executed; nothing where nobody asked. */
void trace_record(struct run *run, const struct op *op, uint64_t begin);

/* One line a record, in the order in which they began. Once. */
void trace_print(struct run *run);

#endif
