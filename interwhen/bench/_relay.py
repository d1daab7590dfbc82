"""A process that passes bytes on and does nothing else: what any gateway in Python adds to a stream at the least.

It takes its place: between the reader and the load generator, on the core where the gateway is measured. The port of
the generator is its only argument.
"""

from __future__ import annotations

import functools
import selectors
import socket
import sys

from interwhen.testing._paced_server import serve_on_loopback


def serve(listener: socket.socket, *, port: int) -> None:
    """Pass on to *port* what comes, and what comes back, until the process is ended."""
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for one, other in ((near, far), (far, near)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(one, selectors.EVENT_READ, (one, other))
                continue
            source, target = key.data
            if source.fileno() >= 0 and not _pass_on(source, target):  # negative: closed a moment ago, by its other end
                for side in (source, target):
                    ready.unregister(side)
                    side.close()


def _pass_on(source: socket.socket, target: socket.socket) -> bool:
    """Pass on what has come; false where the connection is over."""
    try:
        data = source.recv(65536)
        target.sendall(data)
    except OSError:
        return False
    return bool(data)


if __name__ == "__main__":
    serve_on_loopback(functools.partial(serve, port=int(sys.argv[1])), last_core=False)
