"""A server that does what a test says, byte by byte, to see what the client makes of it."""

import contextlib
import re
import socket
import threading


def answer(body=b"", status="200 OK", fields=b"", kind=b"application/x-graphpipe"):
    return (b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n"
            % (status.encode(), kind, len(body), fields)) + body


class Peer:
    """An accepted connection, as a script sees it."""

    def __init__(self, server, sock):
        self.server, self.sock, self.received = server, sock, b""

    def receive(self):
        piece = self.sock.recv(1 << 16)
        self.received += piece
        return piece

    def head(self):
        """Reads a request's head; false at the end of the connection."""
        while b"\r\n\r\n" not in self.received:
            if not self.receive():
                return False
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        self.n_left = int(re.search(rb"Content-Length: (\d+)", head)[1])
        self.server.heads.append(head.decode())
        return True

    def request(self):
        """Reads a whole request; false at the end of the connection."""
        if not self.head():
            return False
        n_left, self.received = self.n_left - len(self.received), b""
        while n_left:
            n = len(self.receive())
            if not n:
                return False
            n_left, self.received = n_left - n, b""
        self.server.n_requests += 1
        return True

    def send(self, *pieces):
        for piece in pieces:
            self.sock.sendall(piece)

    def until_closed(self):
        with contextlib.suppress(ConnectionError):
            while self.receive():
                pass


class Scripted:
    """Runs a script, a function of a Peer, for each connection, one after the other, and closes
    it then. `where` is "tcp", or the path of a unix socket."""

    def __init__(self, *scripts, where="tcp"):
        self.scripts, self.heads, self.n_requests, self.error = scripts, [], 0, None
        self.listener = socket.socket(socket.AF_INET if where == "tcp" else socket.AF_UNIX)
        self.listener.bind(("127.0.0.1", 0) if where == "tcp" else where)
        self.listener.listen()
        self.listener.settimeout(30)
        name = self.listener.getsockname()
        self.url = f"http://127.0.0.1:{name[1]}" if where == "tcp" else f"unix:{where}"
        self.closed = [threading.Event() for _ in scripts]
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            for script, closed in zip(self.scripts, self.closed):
                sock, _ = self.listener.accept()
                with sock:
                    sock.settimeout(30)
                    script(Peer(self, sock))
                closed.set()
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.thread.join(30 if kind is None else 0)
        self.listener.close()
        assert kind or (self.error is None and not self.thread.is_alive()), self.error
