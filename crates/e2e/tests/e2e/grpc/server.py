"""A server of gRPC without generated code: messages are bytes as they are."""

import os
import threading
from concurrent import futures

import grpc


def say(request, context):
    given = dict(context.invocation_metadata()).get("x-given", "")
    context.send_initial_metadata((("x-got", given),))
    context.set_trailing_metadata((("x-end", "over"), ("x-bytes-bin", b"\x00\xff")))
    if request == b"missing":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such word: 100 % not")
    return request[::-1]


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def join(requests, context):
    return b"+".join(requests)


def chat(requests, context):
    for request in requests:
        yield request.upper()


def wait(request, context):
    gone = threading.Event()
    context.add_callback(gone.set)
    context.send_initial_metadata(())
    gone.wait()
    print("cancelled", flush=True)
    return b""


def die(requests, context):
    yield b"last words"
    # The client has them.
    next(requests)
    os._exit(1)


def check(request, context):
    """grpc.health.v1: field 1 of the question is the service, field 1 of the answer its state."""
    states = {b"": b"\x08\x01", b"e2e.Words": b"\x08\x01", b"e2e.Tired": b"\x08\x02"}
    service = request[2:]
    if service not in states:
        context.abort(grpc.StatusCode.NOT_FOUND, "never heard of it")
    return states[service]


methods = {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Die": grpc.stream_stream_rpc_method_handler(die),
}
server = grpc.server(futures.ThreadPoolExecutor(8))
health = {"Check": grpc.unary_unary_rpc_method_handler(check)}
server.add_generic_rpc_handlers(
    (
        grpc.method_handlers_generic_handler("e2e.Words", methods),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
    )
)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
