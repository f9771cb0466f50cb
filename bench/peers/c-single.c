/* The textbook relay: a thread per direction that blocks in recvfrom, and one sendto per packet.
 *
 * What most relays are at heart, and the fastest to wake up: the measure for added latency.
 */
#include "relay.h"

#include <pthread.h>

static int public, upstream;

static void *up(void *nothing) {
    uint8_t packet[HEADER + PACKET];
    for (;;) {
        struct sockaddr_in client;
        socklen_t size = sizeof client;
        ssize_t length = recvfrom(public, packet + HEADER, PACKET, 0, (void *)&client, &size);
        struct flow *flow = length > 0 ? flow_of(&client) : NULL;
        if (!flow) continue;
        put_header(flow, packet, length);
        sendto(upstream, packet, HEADER + length, 0, (void *)flow->owner, sizeof *flow->owner);
    }
    return nothing;
}

static void *down(void *nothing) {
    uint8_t packet[HEADER + PACKET];
    for (;;) {
        ssize_t length = recvfrom(upstream, packet, sizeof packet, 0, NULL, NULL);
        if (length <= HEADER) continue;
        struct sockaddr_in client = named_client(packet);
        sendto(public, packet + HEADER, length - HEADER, 0, (void *)&client, sizeof client);
    }
    return nothing;
}

int main(int argc, char **argv) {
    pthread_t thread;
    open_sockets(argc, argv, &public, &upstream);
    if (pthread_create(&thread, NULL, down, NULL)) fail("pthread_create");
    ready();
    up(NULL);
}
