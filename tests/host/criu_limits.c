/* For CRIU on a machine whose root has no CAP_SYS_RESOURCE: prlimit(2) of a process with other user IDs is refused to it
 * there, also where nothing is set. The kernel shows the same figures to everybody in /proc/PID/limits. All else is the
 * kernel's answer. Loaded by the loader's --preload; CRIU calls syscall(3). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

struct limit {
	unsigned long soft, hard;
};

/* In the order of RLIMIT_*: fs/proc/base.c, lnames. */
static const char *const names[] = {"Max cpu time", "Max file size", "Max data size", "Max stack size",
	"Max core file size", "Max resident set", "Max processes", "Max open files", "Max locked memory",
	"Max address space", "Max file locks", "Max pending signals", "Max msgqueue size", "Max nice priority",
	"Max realtime priority", "Max realtime timeout"};

static unsigned long value(const char *text)
{
	return *text == 'u' ? ~0UL : strtoul(text, NULL, 10);
}

static long read_limit(long pid, unsigned long which, struct limit *limit)
{
	char path[64], line[256], soft[32], hard[32];
	long r = -EPERM;
	FILE *file;

	if (which >= sizeof(names) / sizeof(names[0]))
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/%ld/limits", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, names[which], strlen(names[which])) &&
			sscanf(line + 26, "%31s %31s", soft, hard) == 2) {
			limit->soft = value(soft);
			limit->hard = value(hard);
			r = 0;
		}
	if (file)
		fclose(file);
	return r;
}

static long raw(long number, const long *a)
{
	register long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

long syscall(long number, long a, long b, long c, long d, long e, long f)
{
	const long all[] = {a, b, c, d, e, f};
	long r = raw(number, all);

	if (r == -EPERM && number == SYS_prlimit64 && a && !c && d)
		r = read_limit(a, (unsigned long)b, (struct limit *)d);
	if (r < 0 && r > -4096) {
		errno = (int)-r;
		return -1;
	}
	return r;
}
