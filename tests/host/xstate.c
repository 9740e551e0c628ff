/* For LD_PRELOAD to User-mode Linux 6.1 on a processor with AMX.
 *
 * That kernel keeps 2696 bytes of a process's extended registers; the host's kernel has 11 KB there
 * and takes only the whole. Here ptrace(2) fills up what is missing with registers in their initial
 * state, which no guest process has used.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

/* x87, SSE, AVX, the three of AVX-512, PKRU: what lies within 2696 bytes. */
static const uint64_t kept = 0x2e7;
/* Intel SDM, volume 1, 13.4: the header with the bit map of what is not in its initial state. */
static const size_t header = 512;

static size_t whole;
static unsigned char buffer[1 << 16] __attribute__((aligned(64)));

typedef long ptrace_function(int request, long pid, void *address, void *data);

static long get(ptrace_function *real, long pid, void *address, struct iovec *asked)
{
	struct iovec all = {buffer, sizeof buffer};
	long result = real(PTRACE_GETREGSET, pid, address, &all);
	if (result)
		return result;
	whole = all.iov_len;
	if (asked->iov_len > whole)
		asked->iov_len = whole;
	memcpy(asked->iov_base, buffer, asked->iov_len);
	return 0;
}

static long set(ptrace_function *real, long pid, void *address, const struct iovec *asked)
{
	struct iovec all = {buffer, whole};
	size_t given = asked->iov_len < whole ? asked->iov_len : whole;
	uint64_t used;
	memcpy(buffer, asked->iov_base, given);
	memset(buffer + given, 0, whole - given);
	memcpy(&used, buffer + header, sizeof used);
	used &= kept;
	memcpy(buffer + header, &used, sizeof used);
	return real(PTRACE_SETREGSET, pid, address, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_function *real;
	va_list list;
	va_start(list, request);
	long pid = va_arg(list, long);
	void *address = va_arg(list, void *);
	void *data = va_arg(list, void *);
	va_end(list);
	if (!real)
		real = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
	if ((intptr_t)address == NT_X86_XSTATE && request == PTRACE_GETREGSET)
		return get(real, pid, address, data);
	if ((intptr_t)address == NT_X86_XSTATE && request == PTRACE_SETREGSET)
		return set(real, pid, address, data);
	return real((int)request, pid, address, data);
}
