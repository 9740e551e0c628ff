/* A launch plan: decode and check. The format is in docs/design.md. */
#ifndef PLAN_H
#define PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "ops.gen.h"

#define PLAN_VERSION 1
#define PLAN_MAX_SIZE (8u << 20)
#define PLAN_MAX_RECORDS 65536u

/* n: number. s, b: text and len (a NUL follows). l: text, len and count strings, each ended by NUL.
 */
struct field {
	uint64_t number;
	const char *text;
	uint32_t len;
	uint32_t count;
};

struct op {
	uint16_t code;
	uint8_t side;
	uint32_t record; /* its number in the plan */
	struct field field[MAX_FIELDS];
};

struct plan {
	struct op *ops;
	uint32_t count;
	uint32_t bad_record; /* where decoding failed */
};

/* Checks everything before it returns; -EBADMSG for anything that is not right, -ENOMEM. The plan
 * points into data. */
int plan_decode(struct plan *plan, const char *data, size_t size);

const char *op_name(unsigned code);

/* The first record of this kind on this side, or NULL. */
const struct op *plan_find(const struct plan *plan, unsigned side, unsigned code);

/* Forget all but what is for this side: who stays is to be small. Pointers to records are invalid afterwards. */
void plan_keep(struct plan *plan, unsigned side);

/* A list field as an argument vector ended by NULL, to be freed; NULL without memory. */
char **op_strings(const struct field *field);

#define op_n(op, f) ((op)->field[F_##f].number)
#define op_fd(op, f) ((int)(int64_t)(op)->field[F_##f].number)
#define op_s(op, f) ((op)->field[F_##f].text)

#endif
