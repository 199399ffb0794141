/* Preloaded into a process under test: whatever leaves this machine by name or address is written down and refused.
 *
 * Loopback, Unix sockets and this host's own name pass. Each line of the file named by OUTBOUND_LOG is
 * "<program> <call> <name or address>". Native libraries are seen like Python, because both call the C library.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void write_down(const char *call, const char *what) {
    const char *path = getenv("OUTBOUND_LOG");
    if (path == NULL) return;
    int saved = errno, file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0) {
        char line[512];
        int size = snprintf(line, sizeof line, "%s %s %.200s\n", program_invocation_short_name, call, what);
        if (size > 0 && write(file, line, (size_t)size) < 0) abort();
        close(file);
    }
    errno = saved;
}

static int is_local_name(const char *name) {
    char own[256] = "";
    unsigned char address[sizeof(struct in6_addr)];
    gethostname(own, sizeof own - 1);
    return name == NULL || *name == '\0' || strcmp(name, "localhost") == 0 || strcmp(name, own) == 0 ||
           inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

static int is_local_address(const struct sockaddr *to) {
    if (to == NULL) return 1;
    if (to->sa_family == AF_INET) {
        uint32_t address = ntohl(((const struct sockaddr_in *)to)->sin_addr.s_addr);
        return address >> 24 == 127 || address == 0;
    }
    if (to->sa_family == AF_INET6) {
        const struct in6_addr *address = &((const struct sockaddr_in6 *)to)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(address)) return address->s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(address) || IN6_IS_ADDR_UNSPECIFIED(address);
    }
    return 1;
}

static int refused(const char *call, const struct sockaddr *to) {
    char text[INET6_ADDRSTRLEN] = "", shown[INET6_ADDRSTRLEN + 16];
    int six = to->sa_family == AF_INET6;
    const void *address = six ? (const void *)&((const struct sockaddr_in6 *)to)->sin6_addr
                              : (const void *)&((const struct sockaddr_in *)to)->sin_addr;
    int port = ntohs(six ? ((const struct sockaddr_in6 *)to)->sin6_port : ((const struct sockaddr_in *)to)->sin_port);
    inet_ntop(to->sa_family, address, text, sizeof text);
    snprintf(shown, sizeof shown, "%s:%d", text, port);
    write_down(call, shown);
    errno = ECONNREFUSED;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int connect(int socket, const struct sockaddr *to, socklen_t size) {
    return is_local_address(to) ? REAL(connect)(socket, to, size) : refused("connect", to);
}

ssize_t sendto(int socket, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t size) {
    return is_local_address(to) ? REAL(sendto)(socket, data, n, flags, to, size) : refused("sendto", to);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
    const struct sockaddr *to = message->msg_name;
    return is_local_address(to) ? REAL(sendmsg)(socket, message, flags) : refused("sendmsg", to);
}

int sendmmsg(int socket, struct mmsghdr *messages, unsigned int n, int flags) {
    for (unsigned int i = 0; i < n; i++)
        if (!is_local_address(messages[i].msg_hdr.msg_name)) return refused("sendmmsg", messages[i].msg_hdr.msg_name);
    return REAL(sendmmsg)(socket, messages, n, flags);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    if (is_local_name(name)) return REAL(getaddrinfo)(name, service, hints, found);
    write_down("getaddrinfo", name);
    return EAI_NONAME;
}

struct hostent *gethostbyname(const char *name) {
    if (is_local_name(name)) return REAL(gethostbyname)(name);
    write_down("gethostbyname", name);
    h_errno = HOST_NOT_FOUND;
    return NULL;
}

struct hostent *gethostbyname2(const char *name, int family) {
    if (is_local_name(name)) return REAL(gethostbyname2)(name, family);
    write_down("gethostbyname2", name);
    h_errno = HOST_NOT_FOUND;
    return NULL;
}

int gethostbyname_r(const char *name, struct hostent *made, char *buffer, size_t size, struct hostent **found,
                    int *fault) {
    if (is_local_name(name)) return REAL(gethostbyname_r)(name, made, buffer, size, found, fault);
    write_down("gethostbyname_r", name);
    *found = NULL;
    *fault = HOST_NOT_FOUND;
    return 0;
}

int gethostbyname2_r(const char *name, int family, struct hostent *made, char *buffer, size_t size,
                     struct hostent **found, int *fault) {
    if (is_local_name(name)) return REAL(gethostbyname2_r)(name, family, made, buffer, size, found, fault);
    write_down("gethostbyname2_r", name);
    *found = NULL;
    *fault = HOST_NOT_FOUND;
    return 0;
}
