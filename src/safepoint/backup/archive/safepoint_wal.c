/*
 * safepoint-wal push FILE: PostgreSQL's archive_command. Asks the resident pusher, over the socket that wire.py names,
 * whether this very file is durable in every repository; without one becomes `safepoint wal push`, the program beside
 * it. helper.py is the same in Python; change both.
 *
 * Exit code 0: durable. 1: not, and PostgreSQL tries again; the reason is on stderr. Never above 125, which would end
 * the archiver itself (src/backend/postmaster/pgarch.c).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY 1
#define SILENCE_SECONDS 30
#define LONGEST_ANSWER 65536
#define USAGE "usage: safepoint-wal push FILE [--socket PATH] [--database NAME] [--config FILE]"

static void fail(const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(RETRY);
}

/* The socket's path, as wire.socket_path; 0 when it does not fit. */
static int socket_path(const char *named, char *path, size_t size)
{
    const char *base;
    struct stat here;
    struct passwd *user;
    int length;

    if (named == NULL || *named == '\0')
        named = getenv("SAFEPOINT_WAL_SOCKET");
    if (named != NULL && *named != '\0')
        return (length = snprintf(path, size, "%s", named)) > 0 && (size_t) length < size;
    if (stat(".", &here) != 0)
        return 0;
    if ((base = getenv("SAFEPOINT_STATE")) != NULL && *base != '\0')
        length = snprintf(path, size, "%s/wal/%llx-%llx.sock", base,
                          (unsigned long long) here.st_dev, (unsigned long long) here.st_ino);
    else if ((base = getenv("XDG_STATE_HOME")) != NULL && *base == '/')
        length = snprintf(path, size, "%s/safepoint/wal/%llx-%llx.sock", base,
                          (unsigned long long) here.st_dev, (unsigned long long) here.st_ino);
    else
    {
        base = getenv("HOME");
        if ((base == NULL || *base == '\0') && (user = getpwuid(geteuid())) != NULL)
            base = user->pw_dir;
        if (base == NULL)
            return 0;
        length = snprintf(path, size, "%s/.local/state/safepoint/wal/%llx-%llx.sock", base,
                          (unsigned long long) here.st_dev, (unsigned long long) here.st_ino);
    }
    return length > 0 && (size_t) length < size;
}

/* Whether this user or root listens there: whoever else did could acknowledge what nobody holds. */
static int is_trusted(int connection)
{
#ifdef SO_PEERCRED
    struct ucred peer;
    socklen_t size = sizeof peer;

    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return 0;
    return peer.uid == geteuid() || peer.uid == 0;
#else
    uid_t uid;
    gid_t gid;

    return getpeereid(connection, &uid, &gid) == 0 && (uid == geteuid() || uid == 0);
#endif
}

/* A connection to the pusher; -1 when there is none. */
static int connect_pusher(const char *named)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval silence = {.tv_sec = SILENCE_SECONDS};
    int connection;

    if (!socket_path(named, address.sun_path, sizeof address.sun_path))
        return -1;
    connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connection < 0)
        return -1;
    fcntl(connection, F_SETFD, FD_CLOEXEC);
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence);
    if (connect(connection, (struct sockaddr *) &address, sizeof address) != 0 || !is_trusted(connection))
    {
        close(connection);
        return -1;
    }
    return connection;
}

/* The line `1 push NAME` and the open file are on their way; 0 when the pusher is gone. */
static int send_request(int connection, const char *name, int file)
{
    char line[512], control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {.iov_base = line};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header;
    int length = snprintf(line, sizeof line, "1 push %s\n", name);

    if (length < 0 || (size_t) length >= sizeof line)
        fail("safepoint-wal: found a file name of %zu bytes, expected one of PostgreSQL's", strlen(name));
    part.iov_len = (size_t) length;
    memset(control, 0, sizeof control);
    header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &file, sizeof file);
    return sendmsg(connection, &message, MSG_NOSIGNAL) == length;
}

/* What the pusher says until it closes, without its `wait` lines; ends in a zero byte. */
static char *receive_answer(int connection)
{
    static char answer[LONGEST_ANSWER + 1];
    size_t held = 0;
    ssize_t got;

    while (held < LONGEST_ANSWER && (got = recv(connection, answer + held, LONGEST_ANSWER - held, 0)) != 0)
    {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        held += (size_t) got;
        while (held >= 5 && memcmp(answer, "wait\n", 5) == 0)
            memmove(answer, answer + 5, held -= 5);
    }
    answer[held] = '\0';
    return answer;
}

static void work_inline(int count, char **arguments)
{
    char program[4096];
    char **command = calloc((size_t) count + 2, sizeof *command);
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - sizeof "safepoint");
    char *slash;

    if (command == NULL)
        fail("safepoint-wal: out of memory");
    command[0] = "safepoint";
    command[1] = "wal";
    memcpy(command + 2, arguments + 1, (size_t) count * sizeof *command);
    if (length > 0)
    {
        program[length] = '\0';
        if ((slash = strrchr(program, '/')) != NULL)
        {
            strcpy(slash + 1, "safepoint");
            execv(program, command);
        }
    }
    execvp("safepoint", command);
    fail("safepoint-wal: found no pusher, and no program safepoint beside it or on PATH: %s", strerror(errno));
}

static const char *socket_in(int count, char **arguments)
{
    for (int at = 1; at < count; at++)
    {
        if (strcmp(arguments[at], "--socket") == 0 && at + 1 < count)
            return arguments[at + 1];
        if (strncmp(arguments[at], "--socket=", 9) == 0)
            return arguments[at] + 9;
    }
    return NULL;
}

int main(int count, char **arguments)
{
    const char *name, *answer;
    int file, connection;

    if (count < 3 || strcmp(arguments[1], "push") != 0 || arguments[2][0] == '-')
        fail(USAGE);
    file = open(arguments[2], O_RDONLY | O_CLOEXEC);
    if (file < 0)
        fail("safepoint-wal: %s: %s", arguments[2], strerror(errno));
    connection = connect_pusher(socket_in(count, arguments));
    if (connection < 0)
        work_inline(count, arguments);
    name = strrchr(arguments[2], '/');
    name = name == NULL ? arguments[2] : name + 1;
    answer = send_request(connection, name, file) ? receive_answer(connection) : "";
    if (strcmp(answer, "ok\n") == 0)
        return 0;
    if (strncmp(answer, "no\n", 3) == 0)
        fail("safepoint-wal: %s", answer + 3);
    fail("safepoint-wal: the pusher went away before it had answered");
}
