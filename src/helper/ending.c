#include "ending.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "sandbox.h"
#include "util.h"

#define RULES_MAX 64
/* rmtree moves directories that lie too deep */
#define TREE                                                                                                           \
	(RIGHT_WRITE | RIGHT_READ | RIGHT_LIST | RIGHT_REMOVE_DIR | RIGHT_REMOVE | RIGHT_MAKE_DIR | RIGHT_MAKE |       \
		RIGHT_MOVE | RIGHT_TRUNCATE)

struct rules {
	struct sandbox_rule rule[RULES_MAX];
	bool opened[RULES_MAX]; /* by us */
	unsigned count;
	bool whole; /* none is missing */
};

static void add(struct rules *rules, int dir, uint64_t rights)
{
	if (dir < 0)
		return;
	if (rules->count < RULES_MAX)
		rules->rule[rules->count++] = (struct sandbox_rule){dir, rights};
	else
		rules->whole = false;
}

static void add_opened(struct rules *rules, const char *path, uint64_t rights)
{
	_cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	/* what is not there needs no rule */
	if (dir < 0 ? errno != ENOENT : rules->count == RULES_MAX)
		rules->whole = false;
	if (dir < 0 || !rules->whole)
		return;
	rules->opened[rules->count] = true;
	add(rules, take_fd(&dir), rights);
}

/* The directory that a path's last component is in. */
static void add_parent(struct rules *rules, const char *path, uint64_t rights)
{
	const char *name = strrchr(path, '/');
	char parent[PATH_MAX];

	if (!name || name - path >= (long)sizeof(parent)) {
		rules->whole = false;
		return;
	}
	memcpy(parent, path, (size_t)(name - path));
	parent[name - path] = '\0';
	add_opened(rules, *parent ? parent : "/", rights);
}

static void add_record(struct rules *rules, const struct op *op)
{
	switch (op->code) {
	case OP_UNLINK:
		add_parent(rules, op_s(op, UNLINK_PATH), RIGHT_REMOVE);
		break;
	case OP_UNLEASE:
		add_parent(rules, op_s(op, UNLEASE_PATH), RIGHT_REMOVE);
		break;
	case OP_RMDIR:
		add_parent(rules, op_s(op, RMDIR_PATH), RIGHT_REMOVE_DIR);
		break;
	case OP_RMTREE:
		add_parent(rules, op_s(op, RMTREE_PATH), TREE);
		break;
	case OP_CGROUP_REMOVE:
		add_parent(rules, op_s(op, CGROUP_REMOVE_PATH), TREE);
		break;
	case OP_JOIN_CGROUP:
		add(rules, op_fd(op, JOIN_CGROUP_DIRECTORY), RIGHT_WRITE);
		break;
	}
}

bool ending_executes(const struct run *run)
{
	return plan_find(&run->plan, SIDE_AFTER, OP_RESTART) || plan_find(&run->plan, SIDE_AFTER, OP_HANDOVER);
}

void ending_sandbox(const struct run *run, uint64_t keep, const int *dirs, unsigned count)
{
	struct rules rules = {.whole = true};
	/* a rule that cannot be made: there will be no Landlock */
	const struct sandbox_rule none = {.dir = -1};

	if (ending_executes(run)) {
		keep_capabilities(keep);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		add(&rules, dirs[i], TREE);
	for (uint32_t i = 0; i < run->plan.count; i++)
		if (run->plan.ops[i].side == SIDE_AFTER)
			add_record(&rules, &run->plan.ops[i]);
	/* behind Landlock nothing can be unmounted; and a rule that is missing would be in our own way */
	if (!rules.whole || run->companions[COMPANION_ROOT] >= 0)
		sandbox_in(SANDBOX_MONITOR, keep, &none, 1);
	else
		sandbox_in(SANDBOX_MONITOR, keep, rules.rule, rules.count);
	for (unsigned i = 0; i < rules.count; i++)
		if (rules.opened[i])
			close(rules.rule[i].dir);
}
