"""A client without end, in a process of its own so that it shares no interpreter with what is asked
beside it: endless.py upload|pipeline HOST PORT, until it is killed."""
import socket
import sys
import threading

from harness import SMALL, encode, http

CHUNK = b"100000\r\n" + bytes(1 << 20) + b"\r\n"


def upload(connection):
    """A chunked body that has no last chunk; it is refused at the limit, and goes on."""
    connection.sendall(http("POST", "/", fields={"Transfer-Encoding": "chunked"}))
    while True:
        connection.sendall(CHUNK)


def pipeline(connection):
    """Requests one behind the other, none of which waits for an answer."""
    def read():
        try:
            while connection.recv(1 << 20):
                pass
        except OSError:
            pass

    requests = (http("POST", "/", encode(SMALL)) + http("GET")) * 500
    threading.Thread(target=read, daemon=True).start()
    while True:
        connection.sendall(requests)


if __name__ == "__main__":
    _, kind, host, port = sys.argv
    while True:
        try:
            with socket.create_connection((host, int(port))) as connection:
                globals()[kind](connection)
        except ConnectionError:
            pass
