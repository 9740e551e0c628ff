/* libFuzzer: the decoder of launch plans. What it takes, it must be able to hand out field by field. */
#include <stdlib.h>
#include <string.h>

#include "plan.h"

static volatile uint64_t sink;

static void use_field(const struct field *field, char kind)
{
	char **strings;

	switch (kind) {
	case 'n':
		sink += field->number;
		break;
	case 's':
		if (strlen(field->text) != field->len)
			abort();
		break;
	case 'b':
		for (uint32_t i = 0; i < field->len; i++)
			sink += (unsigned char)field->text[i];
		break;
	case 'l':
		strings = op_strings(field);
		for (uint32_t i = 0; strings && i < field->count; i++)
			sink += strlen(strings[i]);
		free(strings);
		break;
	}
}

#define KINDS(number, op, kinds) [number] = kinds,
static const char *const kinds_of[OP_COUNT] = {EACH_OP(KINDS)};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct plan plan;

	if (plan_decode(&plan, (const char *)data, size) == 0) {
		for (uint32_t i = 0; i < plan.count; i++) {
			const char *kinds = kinds_of[plan.ops[i].code];

			if (plan.ops[i].record != i || plan.ops[i].side >= SIDE_COUNT)
				abort();
			for (int f = 0; kinds[f]; f++)
				use_field(&plan.ops[i].field[f], kinds[f]);
		}
		plan_find(&plan, SIDE_FRONT, OP_FRONT);
	}
	free(plan.ops);
	return 0;
}
