"""A client of gRPC that goes through one case: PORT CASE."""

import queue
import sys

import grpc

port, case = sys.argv[1:]
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
say = channel.unary_unary("/e2e.Words/Say")
count = channel.unary_stream("/e2e.Words/Count")
join = channel.stream_unary("/e2e.Words/Join")
chat = channel.stream_stream("/e2e.Words/Chat")
wait = channel.unary_unary("/e2e.Words/Wait")
die = channel.stream_stream("/e2e.Words/Die")


def refused(call, *code_and_details):
    try:
        call()
    except grpc.RpcError as error:
        said = (error.code(), error.details())
        assert said[: len(code_and_details)] == code_and_details, said
        return error
    raise AssertionError("it was not refused")


if case == "unary":
    assert say(b"word", timeout=45) == b"drow"
elif case == "large":
    word = bytes(range(256)) * 8 * 1024
    assert say(word, timeout=45) == word[::-1]
elif case == "server_streaming":
    assert [int(each) for each in count(b"5000", timeout=45)] == list(range(5000))
elif case == "client_streaming":
    words = [b"word"] * 5000
    assert join(iter(words), timeout=45) == b"+".join(words)
elif case == "both_streaming":
    words = queue.SimpleQueue()
    answers = chat(iter(words.get, None), timeout=45)
    for word in [b"one", b"two", b"three"]:
        # Each answer is here before the next question is asked.
        words.put(word)
        assert next(answers) == word.upper()
    words.put(None)
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK
elif case == "status":
    answer, call = say.with_call(b"word", metadata=(("x-given", "this"),), timeout=45)
    assert dict(call.initial_metadata())["x-got"] == "this", call.initial_metadata()
    ends = dict(call.trailing_metadata())
    assert (ends["x-end"], ends["x-bytes-bin"]) == ("over", b"\x00\xff"), ends
    error = refused(
        lambda: say(b"missing", timeout=45),
        grpc.StatusCode.NOT_FOUND,
        "no such word: 100 % not",
    )
    assert dict(error.trailing_metadata())["x-end"] == "over", error.trailing_metadata()
elif case == "deadline":
    # The way to the server is there, and the time is enough to get there.
    assert say(b"word", timeout=45) == b"drow"
    refused(lambda: wait(b"", timeout=3), grpc.StatusCode.DEADLINE_EXCEEDED)
elif case == "cancel":
    # As a stream it says when the server has begun.
    call = channel.unary_stream("/e2e.Words/Wait")(b"")
    call.initial_metadata()
    # The connection carries both.
    assert say(b"word", timeout=45) == b"drow"
    call.cancel()
    assert call.cancelled()
    assert say(b"word", timeout=45) == b"drow"
elif case == "die":
    words = queue.SimpleQueue()
    answers = die(iter(words.get, None), timeout=45)
    assert next(answers) == b"last words"
    words.put(b"farewell")
    refused(lambda: next(answers), grpc.StatusCode.UNAVAILABLE, "the server's response broke off")
elif case == "nobody":
    refused(
        lambda: say(b"word", timeout=45),
        grpc.StatusCode.UNAVAILABLE,
        "no server could be reached",
    )
elif case == "unimplemented":
    refused(lambda: say(b"word", timeout=45), grpc.StatusCode.UNIMPLEMENTED)
else:
    raise AssertionError(case)
channel.close()
print("as expected")
