"""The 146 cases of h2spec, written anew: python h2spec.py HOST PORT [ID ...]

Each case sends something and says what must come of it. The other side may end the connection in
place of any error, as h2spec lets it; that is told as `closed` if it gave another reason before. One
line for each case: verdict, id, what came, title. The exit code is 0 if nothing failed.
"""

import sys

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from h2line import *

HOST, PORT = sys.argv[1], int(sys.argv[2])
FIRST = 1 << 31


def get(c, **more):
    c.request(**more)


def lit(name, value, kind=0, index=None, huffman=False, raw=False):
    """A literal field (RFC 7541, 6.2); kind 0x40, 0x00 or 0x10."""
    coder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

    def text(value):
        if huffman:
            coded = coder.encode(value)
            return bytes([0x80 | len(coded)]) + coded
        return bytes([len(value)]) + value

    if index is not None:
        return bytes([kind | index]) + text(value)
    return bytes([kind]) + text(name) + text(value)


# Indexed :method GET, :scheme http, :path /; literal :authority a.
BASE = b"\x82\x86\x84\x01\x01a"


def raw(c, block, flags=END_STREAM | END_HEADERS, stream=1):
    c.send(frame(HEADERS, flags, stream, block))


def fields(c, *list_, stream=1, flags=END_STREAM | END_HEADERS):
    c.send(frame(HEADERS, flags, stream, c.block(list(list_))))


M, S, P, A = (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")
POST = (":method", "POST")


def post(c, *datas, more=(), stream=1):
    c.request(stream, END_HEADERS, "POST", more=more)
    for index, data in enumerate(datas):
        c.send(frame(DATA, END_STREAM if index == len(datas) - 1 else 0, stream, data))


def closed(c, stream=1):
    """Opens a stream and waits until it is closed."""
    c.request(stream)
    c.response(stream)


def reset(c):
    c.request(1, END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, number(CANCEL)))


def padded(c, stream=1, size=5):
    block = c.block([M, S, P, A])
    c.send(frame(HEADERS, END_STREAM | END_HEADERS | PADDED, stream, bytes([size]) + block + bytes(size)))


def prio(dependency=0, weight=255):
    return number(dependency) + bytes([weight])


def priority(c, dependency, weight=15, stream=1):
    c.send(frame(PRIORITY, 0, stream, prio(dependency, weight)))


def headers_prio(c, dependency, stream=1):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS | PRIO, stream, prio(dependency) + c.block([M, S, P, A])))


def split(c, *flags, stream=1):
    """A header block over HEADERS and CONTINUATIONs with these flags."""
    block = c.block([M, S, P, A]) + b"".join(lit(b"x-%d" % n, b"y" * 50) for n in range(len(flags)))
    step = len(block) // (len(flags) + 1) + 1
    pieces = [block[at : at + step] for at in range(0, len(block), step)]
    pieces += [b""] * (len(flags) + 1 - len(pieces))
    c.send(frame(HEADERS, END_STREAM, stream, pieces[0]))
    for flag, piece in zip(flags, pieces[1:]):
        c.send(frame(CONTINUATION, flag, stream, piece))


def send(*frames):
    return lambda c: c.send(b"".join(frames))


def then(*steps):
    def run(c):
        for step in steps:
            step(c)

    return run


def many(c):
    """One stream more than may be open, none of which ends."""
    limit = next((int.from_bytes(e[3][at + 2 : at + 6], "big") for e in c.events if e[0] == SETTINGS
                  for at in range(0, len(e[3]), 6) if e[3][at : at + 2] == b"\0\3"), 100)
    for n in range(limit + 1):
        c.request(1 + 2 * n, END_HEADERS, "POST")


def window_one(c):
    c.send(frame(SETTINGS, 0, 0, setting(4, 1)))
    get(c)
    event = c.wait(lambda kind, *_: kind == DATA)
    return "response" if event and len(event[3]) == 1 else f"DATA {event}"


def window_later(c):
    c.send(frame(SETTINGS, 0, 0, setting(4, 0)))
    get(c)
    c.wait(lambda kind, *_: kind == HEADERS)
    c.send(frame(SETTINGS, 0, 0, setting(4, 1)))
    event = c.wait(lambda kind, *_: kind == DATA)
    return "response" if event and len(event[3]) == 1 else f"DATA {event}"


def window_negative(c):
    c.send(frame(SETTINGS, 0, 0, setting(4, 3)))
    get(c)
    c.wait(lambda kind, flags, stream, payload: kind == DATA and len(payload) == 3)
    c.send(frame(SETTINGS, 0, 0, setting(4, 2)))
    c.send(frame(WINDOW_UPDATE, 0, 1, number(2)))
    event = c.wait(lambda kind, *_: kind == DATA)
    return "response" if event and len(event[3]) == 1 else f"DATA {event}"


def last_window(c):
    c.send(frame(SETTINGS, 0, 0, setting(4, 100) + setting(4, 1)))
    get(c)
    event = c.wait(lambda kind, *_: kind == DATA)
    return "response" if event and len(event[3]) == 1 else f"DATA {event}"


def settings_acked(c):
    c.send(frame(SETTINGS))
    event = c.wait(lambda kind, flags, *_: kind == SETTINGS and flags & ACK)
    return "settings ack" if event else "closed"


def bad_preface(c):
    c.over = False
    c.socket.sendall(b"INVALID CONNECTION PREFACE\r\n\r\n")
    while c.socket.recv(65536):
        pass
    return "closed"


def pong_only(c):
    c.send(frame(PING, ACK, 0, b"invalid."))
    c.send(frame(PING, 0, 0, b"valid..."))
    event = c.wait(lambda kind, *_: kind == PING)
    return "pong" if event and event[3] == b"valid..." else f"{event}"


def unknown_middle(c):
    c.send(frame(HEADERS, END_STREAM, 1, c.block([M, S, P])))
    c.send(frame(0x16, 0, 0, b"x" * 8))
    c.send(frame(CONTINUATION, END_HEADERS, 1, c.block([A])))


BIG = b"x" * 16384
TOO_BIG = b"x" * 16385
ANY = "ok"
ANSWER = "response"


def conn(*codes):
    return ("connection", codes)


def stream(*codes):
    return ("stream", codes)


def hp(name, kind, indexed, huffman=False):
    """A request with one more field `test`, of user-agent (index 58) or of `name`."""
    if indexed and kind == 0x40:
        field = lit(b"", b"test", kind, 58, huffman)
    elif indexed:
        # 58 does not fit into four bits: 15, then the rest.
        field = bytes([kind | 15]) + lit(b"", b"test", 0, 58 - 15, huffman)
    else:
        field = lit(name, b"test", kind, None, huffman)
    return lambda c: raw(c, BASE + field)


SIZE_UPDATE = b"\x20"
HPACK = conn(COMPRESSION, PROTOCOL)

CASES = [
    ("generic/1/1", "preface", lambda c: None, ANY),
    ("generic/2/1", "PRIORITY on an idle stream", lambda c: priority(c, 0), ANY),
    ("generic/2/2", "WINDOW_UPDATE on a half-closed stream", then(get, send(frame(WINDOW_UPDATE, 0, 1, number(1)))), ANSWER),
    ("generic/2/3", "PRIORITY on a half-closed stream", then(get, lambda c: priority(c, 0)), ANSWER),
    ("generic/2/4", "RST_STREAM on a half-closed stream", then(get, send(frame(RST_STREAM, 0, 1, number(CANCEL)))), ANY),
    ("generic/2/5", "PRIORITY on a closed stream", then(closed, lambda c: priority(c, 0)), ANY),
    ("generic/3.1/1", "DATA", lambda c: post(c, b"test"), ANSWER),
    ("generic/3.1/2", "DATA twice", lambda c: post(c, b"test", b"test"), ANSWER),
    ("generic/3.1/3", "padded DATA", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(DATA, END_STREAM | PADDED, 1, b"\5test" + bytes(5)))), ANSWER),
    ("generic/3.2/1", "HEADERS", get, ANSWER),
    ("generic/3.2/2", "padded HEADERS", padded, ANSWER),
    ("generic/3.2/3", "HEADERS with priority", lambda c: headers_prio(c, 0), ANSWER),
    ("generic/3.3/1", "PRIORITY of weight 1", then(lambda c: priority(c, 0, 0), get), ANSWER),
    ("generic/3.3/2", "PRIORITY of weight 256", then(lambda c: priority(c, 0, 255), get), ANSWER),
    ("generic/3.3/3", "PRIORITY with a dependency", then(lambda c: priority(c, 3), get), ANSWER),
    ("generic/3.3/4", "exclusive PRIORITY", then(lambda c: priority(c, FIRST | 3), get), ANSWER),
    ("generic/3.3/5", "PRIORITY on an idle stream, then HEADERS on a lower one", then(lambda c: priority(c, 0, stream=3), get), ANSWER),
    ("generic/3.4/1", "RST_STREAM", reset, ANY),
    ("generic/3.5/1", "SETTINGS", settings_acked, "settings ack"),
    ("generic/3.7/1", "PING", lambda c: None, ANY),
    ("generic/3.8/1", "GOAWAY", send(frame(GOAWAY, 0, 0, number(0) + number(NO_ERROR))), ("ok", "closed", "connection")),
    ("generic/3.9/1", "WINDOW_UPDATE of the connection", then(send(frame(WINDOW_UPDATE, 0, 0, number(1))), get), ANSWER),
    ("generic/3.9/2", "WINDOW_UPDATE of a stream", then(get, send(frame(WINDOW_UPDATE, 0, 1, number(1)))), ANSWER),
    ("generic/3.10/1", "CONTINUATION", lambda c: split(c, END_HEADERS), ANSWER),
    ("generic/3.10/2", "CONTINUATION twice", lambda c: split(c, 0, END_HEADERS), ANSWER),
    ("generic/4/1", "GET", get, ANSWER),
    ("generic/4/2", "HEAD", lambda c: get(c, method="HEAD"), ANSWER),
    ("generic/4/3", "POST", lambda c: post(c, b"test"), ANSWER),
    ("generic/4/4", "POST with trailers", then(lambda c: c.request(1, END_HEADERS, "POST", more=[("trailer", "x-test")]), send(frame(DATA, 0, 1, b"test")), lambda c: fields(c, ("x-test", "ok"))), ANSWER),
    ("generic/5/1", "indexed field", lambda c: raw(c, BASE), ANSWER),
    ("generic/5/2", "incremental, indexed name", hp(b"", 0x40, True), ANSWER),
    ("generic/5/3", "incremental, indexed name, Huffman", hp(b"", 0x40, True, True), ANSWER),
    ("generic/5/4", "incremental, new name", hp(b"x-test", 0x40, False), ANSWER),
    ("generic/5/5", "incremental, new name, Huffman", hp(b"x-test", 0x40, False, True), ANSWER),
    ("generic/5/6", "without indexing, indexed name", hp(b"", 0, True), ANSWER),
    ("generic/5/7", "without indexing, indexed name, Huffman", hp(b"", 0, True, True), ANSWER),
    ("generic/5/8", "without indexing, new name", hp(b"x-test", 0, False), ANSWER),
    ("generic/5/9", "without indexing, new name, Huffman", hp(b"x-test", 0, False, True), ANSWER),
    ("generic/5/10", "never indexed, indexed name", hp(b"", 0x10, True), ANSWER),
    ("generic/5/11", "never indexed, indexed name, Huffman", hp(b"", 0x10, True, True), ANSWER),
    ("generic/5/12", "never indexed, new name", hp(b"x-test", 0x10, False), ANSWER),
    ("generic/5/13", "never indexed, new name, Huffman", hp(b"x-test", 0x10, False, True), ANSWER),
    ("generic/5/14", "table size update", lambda c: raw(c, SIZE_UPDATE + BASE), ANSWER),
    ("generic/5/15", "table size update twice", lambda c: raw(c, SIZE_UPDATE + b"\x3f\x61" + BASE), ANSWER),
    ("http2/3.5/1", "preface", lambda c: None, ANY),
    ("http2/3.5/2", "invalid preface", bad_preface, "closed"),
    ("http2/4.1/1", "frame of an unknown type", send(frame(0x16, 0, 0, bytes(8))), ANY),
    ("http2/4.1/2", "undefined flag", send(frame(PING, 0x16 & ~ACK, 0, b"flagged.")), ANY),
    ("http2/4.1/3", "reserved bit", send(frame(PING, 0, FIRST, b"reserved")), ANY),
    ("http2/4.2/1", "DATA of 2^14 bytes", lambda c: post(c, BIG), ANSWER),
    ("http2/4.2/2", "DATA that is too large", lambda c: post(c, TOO_BIG), stream(SIZE)),
    ("http2/4.2/3", "HEADERS that are too large", lambda c: raw(c, BASE + b"\0\1x\x7f" + b"\x81\x7f" + TOO_BIG), conn(SIZE)),
    ("http2/4.3/1", "invalid header block", lambda c: raw(c, b"\x82\x86\x84\x01\x0a\x61"), conn(COMPRESSION)),
    ("http2/4.3/2", "PRIORITY inside a header block", then(lambda c: c.send(frame(HEADERS, END_STREAM, 1, BASE)), lambda c: priority(c, 0)), conn(PROTOCOL)),
    ("http2/4.3/3", "HEADERS of another stream inside a header block", then(lambda c: c.send(frame(HEADERS, END_STREAM, 1, BASE)), lambda c: raw(c, BASE, stream=3)), conn(PROTOCOL)),
    ("http2/5.1/1", "idle: DATA", send(frame(DATA, END_STREAM, 1, b"test")), conn(PROTOCOL)),
    ("http2/5.1/2", "idle: RST_STREAM", send(frame(RST_STREAM, 0, 1, number(CANCEL))), conn(PROTOCOL)),
    ("http2/5.1/3", "idle: WINDOW_UPDATE", send(frame(WINDOW_UPDATE, 0, 1, number(100))), conn(PROTOCOL)),
    ("http2/5.1/4", "idle: CONTINUATION", send(frame(CONTINUATION, END_HEADERS, 1, BASE)), conn(PROTOCOL)),
    ("http2/5.1/5", "half-closed: DATA", then(get, send(frame(DATA, END_STREAM, 1, b"test"))), stream(CLOSED)),
    ("http2/5.1/6", "half-closed: HEADERS", then(get, lambda c: raw(c, BASE)), stream(CLOSED)),
    ("http2/5.1/7", "half-closed: CONTINUATION", then(get, send(frame(CONTINUATION, END_HEADERS, 1, BASE))), conn(CLOSED, PROTOCOL)),
    ("http2/5.1/8", "reset: DATA", then(reset, send(frame(DATA, END_STREAM, 1, b"test"))), stream(CLOSED)),
    ("http2/5.1/9", "reset: HEADERS", then(reset, lambda c: raw(c, BASE)), stream(CLOSED)),
    ("http2/5.1/10", "reset: CONTINUATION", then(reset, send(frame(CONTINUATION, END_HEADERS, 1, BASE))), conn(CLOSED, PROTOCOL)),
    ("http2/5.1/11", "closed: DATA", then(closed, send(frame(DATA, END_STREAM, 1, b"test"))), stream(CLOSED)),
    ("http2/5.1/12", "closed: HEADERS", then(closed, lambda c: raw(c, BASE)), conn(CLOSED)),
    ("http2/5.1/13", "closed: CONTINUATION", then(closed, send(frame(CONTINUATION, END_HEADERS, 1, BASE))), conn(CLOSED, PROTOCOL)),
    ("http2/5.1.1/1", "even stream", lambda c: get(c, stream=2), conn(PROTOCOL)),
    ("http2/5.1.1/2", "stream lower than the last", then(lambda c: closed(c, 5), lambda c: get(c, stream=3)), conn(PROTOCOL)),
    ("http2/5.1.2/1", "one stream too many", many, stream(PROTOCOL, REFUSED)),
    ("http2/5.3.1/1", "HEADERS that depend on themselves", lambda c: headers_prio(c, 1), stream(PROTOCOL)),
    ("http2/5.3.1/2", "PRIORITY that depends on itself", lambda c: priority(c, 1), stream(PROTOCOL)),
    ("http2/5.4.1/1", "invalid PING ends the connection", send(frame(PING, 0, 3, bytes(8))), ("connection-closed", (PROTOCOL,))),
    ("http2/5.4.1/2", "invalid PING brings GOAWAY", send(frame(PING, 0, 3, bytes(8))), ("goaway", (PROTOCOL,))),
    ("http2/5.5/1", "unknown frame", send(frame(0x16, 0, 1, bytes(8))), ANY),
    ("http2/5.5/2", "unknown frame inside a header block", unknown_middle, conn(PROTOCOL)),
    ("http2/6.1/1", "DATA on stream 0", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(DATA, END_STREAM, 0, b"test"))), conn(PROTOCOL)),
    ("http2/6.1/2", "DATA on a stream that is not open", then(get, send(frame(DATA, END_STREAM, 1, b"test"))), stream(CLOSED)),
    ("http2/6.1/3", "DATA with too much padding", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(DATA, END_STREAM | PADDED, 1, b"\x06test\0"))), conn(PROTOCOL)),
    ("http2/6.2/1", "PRIORITY after HEADERS without END_HEADERS", then(lambda c: c.send(frame(HEADERS, END_STREAM, 1, BASE)), lambda c: priority(c, 0)), conn(PROTOCOL)),
    ("http2/6.2/2", "HEADERS after HEADERS without END_HEADERS", then(lambda c: c.send(frame(HEADERS, END_STREAM, 1, BASE)), lambda c: raw(c, BASE, stream=3)), conn(PROTOCOL)),
    ("http2/6.2/3", "HEADERS on stream 0", lambda c: raw(c, BASE, stream=0), conn(PROTOCOL)),
    ("http2/6.2/4", "HEADERS with too much padding", lambda c: c.send(frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, bytes([len(BASE) + 1]) + BASE)), conn(PROTOCOL)),
    ("http2/6.3/1", "PRIORITY on stream 0", lambda c: priority(c, 0, stream=0), conn(PROTOCOL)),
    ("http2/6.3/2", "PRIORITY of 4 bytes", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(PRIORITY, 0, 1, bytes(4)))), stream(SIZE)),
    ("http2/6.4/1", "RST_STREAM on stream 0", send(frame(RST_STREAM, 0, 0, number(CANCEL))), conn(PROTOCOL)),
    ("http2/6.4/2", "RST_STREAM on an idle stream", send(frame(RST_STREAM, 0, 1, number(CANCEL))), conn(PROTOCOL)),
    ("http2/6.4/3", "RST_STREAM of 3 bytes", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(RST_STREAM, 0, 1, bytes(3)))), conn(SIZE)),
    ("http2/6.5/1", "SETTINGS ACK with a payload", send(frame(SETTINGS, ACK, 0, setting(3, 1))), conn(SIZE)),
    ("http2/6.5/2", "SETTINGS on a stream", send(frame(SETTINGS, 0, 1, setting(3, 100))), conn(PROTOCOL)),
    ("http2/6.5/3", "SETTINGS of 3 bytes", send(frame(SETTINGS, 0, 0, bytes(3))), conn(SIZE)),
    ("http2/6.5.2/1", "ENABLE_PUSH of 2", send(frame(SETTINGS, 0, 0, setting(2, 2))), conn(PROTOCOL)),
    ("http2/6.5.2/2", "INITIAL_WINDOW_SIZE of 2^31", send(frame(SETTINGS, 0, 0, setting(4, FIRST))), conn(FLOW)),
    ("http2/6.5.2/3", "MAX_FRAME_SIZE of 2^14 - 1", send(frame(SETTINGS, 0, 0, setting(5, 16383))), conn(PROTOCOL)),
    ("http2/6.5.2/4", "MAX_FRAME_SIZE of 2^24", send(frame(SETTINGS, 0, 0, setting(5, 1 << 24))), conn(PROTOCOL)),
    ("http2/6.5.2/5", "unknown setting", send(frame(SETTINGS, 0, 0, setting(0xFF, 1))), ANY),
    ("http2/6.5.3/1", "INITIAL_WINDOW_SIZE twice", last_window, ANSWER),
    ("http2/6.5.3/2", "SETTINGS are acknowledged", settings_acked, "settings ack"),
    ("http2/6.7/1", "PING", lambda c: None, ANY),
    ("http2/6.7/2", "PING ACK is not answered", pong_only, "pong"),
    ("http2/6.7/3", "PING on a stream", send(frame(PING, 0, 1, bytes(8))), conn(PROTOCOL)),
    ("http2/6.7/4", "PING of 6 bytes", send(frame(PING, 0, 0, bytes(6))), conn(SIZE)),
    ("http2/6.8/1", "GOAWAY on a stream", send(frame(GOAWAY, 0, 1, bytes(8))), conn(PROTOCOL)),
    ("http2/6.9/1", "WINDOW_UPDATE by 0", send(frame(WINDOW_UPDATE, 0, 0, number(0))), conn(PROTOCOL)),
    ("http2/6.9/2", "WINDOW_UPDATE by 0 on a stream", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(WINDOW_UPDATE, 0, 1, number(0)))), stream(PROTOCOL)),
    ("http2/6.9/3", "WINDOW_UPDATE of 3 bytes", send(frame(WINDOW_UPDATE, 0, 0, bytes(3))), conn(SIZE)),
    ("http2/6.9.1/1", "a window of 1", window_one, ANSWER),
    ("http2/6.9.1/2", "a window above 2^31 - 1", send(frame(WINDOW_UPDATE, 0, 0, number(FIRST - 1)) * 2), conn(FLOW)),
    ("http2/6.9.1/3", "a stream's window above 2^31 - 1", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(WINDOW_UPDATE, 0, 1, number(FIRST - 1)) * 2)), stream(FLOW)),
    ("http2/6.9.2/1", "a window that opens after HEADERS", window_later, ANSWER),
    ("http2/6.9.2/2", "a window below 0", window_negative, ANSWER),
    ("http2/6.9.2/3", "a window that is too large by SETTINGS", send(frame(SETTINGS, 0, 0, setting(4, FIRST))), conn(FLOW)),
    ("http2/6.10/1", "CONTINUATION twice", lambda c: split(c, 0, END_HEADERS), ANSWER),
    ("http2/6.10/2", "CONTINUATION, then DATA", then(lambda c: split(c, 0), send(frame(DATA, END_STREAM, 1, b"test"))), conn(PROTOCOL)),
    ("http2/6.10/3", "CONTINUATION on stream 0", then(lambda c: c.send(frame(HEADERS, END_STREAM, 1, BASE)), send(frame(CONTINUATION, END_HEADERS, 0, b""))), conn(PROTOCOL)),
    ("http2/6.10/4", "CONTINUATION after END_HEADERS", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(CONTINUATION, END_HEADERS, 1, BASE))), conn(PROTOCOL)),
    ("http2/6.10/5", "CONTINUATION after one with END_HEADERS", then(lambda c: split(c, END_HEADERS), send(frame(CONTINUATION, END_HEADERS, 1, BASE))), conn(PROTOCOL)),
    ("http2/6.10/6", "CONTINUATION after DATA", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(DATA, 0, 1, b"test"), frame(CONTINUATION, END_HEADERS, 1, BASE))), conn(PROTOCOL)),
    ("http2/7/1", "GOAWAY with an unknown code", send(frame(GOAWAY, 0, 0, number(0) + number(0xFF))), ("ok", "closed", "connection")),
    ("http2/7/2", "RST_STREAM with an unknown code", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(RST_STREAM, 0, 1, number(0xFF)))), ANY),
    ("http2/8.1/1", "second HEADERS without END_STREAM", then(lambda c: c.request(1, END_HEADERS, "POST"), lambda c: fields(c, ("x-test", "ok"), flags=END_HEADERS)), stream(PROTOCOL)),
    ("http2/8.1.2/1", "upper-case name", lambda c: raw(c, BASE + lit(b"X-TEST", b"ok")), stream(PROTOCOL)),
    ("http2/8.1.2.1/1", "unknown pseudo-field", lambda c: raw(c, BASE + lit(b":test", b"ok")), stream(PROTOCOL)),
    ("http2/8.1.2.1/2", "pseudo-field of responses", lambda c: raw(c, BASE + lit(b":status", b"200")), stream(PROTOCOL)),
    ("http2/8.1.2.1/3", "pseudo-field in trailers", then(lambda c: c.request(1, END_HEADERS, "POST"), send(frame(DATA, 0, 1, b"test")), lambda c: fields(c, M)), stream(PROTOCOL)),
    ("http2/8.1.2.1/4", "pseudo-field after others", lambda c: raw(c, b"\x82\x86\x84" + lit(b"x-test", b"ok") + b"\x01\x01a"), stream(PROTOCOL)),
    ("http2/8.1.2.2/1", "Connection", lambda c: fields(c, M, S, P, A, ("connection", "keep-alive")), stream(PROTOCOL)),
    ("http2/8.1.2.2/2", "TE other than trailers", lambda c: fields(c, M, S, P, A, ("te", "trailers, deflate;q=0.5")), stream(PROTOCOL)),
    ("http2/8.1.2.3/1", "empty :path", lambda c: fields(c, M, S, (":path", ""), A), stream(PROTOCOL)),
    ("http2/8.1.2.3/2", "no :method", lambda c: fields(c, S, P, A), stream(PROTOCOL)),
    ("http2/8.1.2.3/3", "no :scheme", lambda c: fields(c, M, P, A), stream(PROTOCOL)),
    ("http2/8.1.2.3/4", "no :path", lambda c: fields(c, M, S, A), stream(PROTOCOL)),
    ("http2/8.1.2.3/5", ":method twice", lambda c: fields(c, M, M, S, P, A), stream(PROTOCOL)),
    ("http2/8.1.2.3/6", ":scheme twice", lambda c: fields(c, M, S, S, P, A), stream(PROTOCOL)),
    ("http2/8.1.2.3/7", ":path twice", lambda c: fields(c, M, S, P, P, A), stream(PROTOCOL)),
    ("http2/8.1.2.6/1", "Content-Length that is not the DATA's", lambda c: post(c, b"test", more=[("content-length", "1")]), stream(PROTOCOL)),
    ("http2/8.1.2.6/2", "Content-Length that is not the sum of the DATA", lambda c: post(c, b"test", b"test", more=[("content-length", "1")]), stream(PROTOCOL)),
    ("http2/8.2/1", "PUSH_PROMISE", send(frame(PUSH_PROMISE, END_HEADERS, 1, number(3) + BASE)), conn(PROTOCOL)),
    ("hpack/2.3.3/1", "indexed field that is not there", lambda c: raw(c, BASE + b"\xc6"), HPACK),
    ("hpack/2.3.3/2", "name that is not there", lambda c: raw(c, BASE + b"\x7f\x0a\x01x"), HPACK),
    ("hpack/4.2/1", "table size update at the end", lambda c: raw(c, BASE + SIZE_UPDATE), HPACK),
    ("hpack/5.2/1", "Huffman padding of more than 7 bits", lambda c: raw(c, BASE + b"\0\1x\x82\xff\xff"), HPACK),
    ("hpack/5.2/2", "Huffman padding with zeros", lambda c: raw(c, BASE + b"\0\1x\x81\x18"), HPACK),
    ("hpack/5.2/3", "Huffman EOS", lambda c: raw(c, BASE + b"\0\1x\x84\xff\xff\xff\xff"), HPACK),
    ("hpack/6.1/1", "index 0", lambda c: raw(c, BASE + b"\x80"), HPACK),
    ("hpack/6.3/1", "table size above the setting", lambda c: raw(c, b"\x3f\xe2\x1f" + BASE), HPACK),
]


def outcome(c, expected):
    """What came of it, and whether that is right."""
    if expected == ANY:
        return ("ok", True) if c.ping() else ("closed", False)
    if expected == ANSWER:
        response = c.response()
        return f"response {response and response[0]}", response is not None
    kind = expected[0]
    if kind == "ok":
        return ("ok", True) if c.ping() else ("closed", "closed" in expected)
    codes = expected[1]
    said = None
    while True:
        try:
            event = c.next(15)
        except TimeoutError:
            return (said or "silence"), said is not None and kind != "connection-closed" and right(said, codes)
        if event is None:
            break
        if event[0] == GOAWAY:
            said = f"GOAWAY {int.from_bytes(event[3][4:8], 'big')}"
        if event[0] == RST_STREAM and kind == "stream":
            said = f"RST_STREAM {int.from_bytes(event[3][:4], 'big')}"
        if said and kind != "connection-closed" and right(said, codes):
            return said, True
    if kind == "goaway":
        return said or "closed", False
    if said is None or right(said, codes):
        return f"{said}, closed" if said else "closed", True
    return f"{said}, closed", "other code"


def right(said, codes):
    return int(said.split()[1]) in codes


def judge(case):
    _, _, act, expected = case
    c = None
    try:
        c = Line(HOST, PORT, greet=act is not bad_preface)
        direct = act(c)
        if direct is not None:
            return direct, direct == expected
        return outcome(c, expected)
    except TimeoutError:
        return "silence", False
    finally:
        if c:
            c.close()


def main():
    wanted = sys.argv[3:]
    failed = 0
    cases = [case for case in CASES if not wanted or case[0] in wanted]
    for case in cases:
        came, passed = judge(case)
        failed += not passed
        verdict = {True: "passed", False: "FAILED"}.get(passed, "closed")
        print(verdict, case[0], "|", came, "|", case[1], flush=True)
    print(f"{len(cases)} cases, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
