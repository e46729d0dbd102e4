"""What a client of HTTP/2 does, right and wrong: python http2.py SCENE HOST PORT

Prints what came of it on one line.
"""

import sys

from h2line import *


def flood(frames, setup=b"", body=False):
    def run(host, port):
        c = Line(host, port)
        if body:
            c.request(1, END_HEADERS, "POST")
        try:
            for n in range(2000):
                c.send(frames(n))
            c.send(setup)
            event = c.wait(lambda kind, *_: kind == GOAWAY)
        except TimeoutError:
            return "silence"
        return "closed" if event is None else f"GOAWAY {int.from_bytes(event[3][4:8], 'big')}"

    return run


def rapid(host, port):
    c = Line(host, port)
    for n in range(500):
        c.request(1 + 2 * n, END_STREAM | END_HEADERS)
        c.send(frame(RST_STREAM, 0, 1 + 2 * n, number(CANCEL)))
    event = c.wait(lambda kind, *_: kind == GOAWAY)
    return "closed" if event is None else f"GOAWAY {int.from_bytes(event[3][4:8], 'big')}"


def provoked(host, port):
    """Makes the other side reset: an even more patient rapid reset (CVE-2025-8671)."""
    c = Line(host, port)
    for n in range(500):
        stream = 1 + 2 * n
        c.request(stream, END_HEADERS, "POST")
        c.send(frame(WINDOW_UPDATE, 0, stream, number(0x7FFFFFFF)))
        if n % 50 == 49 and not alive(c):
            break
    event = next((e for e in c.events if e[0] == GOAWAY), None)
    return "alive" if event is None else f"GOAWAY {int.from_bytes(event[3][4:8], 'big')}"


def alive(c):
    try:
        return c.ping() and not any(event[0] == GOAWAY for event in c.events)
    except TimeoutError:
        return False


def continuations(host, port):
    c = Line(host, port)
    c.send(frame(HEADERS, END_STREAM, 1, c.block([(":method", "GET")])))
    for _ in range(100):
        c.send(frame(CONTINUATION, 0, 1, b""))
    event = c.wait(lambda kind, *_: kind == GOAWAY)
    return "closed" if event is None else f"GOAWAY {int.from_bytes(event[3][4:8], 'big')}"


def slow_block(host, port):
    """A header block that does not end."""
    c = Line(host, port)
    c.send(frame(HEADERS, END_STREAM, 1, c.block([(":method", "GET")])))
    event = c.wait(lambda kind, *_: kind == GOAWAY)
    return "closed" if event is None else f"GOAWAY {int.from_bytes(event[3][4:8], 'big')}"


def stalled(host, port):
    """Asks for more than its window takes, and never opens it."""
    c = Line(host, port, settings=setting(4, 10))
    c.request(path="/large")
    event = c.wait(lambda kind, flags, stream, _: kind == RST_STREAM and stream == 1)
    return "closed" if event is None else f"RST_STREAM, {'alive' if c.ping() else 'dead'}"


def fields(host, port):
    c = Line(host, port)
    c.request(more=[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("te", "trailers")])
    return "{} {}".format(*c.response())


def trailers(host, port):
    c = Line(host, port)
    c.request(1, END_HEADERS, "POST", more=[("te", "trailers")])
    c.send(frame(DATA, 0, 1, b"hello"))
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block([("x-sum", "5")])))
    status, body = c.response()
    last = [event[4] for event in c.events if event[0] == HEADERS][-1]
    return f"{status} {body.decode()} {last.get('x-out')}"


def refusals(host, port):
    """Statuses of requests that are answered and not reset."""
    table = [
        dict(more=[("host", "b")]),
        dict(more=[(f"x-{n}", "1") for n in range(101)]),
        dict(path="/" + "x" * 9000),
        dict(method="TRACE"),
        dict(path="/a/%2f"),
        dict(path="*"),
        dict(more=[("expect", "x")]),
        dict(more=[("x", " y")]),
    ]
    c = Line(host, port)
    statuses = []
    for n, request in enumerate(table):
        c.request(1 + 2 * n, **request)
        response = c.response(1 + 2 * n)
        statuses.append(response[0] if response else "reset")
    c.send(frame(HEADERS, END_HEADERS, 101, c.block([(":method", "CONNECT"), (":authority", "a:80")])))
    response = c.response(101)
    statuses.append(response[0] if response else "reset")
    return " ".join(statuses)


def cancelled(host, port):
    """Leaves before the response comes."""
    c = Line(host, port)
    c.request(path="/never")
    c.ping()
    c.send(frame(RST_STREAM, 0, 1, number(CANCEL)))
    return "alive" if c.ping() else "dead"


def websocket(host, port):
    c = Line(host, port)
    allowed = any(e[0] == SETTINGS and b"\0\x08\0\0\0\1" in e[3] for e in c.events)
    block = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
             (":path", "/chat"), (":authority", "a"), ("sec-websocket-version", "13")]
    c.send(frame(HEADERS, END_HEADERS, 1, c.block(block)))
    head = c.wait(lambda kind, *_: kind == HEADERS)
    c.send(frame(DATA, 0, 1, b"ping"))
    data = b""
    while len(data) < 4:
        event = c.wait(lambda kind, *_: kind == DATA)
        data += event[3]
    c.send(frame(DATA, END_STREAM, 1, b"last"))
    while True:
        event = c.wait(lambda kind, *_: kind == DATA)
        data += event[3]
        if event[1] & END_STREAM:
            return f"{allowed} {head[4][':status']} {'sec-websocket-accept' in head[4]} {data.decode()}"


def draining(host, port):
    """Asks all the time until it is told to go, and counts what was not answered."""
    c = Line(host, port)
    print("ready", flush=True)
    stream, unanswered, last = 1, 0, None
    while not c.over and not unanswered and last is None:
        c.request(stream)
        response = c.response(stream)
        if response is None or response[0] != "200":
            unanswered = stream
        for kind, flags, _, payload, *_ in c.events:
            if kind == PING and not flags & ACK:
                # We have heard that it ends; now it says which stream was the last.
                c.send(frame(PING, ACK, 0, payload))
            if kind == GOAWAY and int.from_bytes(payload[:4], "big") < 1 << 30:
                last = int.from_bytes(payload[:4], "big")
        c.events.clear()
        stream += 2
    # What came after the last stream was not looked at: it may be asked again elsewhere.
    lost = unanswered and (last is None or unanswered <= last)
    return f"{'lost' if lost else 'nothing lost'}, {'told' if last else 'not told'}"


SCENES = {
    "ping": flood(lambda n: frame(PING, 0, 0, bytes(8))),
    "settings": flood(lambda n: frame(SETTINGS)),
    "empty_data": flood(lambda n: frame(DATA, 0, 1), body=True),
    "window_update": flood(lambda n: frame(WINDOW_UPDATE, 0, 0, number(1))),
    "priority": flood(lambda n: frame(PRIORITY, 0, 1, bytes([0, 0, 0, 3, 1]))),
    "rst_stream": rapid,
    "glitch": provoked,
    "continuation": continuations,
    "slow_block": slow_block,
    "stalled": stalled,
    "fields": fields,
    "trailers": trailers,
    "refusals": refusals,
    "cancelled": cancelled,
    "websocket": websocket,
    "draining": draining,
}

if __name__ == "__main__":
    print(SCENES[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
