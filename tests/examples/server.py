# SPDX-License-Identifier: Apache-2.0
"""What the drivers in Python share: an example server that is started, found, and told to end."""

import atexit
import re
import select
import signal
import socket
import subprocess
import sys


def fail(text):
    print(f"FAILED: {text}", file=sys.stderr)
    sys.exit(1)


def expect(what, got, wanted):
    if got != wanted:
        fail(f"{what}: expected {wanted!r}, got {got!r}")


class Server:
    """A program that prints 127.0.0.1:PORT once it can be spoken to."""

    def __init__(self, *command, **more):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)
        atexit.register(self.process.kill)
        seen = ""
        while True:
            if not select.select([self.process.stdout], [], [], 60)[0]:
                fail(f"{command[0]} did not say 127.0.0.1:PORT within 60 s")
            line = self.process.stdout.readline()
            seen += line
            match = re.search(r"127\.0\.0\.1:([1-9][0-9]*)", line)
            if match:
                break
            if not line:
                fail(f"{command[0]} ended with status {self.process.wait()} before it listened; it said {seen!r}")
        self.port = int(match[1])
        self.address = match[0]
        self.said = seen

    def connect(self, timeout=60):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def stop(self, number=signal.SIGTERM):
        """Must end with status 0."""
        self.process.send_signal(number)
        self.ended()

    def ended(self, status=0):
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            fail("the server does not end")
        if code != status:
            fail(f"the server ended with status {code}, expected {status}")
        self.process.stdout.close()


def all_of(connection):
    """What comes until the other side closes or resets."""
    got = b""
    try:
        while piece := connection.recv(65536):
            got += piece
    except ConnectionError:
        pass
    return got
