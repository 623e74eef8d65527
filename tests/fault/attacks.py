# SPDX-License-Identifier: Apache-2.0
"""What is done to every example server. Each attack ends with the server answering, and with nothing left of it."""

import os
import random
import resource
import select
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../examples"))
from server import Server, all_of, expect, fail

SEED = int(os.environ.get("WEFT_STRESS_SEED", 0)) or random.SystemRandom().randrange(1, 1 << 32)
choice = random.Random(SEED)
print(f"WEFT_STRESS_SEED={SEED}", flush=True)  # the bytes that are sent; not when they meet what

# The server inherits it.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Target:
    """A server under attack. `alive()` is a whole conversation that fails if the server does not answer."""

    def __init__(self, server, alive):
        self.server = server
        self.alive = alive
        alive()
        # With a few for what is opened later, or was still being closed: an attack that leaves something leaves more.
        self.descriptors = self.open_descriptors() + 4

    def open_descriptors(self):
        folder = f"/proc/{self.server.process.pid}/fd"
        return os.stat(folder).st_size or len(os.listdir(folder))  # the size says it since Linux 6.2

    def memory(self):
        """Resident, in MiB."""
        with open(f"/proc/{self.server.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

    def recovers(self):
        """Waits until every connection of the attack is gone."""
        self.alive()
        while self.open_descriptors() > self.descriptors:
            if self.server.process.poll() is not None:
                fail("the server is gone")
            select.select([], [], [], 0.05)
        self.alive()

    def connect(self, number=0):
        """From an address of its own for each thousand: to find a free port takes long where most are taken."""
        connection = socket.socket()
        connection.settimeout(60)
        connection.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        connection.bind((f"127.0.0.{2 + number // 1000}", 0))
        connection.connect(("127.0.0.1", self.server.port))
        return connection

    def idle_crowd(self, hello=b""):
        """As many connections as can be had that say nothing more."""
        count = min(10_000, most - 300)
        before = self.memory()
        crowd = []
        for number in range(count):
            crowd.append(self.connect(number))
            if hello:
                crowd[-1].sendall(hello)
        while self.open_descriptors() < count:
            select.select([], [], [], 0.05)
        for _ in range(100):
            self.alive()
        print(f"{count} idle connections: {(self.memory() - before) * 1024 / count:.1f} KiB each", flush=True)
        for connection in crowd:
            connection.close()
        self.recovers()

    def resets(self, request):
        """A reset after each so many bytes of a request, and while the answer is on its way."""
        step = max(1, len(request) // 100)
        for cut in (*range(0, len(request), step), *[len(request)] * 20):
            with self.connect() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(request[:cut])
        self.recovers()

    def noise(self, requests, rounds):
        """Random bytes, and requests in which some bytes are changed, doubled, left out or cut off."""
        for _ in range(rounds):
            data = bytearray(choice.choice(requests))
            if choice.random() < 0.3:
                data = bytearray(choice.randbytes(choice.randrange(1, 3000)))
            for _ in range(choice.randrange(0, 4)):
                at = choice.randrange(len(data) + 1)
                match choice.randrange(4):
                    case 0:
                        data[at:at + 1] = choice.randbytes(1)
                    case 1:
                        data[at:at] = data[at:at + choice.randrange(1, 50)]
                    case 2:
                        del data[at:at + choice.randrange(1, 5)]
                    case 3:
                        del data[at:]
                if not data:
                    break
            with self.connect() as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    continue  # it has had enough already
                all_of(connection)  # it ends: the server answers, or closes
        self.recovers()


def trickle(connections, pieces, finished):
    """Sends each connection one more byte of what it has left, ten times a second, until `finished()`."""
    poller = select.poll()
    while not finished():
        for connection, rest in zip(connections, pieces):
            if rest:
                try:
                    connection.send(rest[:1])
                    del rest[:1]
                except OSError:
                    rest.clear()
        poller.poll(100)
