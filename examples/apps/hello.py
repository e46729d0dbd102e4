#!/usr/bin/env python3
"""A small app for Evergate: it listens where PORT says, and tells whether it is well."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = "hello"  # what the next release changes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_GET(self):
        who = f"{os.environ['APP']}/{os.environ['INSTANCE']}"
        body = "ok\n" if self.path == "/health" else f"{GREETING} from {who}\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass  # the access log is Evergate's


if __name__ == "__main__":
    address = (os.environ["HOST"], int(os.environ["PORT"]))
    print(f"listening on {address[0]}:{address[1]}", flush=True)
    ThreadingHTTPServer(address, Handler).serve_forever()
