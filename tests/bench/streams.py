#!/usr/bin/env python3
"""Time from saving `revoked = true` to the last byte of 1,000 event streams that the key has open. README.md says more."""

import argparse
import asyncio
import math
import multiprocessing
import re
import sys
import time

sys.dont_write_bytecode = True

import common
from common import Gateway, request

STREAMS = 1_000
BYSTANDERS = 50
EVENTS_PER_SECOND = 4
MOST_MS = 1_000
PATIENCE_SECONDS = 30
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"e\r\ndata: tick 12\n\r\n"


class StreamingCrm:
    """A CRM in a process of its own that answers every request with an event stream, and tells how many are open."""

    def __enter__(self) -> "StreamingCrm":
        ours, theirs = multiprocessing.Pipe()
        self.pipe = ours
        self.process = multiprocessing.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        self.port = ours.recv()
        return self

    def open_streams(self) -> int:
        self.pipe.send("open?")
        return self.pipe.recv()

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join(10)


def _serve(pipe: "multiprocessing.connection.Connection") -> None:
    common.in_child()
    streams: set[asyncio.StreamWriter] = set()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            streams.add(writer)
            await reader.read()  # Nothing more is asked: this is the end.
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            streams.discard(writer)
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(conversation, "127.0.0.1", 0, backlog=2_000)
        asyncio.get_running_loop().add_reader(pipe.fileno(), lambda: (pipe.recv(), pipe.send(len(streams))))
        pipe.send(server.sockets[0].getsockname()[1])
        while True:
            for writer in list(streams):
                writer.write(EVENT)
            await asyncio.sleep(1 / EVENTS_PER_SECOND)

    asyncio.run(main())


class Stream:
    """One open stream: when its last byte came, and when it was closed."""

    def __init__(self) -> None:
        self.last = 0.0
        self.closed: float | None = None

    async def follow(self, port: int, key: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("GET", "/api/events", {"Authorization": f"Bearer {key}"}))
        try:
            while await reader.read(4096):
                self.last = time.monotonic()
        except OSError:
            pass
        self.closed = time.monotonic()
        writer.close()


async def until(what: str, happened) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {PATIENCE_SECONDS} s: {what}")
        await asyncio.sleep(0.01)


def percentile(values: list[float], share: float) -> float:
    values = sorted(values)
    return values[max(0, math.ceil(share * len(values)) - 1)]


async def measure(gateway: Gateway, crm: StreamingCrm, victim: tuple[str, str], other: tuple[str, str]) -> int:
    streams = [Stream() for _ in range(STREAMS)]
    bystanders = [Stream() for _ in range(BYSTANDERS)]
    tasks = [asyncio.create_task(stream.follow(gateway.port, victim[1])) for stream in streams]
    tasks += [asyncio.create_task(stream.follow(gateway.port, other[1])) for stream in bystanders]
    await until("all streams carry events", lambda: all(stream.last for stream in streams + bystanders))
    text = gateway.key_file.read_text().replace(f'id = "{victim[0]}"', f'id = "{victim[0]}"\nrevoked = true')
    gateway.key_file.write_text(text)
    saved = time.monotonic()
    await until("all streams are closed", lambda: all(stream.closed for stream in streams))
    await until("the CRM's side is closed", lambda: crm.open_streams() == BYSTANDERS)
    crm_side = (time.monotonic() - saved) * 1000
    now = time.monotonic()
    await until("the others go on", lambda: all(stream.last > now for stream in bystanders))
    bytes_ms = [max(0.0, stream.last - saved) * 1000 for stream in streams]
    closed_ms = [(stream.closed - saved) * 1000 for stream in streams if stream.closed]
    print(f"{STREAMS:,} event streams of one key, {BYSTANDERS} of another, {EVENTS_PER_SECOND} events a second each")
    for what, values in (("last byte", bytes_ms), ("closed", closed_ms)):
        print(f"  {what:10} p50 {percentile(values, .5):.0f} ms, p99 {percentile(values, .99):.0f} ms, max {max(values):.0f} ms")
    print(f"  the CRM's side closed, all of it: within {crm_side:.0f} ms")
    buckets = re.findall(r'^sidelock_revocation_seconds_bucket\{le="([^"]+)"\} (\d+)', gateway.admin_page("/metrics"), re.M)
    print("  sidelock_revocation_seconds:", ", ".join(f"{count} within {bound} s" for bound, count in buckets))
    lost = sum(stream.closed is not None for stream in bystanders)
    for task in tasks:
        task.cancel()
    if lost or max(bytes_ms) > MOST_MS:
        print(f"FAILED: {lost} streams of the other key were closed; the last byte must come within {MOST_MS} ms")
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/sidelock")
    binary = common.find_binary(parser.parse_args().binary)
    common.end_on_sigterm()
    victim, other = common.new_key(), common.new_key()
    blocks = "".join(common.key_block(*key) for key in (victim, other))
    with StreamingCrm() as crm, Gateway(binary, crm.port, blocks, threads=2) as gateway:
        return asyncio.run(measure(gateway, crm, victim, other))


if __name__ == "__main__":
    sys.exit(main())
