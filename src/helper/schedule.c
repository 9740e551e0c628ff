/* When a process runs, where, and on whose memory: scheduler, I/O priority, CPU affinity, memory policy, resctrl. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "launch.h"
#include "sys.h"
#include "util.h"

/* struct sched_attr of linux/sched/types.h, in its first version */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

int op_scheduler(struct run *run, const struct op *op)
{
	struct attributes attr = {.size = sizeof(attr)};

	attr.policy = (uint32_t)op_n(op, SCHEDULER_POLICY);
	attr.flags = op_n(op, SCHEDULER_FLAGS);
	attr.nice = (int32_t)op_n(op, SCHEDULER_NICE);
	attr.priority = (uint32_t)op_n(op, SCHEDULER_PRIORITY);
	attr.runtime = op_n(op, SCHEDULER_RUNTIME);
	attr.deadline = op_n(op, SCHEDULER_DEADLINE);
	attr.period = op_n(op, SCHEDULER_PERIOD);
	return sysret(syscall(SYS_sched_setattr, run->pid, &attr, 0));
}

int op_io_priority(struct run *run, const struct op *op)
{
	return sysret(syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, run->pid, (int)op_n(op, IO_PRIORITY_VALUE)));
}

/* A bit mask as the kernel wants it: whole words, aligned. */
static int aligned_mask(const struct field *field, uint64_t *mask, size_t size)
{
	if (field->len > size || field->len % sizeof(*mask))
		return -EINVAL;
	memcpy(mask, field->text, field->len);
	return 0;
}

int op_affinity(struct run *run, const struct op *op)
{
	const struct field *field = &op->field[F_AFFINITY_MASK];
	uint64_t mask[128];
	int r = aligned_mask(field, mask, sizeof(mask));

	return r < 0 ? r : sysret(syscall(SYS_sched_setaffinity, run->pid, (size_t)field->len, mask));
}

int op_memory_policy(struct run *run, const struct op *op)
{
	const struct field *field = &op->field[F_MEMORY_POLICY_NODES];
	uint64_t nodes[64];
	int r = aligned_mask(field, nodes, sizeof(nodes));

	(void)run;
	if (r < 0)
		return r;
	/* the kernel's maxnode is one more than it reads */
	return sysret(syscall(SYS_set_mempolicy, (int)op_n(op, MEMORY_POLICY_MODE), field->len ? nodes : NULL,
		field->len ? (unsigned long)field->len * 8 + 1 : 0));
}

int op_join_tasks(struct run *run, const struct op *op)
{
	char path[4096], text[16];
	int n = snprintf(text, sizeof(text), "%d", run->pid);

	if (snprintf(path, sizeof(path), "%s/tasks", op_s(op, JOIN_TASKS_DIRECTORY)) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return write_file_at(AT_FDCWD, path, 0, text, (size_t)n);
}
