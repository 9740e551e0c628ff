#include "plan.h"

#include <stdbool.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct definition {
	const char *name;
	const char *kinds;
};

#define DEFINE(number, op, kinds) [number] = {#op, kinds},
static const struct definition definitions[OP_COUNT] = {EACH_OP(DEFINE)};

struct header {
	char magic[8];
	uint32_t version, size, count, zero;
};

struct record {
	uint16_t code;
	uint8_t side, zero;
	uint32_t size;
};

const char *op_name(unsigned code)
{
	return code < OP_COUNT && definitions[code].name ? definitions[code].name : "?";
}

static size_t padded(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static uint32_t u32_at(const char *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

/* How many strings, each ended by NUL, fill the text exactly; -EBADMSG when the last is not ended. */
static int64_t count_strings(const char *text, uint32_t len)
{
	int64_t count = 0;

	if (len > 0 && text[len - 1] != '\0')
		return -EBADMSG;
	for (uint32_t i = 0; i < len; i++)
		count += text[i] == '\0';
	return count;
}

/* One field at *at; what it takes is added to *at. */
static int decode_field(struct field *field, char kind, const char *data, size_t size, size_t *at)
{
	size_t left = size - *at, head = kind == 'l' ? 8 : 4, need;

	if (left < 8)
		return -EBADMSG;
	if (kind == 'n') {
		memcpy(&field->number, data + *at, 8);
		*at += 8;
		return 0;
	}
	field->len = u32_at(data + *at);
	field->text = data + *at + head;
	if (field->len > size)
		return -EBADMSG;
	need = padded(head + field->len + (kind == 'l' ? 0 : 1));
	if (need > left)
		return -EBADMSG;
	if (kind == 'l') {
		field->count = u32_at(data + *at + 4);
		if (count_strings(field->text, field->len) != field->count)
			return -EBADMSG;
	} else if (field->text[field->len] != '\0') {
		return -EBADMSG;
	} else if (kind == 's' && memchr(field->text, '\0', field->len)) {
		return -EBADMSG;
	}
	*at += need;
	return 0;
}

static int decode_record(struct op *op, const char *data, size_t size, size_t *at)
{
	struct record record;
	size_t pos = *at + sizeof(record), end;
	const char *kinds;

	if (size - *at < sizeof(record))
		return -EBADMSG;
	memcpy(&record, data + *at, sizeof(record));
	if (record.size < sizeof(record) || record.size % 8 || record.size > size - *at)
		return -EBADMSG;
	if (record.code >= OP_COUNT || !definitions[record.code].name || record.side >= SIDE_COUNT || record.zero)
		return -EBADMSG;
	op->code = record.code;
	op->side = record.side;
	end = *at + record.size;
	kinds = definitions[record.code].kinds;
	for (int i = 0; kinds[i]; i++) {
		int r = decode_field(&op->field[i], kinds[i], data, end, &pos);

		if (r < 0)
			return r;
	}
	if (pos != end)
		return -EBADMSG;
	*at = end;
	return 0;
}

/* What no single record shows: a guest exists before it has something to do, and its part ends in
 * exec. */
static int check_order(const struct plan *plan)
{
	bool cloned = false, executed = false;

	for (uint32_t i = 0; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];

		if (op->side == SIDE_HOST && op->code == OP_CLONE) {
			if (cloned)
				return -EBADMSG;
			cloned = true;
		}
		if (op->side == SIDE_GUEST) {
			if (!cloned || executed)
				return -EBADMSG;
			executed = op->code == OP_EXEC;
		}
		if (op->code == OP_CLONE && op->side != SIDE_HOST)
			return -EBADMSG;
	}
	return cloned == executed ? 0 : -EBADMSG;
}

int plan_decode(struct plan *plan, const char *data, size_t size)
{
	struct header header;
	size_t at = sizeof(header);

	*plan = (struct plan){0};
	if (size < sizeof(header) || size > PLAN_MAX_SIZE)
		return -EBADMSG;
	memcpy(&header, data, sizeof(header));
	if (memcmp(header.magic, "PYCPLAN\0", 8) || header.version != PLAN_VERSION || header.size != size)
		return -EBADMSG;
	if (header.zero || header.count > PLAN_MAX_RECORDS || header.count > size / sizeof(struct record))
		return -EBADMSG;
	plan->ops = calloc(header.count ? header.count : 1, sizeof(*plan->ops));
	if (!plan->ops)
		return -ENOMEM;
	for (plan->count = 0; plan->count < header.count; plan->count++) {
		int r;

		plan->bad_record = plan->ops[plan->count].record = plan->count;
		r = decode_record(&plan->ops[plan->count], data, size, &at);
		if (r < 0)
			return r;
	}
	if (at != size)
		return -EBADMSG;
	return check_order(plan);
}

const struct op *plan_find(const struct plan *plan, unsigned side, unsigned code)
{
	for (uint32_t i = 0; i < plan->count; i++)
		if (plan->ops[i].side == side && plan->ops[i].code == code)
			return &plan->ops[i];
	return NULL;
}

void plan_keep(struct plan *plan, unsigned side)
{
	struct op *less;
	uint32_t count = 0;

	for (uint32_t i = 0; i < plan->count; i++)
		if (plan->ops[i].side == side)
			plan->ops[count++] = plan->ops[i];
	plan->count = count;
	less = realloc(plan->ops, (count ? count : 1) * sizeof(*plan->ops));
	if (less)
		plan->ops = less;
}

char **op_strings(const struct field *field)
{
	char **vector = malloc(((size_t)field->count + 1) * sizeof(*vector));
	const char *at = field->text;

	if (!vector)
		return NULL;
	for (uint32_t i = 0; i < field->count; i++) {
		vector[i] = (char *)at;
		at += strlen(at) + 1;
	}
	vector[field->count] = NULL;
	return vector;
}
