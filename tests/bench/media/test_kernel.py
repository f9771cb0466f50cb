"""What Linux says of processes, read of our own."""

from __future__ import annotations

import os
import socket
import threading
import time

from firsthop.bench.media import kernel


def test_cpu_time_is_of_all_threads_and_of_ended_ones() -> None:
    before, own_before = kernel.cpu_s(os.getpid()), time.process_time()
    spinning = threading.Thread(target=_spin)
    spinning.start()
    spinning.join()
    own = time.process_time() - own_before
    took = kernel.cpu_s(os.getpid()) - before
    assert took >= 0.02
    assert abs(took - own) < 0.01


def test_a_thread_of_ours_is_told_from_the_others() -> None:
    others, up, done = kernel.own_threads(), threading.Event(), threading.Event()

    def stay() -> None:
        up.set()
        done.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    up.wait()
    added = kernel.own_threads() - others
    assert added == {thread.native_id}
    done.set()
    thread.join()


def test_memory_is_in_bytes() -> None:
    assert 1e6 < kernel.resident_bytes(os.getpid()) < 1e10


def test_datagrams_that_a_full_socket_lost_are_counted() -> None:
    before = kernel.dropped("self")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as full,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        full.bind(("127.0.0.1", 0))
        for _ in range(100):
            sender.sendto(bytes(1000), full.getsockname())
        full.setblocking(False)
        received = 0
        try:
            while full.recv(2000):
                received += 1
        except BlockingIOError:
            pass
        # Counted where it is lost, which the kernel may tell when the next one comes.
        assert kernel.dropped("self") - before == 100 - received > 0


def _spin() -> None:
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
