/* What the C relays share: arguments, flows by client address, and a header in front of packets.
 *
 *     PROGRAM LISTEN UPSTREAM OWNER...      each as ip:port
 *
 * A client's first packet makes its flow, which goes to the owners in turn. The header has the
 * size and the layout of firsthop's hop header (docs/wire-format.md) and is made once per flow;
 * its MAC is left zero and is not checked: these relays do the least work that can be compared.
 */
#ifndef FIRSTHOP_BENCH_RELAY_H
#define FIRSTHOP_BENCH_RELAY_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    HEADER = 24,
    PACKET = 2048,
    MAX_OWNERS = 16,
    /* A power of two, several times the flows of any case these relays run. */
    TABLE = 1 << 13,
};

struct flow {
    struct sockaddr_in client; /* a zero family marks a free slot */
    struct sockaddr_in *owner;
    uint8_t header[HEADER];
};

static struct flow flows[TABLE];
static struct sockaddr_in owners[MAX_OWNERS];
static int owner_count, flow_count;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in parse_address(char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char *colon = strrchr(text, ':');
    if (!colon) fail(text);
    *colon = 0;
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) fail(text);
    address.sin_port = htons(atoi(colon + 1));
    return address;
}

static int bound_socket(char *text) {
    struct sockaddr_in address = parse_address(text);
    int bytes = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return fd;
}

/* Opens the sockets that the arguments name. */
static void open_sockets(int argc, char **argv, int *public, int *upstream) {
    if (argc < 4 || argc > 3 + MAX_OWNERS) {
        fprintf(stderr, "usage: %s LISTEN UPSTREAM OWNER...\n", argv[0]);
        exit(2);
    }
    *public = bound_socket(argv[1]);
    *upstream = bound_socket(argv[2]);
    for (int i = 3; i < argc; i++) owners[owner_count++] = parse_address(argv[i]);
}

/* Says on standard output that packets may come. */
static void ready(void) {
    puts("ready");
    fflush(stdout);
}

static uint32_t hash(const struct sockaddr_in *client) {
    uint64_t key = (uint64_t)client->sin_addr.s_addr << 16 | client->sin_port;
    return (key * 0x9E3779B97F4A7C15u) >> 40;
}

/* The flow of `client`, made if there was none; NULL when the table is half full. */
static struct flow *flow_of(const struct sockaddr_in *client) {
    uint32_t slot = hash(client) & (TABLE - 1);
    for (; flows[slot].client.sin_family; slot = (slot + 1) & (TABLE - 1))
        if (flows[slot].client.sin_addr.s_addr == client->sin_addr.s_addr &&
            flows[slot].client.sin_port == client->sin_port)
            return &flows[slot];
    if (flow_count == TABLE / 2) return NULL;
    struct flow *flow = &flows[slot];
    flow->client = *client;
    flow->owner = &owners[flow_count++ % owner_count];
    flow->header[0] = 0xE5;
    flow->header[1] = 1 << 5;
    flow->header[3] = 3;
    memcpy(flow->header + 6, &client->sin_port, 2);
    memcpy(flow->header + 12, &client->sin_addr, 4);
    return flow;
}

/* Writes the header of `flow` for a packet of `length` bytes. */
static inline void put_header(const struct flow *flow, uint8_t *to, size_t length) {
    memcpy(to, flow->header, HEADER);
    to[10] = length >> 8;
    to[11] = length;
}

/* The client that a record names. */
static inline struct sockaddr_in named_client(const uint8_t *record) {
    struct sockaddr_in client = {.sin_family = AF_INET};
    memcpy(&client.sin_port, record + 6, 2);
    memcpy(&client.sin_addr, record + 12, 4);
    return client;
}

#endif
