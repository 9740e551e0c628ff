/*
 * What goes between the monitor and its clients: datagrams (SOCK_SEQPACKET) of one type byte and a
 * body. The front process of "pycontain run" is a client over a socket pair, all others come
 * through the attach socket.
 */
#ifndef PACKET_H
#define PACKET_H

#define PACKET_DATA 32768
#define PACKET_SIZE (PACKET_DATA + 1)
/* No more is read of what an ended container has left: more than its pipes can hold, so the rest is that of others who
 * hold them open. */
#define DRAIN_MAX (4u << 20)

enum packet_type {
	/* from the monitor */
	PACKET_STARTED = 'S', /* the program runs */
	PACKET_STDOUT = 'O',  /* bytes */
	PACKET_STDERR = 'E',  /* bytes */
	PACKET_WARNING = 'W', /* text */
	PACKET_FAILED = 'F',  /* a struct frame: the launch failed */
	PACKET_EXIT = 'X',    /* int32_t: the exit status, 128+n for a signal; the container is cleaned up */
	/* from a client */
	PACKET_ATTACH = 'A', /* uint8_t: ATTACH_* */
	PACKET_STDIN = 'I',  /* bytes; the next one only when the monitor has answered with an empty one */
	PACKET_CLOSE = 'C',  /* the end of standard input */
	PACKET_RESIZE = 'R', /* uint16_t rows, uint16_t columns */
	PACKET_SIGNAL = 'K', /* uint8_t: signal for the container's init */
	PACKET_NO_RESTART = 'Q',
	PACKET_POLICY = 'P', /* uint8_t: RESTART_*, uint32_t: how often at the most; answered with an empty one */
};

#define ATTACH_OUTPUT 1
#define ATTACH_STDIN 2

#endif
