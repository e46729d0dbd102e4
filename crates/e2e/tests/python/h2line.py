"""A connection of HTTP/2 by hand: frames as bytes, so that any of them may be wrong."""

import socket
import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIO = 1, 1, 4, 8, 32
NO_ERROR, PROTOCOL, INTERNAL, FLOW, SETTINGS_TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL = range(9)
COMPRESSION, CONNECT, CALM = 9, 10, 11
PATIENCE = 45


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def setting(key, value):
    return struct.pack(">HI", key, value)


def number(value):
    return struct.pack(">I", value)


class Line:
    """One connection; `events` is all that was received, in order."""

    def __init__(self, host, port, settings=b"", greet=True):
        self.socket = socket.create_connection((host, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.buffer = b""
        self.over = False
        self.events = []
        if greet:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings))
            self.wait(lambda kind, flags, *_: kind == SETTINGS and flags & ACK)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # What the other side said before it closed is still to be read.

    def block(self, fields):
        return self.encoder.encode(fields, huffman=False)

    def request(self, stream=1, flags=END_STREAM | END_HEADERS, method="GET", path="/", more=()):
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")]
        self.send(frame(HEADERS, flags, stream, self.block(fields + list(more))))

    def next(self, patience=PATIENCE):
        """The next frame as (kind, flags, stream, payload); None at the end, or TimeoutError."""
        self.socket.settimeout(patience)
        while True:
            if len(self.buffer) >= 9:
                length = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + length:
                    kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
                    payload = self.buffer[9 : 9 + length]
                    self.buffer = self.buffer[9 + length :]
                    event = (kind, flags, stream, payload)
                    if kind == HEADERS:
                        event += (dict(self.decoder.decode(payload)),)
                    if kind == SETTINGS and not flags & ACK:
                        self.send(frame(SETTINGS, ACK))
                    self.events.append(event)
                    return event
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                data = b""
            if not data:
                self.over = True
                return None
            self.buffer += data

    def wait(self, wanted, patience=PATIENCE):
        """Reads until a frame is `wanted`; None if the connection ends before."""
        while True:
            event = self.next(patience)
            if event is None or wanted(*event[:4]):
                return event

    def ping(self):
        """Whether the connection is alive."""
        self.send(frame(PING, 0, 0, b"alive?.."))
        event = self.wait(lambda kind, flags, stream, payload: kind == PING and payload == b"alive?..")
        return event is not None

    def response(self, stream=1):
        """Status and body of the response on a stream; None if it does not come whole."""
        status, body = None, b""
        while True:
            event = self.next()
            if event is None or (event[0] == RST_STREAM and event[2] == stream and status is None):
                return None
            kind, flags, at, payload = event[:4]
            if at != stream:
                continue
            if kind == HEADERS and status is None and not event[4][":status"].startswith("1"):
                status = event[4][":status"]
            if kind == DATA:
                body += payload
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                return status, body

    def close(self):
        self.socket.close()
