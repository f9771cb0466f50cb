/* What the load programs share: prepared datagrams, sockets, and counting what arrives.
 *
 * A file of prepared datagrams (python/firsthop/bench/datagrams.py writes it) is a sequence of
 *
 *     struct entry, then `length` bytes
 *
 * Each entry is one call to send: from `source` (0: whatever the socket is bound to) to
 * `dest`:`port`, as one datagram, or as a GSO train of segments of `segment` bytes. `packets` says
 * how many packets of clients the relay has to forward because of it.
 */
#ifndef FIRSTHOP_BENCH_LOAD_H
#define FIRSTHOP_BENCH_LOAD_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    MAX_OWNERS = 16,
    /* The largest datagram or GRO train. */
    TRAIN_BYTES = 64 << 10,
    /* Room for a burst of any case, so that no packet is lost at the receiving end. */
    BUFFER_BYTES = 64 << 20,
    RECEIVE_BATCH = 16,
};

struct entry {
    uint32_t source, dest; /* network byte order */
    uint16_t port;         /* network byte order */
    uint16_t segment;
    uint32_t packets;
    uint32_t length;
} __attribute__((packed));

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

static struct sockaddr_in parse_address(char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char *colon = strrchr(text, ':');
    if (!colon) {
        fprintf(stderr, "%s: expected ip:port\n", text);
        exit(2);
    }
    *colon = 0;
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
        fprintf(stderr, "%s: expected an IPv4 address\n", text);
        exit(2);
    }
    *colon = ':';
    address.sin_port = htons(atoi(colon + 1));
    return address;
}

static int bound_socket(char *text, bool gro) {
    struct sockaddr_in address = parse_address(text);
    int one = 1, bytes = BUFFER_BYTES;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail(text);
    /* FORCE takes root; without, the kernel gives what it allows everybody. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    if (gro && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) < 0) fail("UDP_GRO");
    return fd;
}

static void pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) fail("sched_setaffinity");
}

static void set_policy(int policy, int priority) {
    struct sched_param param = {.sched_priority = priority};
    if (sched_setscheduler(0, policy, &param) < 0) fail("sched_setscheduler");
}

/* Prepared datagrams, in memory. */
struct datagrams {
    const uint8_t *bytes;
    size_t size, position;
};

static struct datagrams read_datagrams(const char *path) {
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) < 0) fail(path);
    struct datagrams all = {.size = status.st_size};
    all.bytes = mmap(0, all.size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (all.bytes == MAP_FAILED) fail(path);
    close(fd);
    return all;
}

/* The next entry, or NULL at the end of the file. */
static const struct entry *next_entry(struct datagrams *all) {
    if (all->position >= all->size) return NULL;
    const struct entry *entry = (const void *)(all->bytes + all->position);
    all->position += sizeof *entry + entry->length;
    return entry;
}

/* Control messages of one send: where it comes from, and how it is cut. */
union control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
};

static void prepare(const struct entry *entry, struct msghdr *message, struct iovec *vector,
                    struct sockaddr_in *to, union control *control) {
    *to = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = entry->port, .sin_addr.s_addr = entry->dest};
    *vector = (struct iovec){(void *)(entry + 1), entry->length};
    *message = (struct msghdr){.msg_name = to, .msg_namelen = sizeof *to, .msg_iov = vector,
                               .msg_iovlen = 1, .msg_control = control->bytes,
                               .msg_controllen = sizeof control->bytes};
    size_t used = 0;
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (entry->source) {
        struct in_pktinfo info = {.ipi_spec_dst.s_addr = entry->source};
        *head = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
        memcpy(CMSG_DATA(head), &info, sizeof info);
        used += CMSG_SPACE(sizeof info);
        head = (void *)(control->bytes + used);
    }
    if (entry->segment) {
        *head = (struct cmsghdr){CMSG_LEN(sizeof entry->segment), IPPROTO_UDP, UDP_SEGMENT};
        memcpy(CMSG_DATA(head), &entry->segment, sizeof entry->segment);
        used += CMSG_SPACE(sizeof entry->segment);
    }
    message->msg_controllen = used;
    if (!used) message->msg_control = NULL;
}

/* The length of the hop header (RE1, docs/wire-format.md) that begins here; 0 if none does. */
static size_t header_length(const uint8_t *bytes, size_t left) {
    if (left < 24 || bytes[0] != 0xE5) return 0;
    return 24 + (bytes[1] & 8 ? 12 : 0) + (bytes[1] & 1 ? (bytes[1] & 4 ? 18 : 6) : 0);
}

/* Calls `each` for every client packet of one datagram. */
typedef void packet_fn(const uint8_t *packet, size_t length, void *context);

static void walk_records(const uint8_t *bytes, size_t length, packet_fn *each, void *context) {
    size_t at = 0, header;
    while ((header = header_length(bytes + at, length - at))) {
        size_t packet = bytes[at + 10] << 8 | bytes[at + 11];
        if (at + header + packet > length) break;
        each(bytes + at + header, packet, context);
        at += header + packet;
    }
}

/* Receives one batch from `fd` and calls `each` for every client packet in it: a record each if
 * `records`, a datagram each otherwise. Returns false when nothing was there. */
static bool receive_packets(int fd, bool records, packet_fn *each, void *context) {
    static uint8_t buffers[RECEIVE_BATCH][TRAIN_BYTES];
    static union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } controls[RECEIVE_BATCH];
    struct iovec vectors[RECEIVE_BATCH];
    struct mmsghdr messages[RECEIVE_BATCH];
    for (int i = 0; i < RECEIVE_BATCH; i++) {
        vectors[i] = (struct iovec){buffers[i], TRAIN_BYTES};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1,
                                              .msg_control = controls[i].bytes,
                                              .msg_controllen = sizeof controls[i].bytes};
    }
    int count = recvmmsg(fd, messages, RECEIVE_BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        size_t length = messages[i].msg_len, segment = length;
        struct cmsghdr *head = CMSG_FIRSTHDR(&messages[i].msg_hdr);
        if (head && head->cmsg_level == IPPROTO_UDP && head->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(head), sizeof size);
            segment = size;
        }
        for (size_t at = 0; at < length; at += segment) {
            size_t size = length - at < segment ? length - at : segment;
            if (records)
                walk_records(buffers[i] + at, size, each, context);
            else
                each(buffers[i] + at, size, context);
        }
    }
    return count > 0;
}

#endif
