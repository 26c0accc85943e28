// SPDX-License-Identifier: GPL-2.0-or-later
// What a container's root would use curl for: asks vzd through /dev/vz/backups. Static, for any container.
//   owner_client METHOD TARGET [TOKEN]  prints the reply as it comes
//   owner_client hold                   connects, prints "connected", then "closed" when the other side closes; stays
// Status: 0; the number of the error when it cannot connect.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/vz/backups" };
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);
	char buffer[4096];
	ssize_t n;

	if (argc < 2)
		return 1;
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno;
	if (strcmp(argv[1], "hold") == 0) {
		puts("connected");
		fflush(stdout);
		while (read(sock, buffer, sizeof(buffer)) > 0)
			;
		puts("closed");
		fflush(stdout);
		for (;;)
			pause();
	}
	if (argc < 3)
		return 1;
	dprintf(sock, "%s %s HTTP/1.1\r\nHost: vz\r\n\r\n", argv[1], argv[2]);
	while ((n = read(sock, buffer, sizeof(buffer))) > 0)
		if (write(1, buffer, (size_t)n) != n)
			return 1;
	return 0;
}
