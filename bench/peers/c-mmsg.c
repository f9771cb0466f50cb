/* The reference: what a careful C programmer gets from the socket calls that everybody knows.
 *
 * recvmmsg and sendmmsg in batches of 64, no copy (the header goes into room left in front of each
 * packet), one datagram per packet, a connected socket when there is one transceiver. No offload,
 * no authentication, no expiry, no counters. Every other figure is relative to this one.
 */
#include "relay.h"

#include <poll.h>

enum { BATCH = 64 };

static uint8_t packets[BATCH][HEADER + PACKET];
static struct iovec vectors[BATCH];
static struct sockaddr_in names[BATCH];
static struct mmsghdr messages[BATCH];

/* Receives one batch, leaving `room` bytes in front of each packet. */
static int receive(int fd, size_t room) {
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){packets[i] + room, HEADER + PACKET - room};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &names[i],
                                              .msg_namelen = sizeof names[i],
                                              .msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    return recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
}

/* Sends the first `count` messages. What cannot be sent is dropped, as by any relay. */
static void send_all(int fd, int count) {
    for (int sent = 0; sent < count;) {
        int done = sendmmsg(fd, messages + sent, count - sent, 0);
        sent += done > 0 ? done : 1;
    }
}

static void up(int public, int upstream) {
    for (int count; (count = receive(public, HEADER)) > 0;) {
        int kept = 0;
        for (int i = 0; i < count; i++) {
            struct flow *flow = flow_of(&names[i]);
            if (!flow) continue;
            put_header(flow, packets[i], messages[i].msg_len);
            vectors[kept] = (struct iovec){packets[i], HEADER + messages[i].msg_len};
            struct msghdr *head = &messages[kept].msg_hdr;
            head->msg_iov = &vectors[kept];
            head->msg_name = owner_count == 1 ? NULL : flow->owner;
            head->msg_namelen = owner_count == 1 ? 0 : sizeof *flow->owner;
            kept++;
        }
        send_all(upstream, kept);
        if (count < BATCH) break;
    }
}

static void down(int public, int upstream) {
    for (int count; (count = receive(upstream, 0)) > 0;) {
        int kept = 0;
        for (int i = 0; i < count; i++) {
            if (messages[i].msg_len <= HEADER) continue;
            names[kept] = named_client(packets[i]);
            vectors[kept] = (struct iovec){packets[i] + HEADER, messages[i].msg_len - HEADER};
            struct msghdr *head = &messages[kept].msg_hdr;
            head->msg_iov = &vectors[kept];
            head->msg_name = &names[kept];
            head->msg_namelen = sizeof names[kept];
            kept++;
        }
        send_all(public, kept);
        if (count < BATCH) break;
    }
}

/* Waits until one of the two sockets has something; fills `waiting` with which. */
static void wait_for(int public, int upstream, int waiting[2]) {
    struct pollfd polled[2] = {{public, POLLIN, 0}, {upstream, POLLIN, 0}};
    while (poll(polled, 2, -1) < 0)
        if (errno != EINTR) fail("poll");
    waiting[0] = polled[0].revents != 0;
    waiting[1] = polled[1].revents != 0;
}

int main(int argc, char **argv) {
    int public, upstream, waiting[2];
    open_sockets(argc, argv, &public, &upstream);
    if (owner_count == 1 && connect(upstream, (struct sockaddr *)&owners[0], sizeof owners[0]) < 0)
        fail("connect");
    ready();
    for (;;) {
        wait_for(public, upstream, waiting);
        if (waiting[0]) up(public, upstream);
        if (waiting[1]) down(public, upstream);
    }
}
