"""A gRPC server and its client: says where the one listens, is told of the gateway, says how the other's calls ended."""

import json
import queue
import sys
import time
from concurrent import futures

import grpc


class Calls(grpc.GenericRpcHandler):
    """Bytes in, bytes out; which kind of call it is stands in its name."""

    def service(self, details):
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Down": grpc.unary_stream_rpc_method_handler(lambda request, call: (b"%d" % i for i in range(5))),
            "Up": grpc.stream_unary_rpc_method_handler(lambda requests, call: b"+".join(requests)),
            "Both": grpc.stream_stream_rpc_method_handler(lambda requests, call: (b"e:" + one for one in requests)),
            "Abort": grpc.unary_unary_rpc_method_handler(
                lambda request, call: call.abort(grpc.StatusCode.NOT_FOUND, "nö such")
            ),
            "Late": grpc.unary_unary_rpc_method_handler(lambda request, call: time.sleep(2) or b""),
        }.get(details.method.rsplit("/", 1)[1])


def unary(request, call):
    credential = dict(call.invocation_metadata()).get("authorization")
    call.set_trailing_metadata((("x-trailer", "1"), ("x-credential", str(credential))))
    return b"unary:" + request


def refusal(call):
    try:
        call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}
    return {"code": "OK"}


def bearer(secret):
    return (("authorization", "Bearer " + secret),)


def calls(channel, told):
    key = bearer(told["secret"])
    ask = channel.unary_unary("/it.Calls/Unary")
    both = channel.stream_stream("/it.Calls/Both")
    answer, call = ask.with_call(b"x", metadata=key)
    trailers = dict(call.trailing_metadata())
    credential = trailers["x-credential"]
    out = {
        "unary": {
            "answer": answer.decode(),
            "trailer": trailers["x-trailer"],
            "credential": None if credential == "None" else credential,
        },
        "big": len(ask(b"z" * 3_000_000, metadata=key)),
        "down": [one.decode() for one in channel.unary_stream("/it.Calls/Down")(b"", metadata=key)],
        "up": channel.stream_unary("/it.Calls/Up")(iter([b"a", b"b", b"c"]), metadata=key).decode(),
        "both": [one.decode() for one in both(iter([b"a", b"b", b"c"]), metadata=key)],
        "in_turn": in_turn(both, key),
        "aborted": refusal(lambda: channel.unary_unary("/it.Calls/Abort")(b"", metadata=key)),
        "without_key": refusal(lambda: ask(b"")),
        "unknown_key": refusal(lambda: ask(b"", metadata=bearer("unknown"))),
        "without_scope": refusal(lambda: channel.unary_unary("/it.Scoped/Unary")(b"", metadata=key)),
        "without_route": refusal(lambda: channel.unary_unary("/it.Other/Unary")(b"", metadata=key)),
        "stream_without_key": refusal(lambda: list(channel.unary_stream("/it.Calls/Down")(b""))),
        "too_late": refusal(lambda: channel.unary_unary("/it.Calls/Late")(b"", metadata=key, timeout=0.5)),
    }
    # One is let through in all, and it may have been on the other channel.
    spent = bearer(told["spent"])
    out["spent"] = [refusal(lambda: ask(b"", metadata=spent)) for _ in range(2)][1]
    many = [ask.future(b"x", metadata=key) for _ in range(200)]
    out["many"] = sum(one.result() == b"unary:x" for one in many)
    return out


def in_turn(both, key):
    """Whether each message is answered while the stream is still open."""
    to_send = queue.Queue()
    answers = both(iter(to_send.get, None), metadata=key, timeout=30)
    for text in (b"1", b"2", b"3"):
        to_send.put(text)
        if next(answers) != b"e:" + text:
            return False
    to_send.put(None)
    return list(answers) == []


def main():
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(Calls(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"port": port}), flush=True)
    told = json.loads(sys.stdin.readline())
    with open(told["authority"], "rb") as file:
        trusted = grpc.ssl_channel_credentials(file.read())
    channels = {
        "plain": grpc.insecure_channel(told["plain"]),
        "secured": grpc.secure_channel(told["secured"], trusted),
    }
    print(json.dumps({name: calls(channel, told) for name, channel in channels.items()}), flush=True)
    server.stop(0)


main()
