"""The CRM of the soak test, a process of its own that can be killed: answers, and writes down each request that it executed.

    crm.py PORT RECORD [--lie forget|twice|mix]

A request is executed once it was read whole; its line is in the record (one `write`, so a kill cannot split it) before the
answer begins. What the answer looks like is asked for in `X-Soak-Do`. A line on standard input, "close-idle", closes every
connection that waits for a request. The end of standard input ends the process.

With `--lie` one execution in twenty is not written down, or written twice, or answered with another one's reference: that is
for the self-test, which must notice.
"""

import asyncio
import hashlib
import json
import os
import socket
import struct
import sys
from urllib.parse import parse_qs

from websockets.server import ServerProtocol

LIE_EVERY = 20


def content(ref: str, length: int) -> bytes:
    """What a download of that reference holds; the client makes the same."""
    block = hashlib.sha256(ref.encode()).hexdigest().encode()
    return (block * (length // len(block) + 1))[:length]


class Broken(Exception):
    """The request was not sent to its end."""


class Crm:
    def __init__(self, record: str, lie: str) -> None:
        self.record = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.lie = lie
        self.executed = 0
        self.idle: set[asyncio.StreamWriter] = set()

    def execute(self, ref: str, digest: str, headers: dict[str, str]) -> str:
        """Writes it down; the reference to answer with."""
        self.executed += 1
        lies = self.executed % LIE_EVERY == 0
        line = f"{ref} {digest} {headers.get('x-sidelock-key-id', '-')}\n".encode()
        if not (lies and self.lie == "forget"):
            os.write(self.record, line)
        if lies and self.lie == "twice":
            os.write(self.record, line)
        return "somebody-elses" if lies and self.lie == "mix" else ref

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.idle.add(writer)
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                finally:
                    self.idle.discard(writer)
                if not await self.answer(head, reader, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, Broken):
            pass
        finally:
            writer.close()

    async def answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await self.body(headers, reader)
        ref = headers.get("x-soak-ref", "none")
        do = {name: values[0] for name, values in parse_qs(headers.get("x-soak-do", "")).items()}
        if headers.get("upgrade", "").lower() == "websocket":
            return await self.echo(ref, head, headers, reader, writer)
        digest = hashlib.sha256(body).hexdigest()
        told = self.execute(ref, digest, headers)
        if "slow" in do:
            await asyncio.sleep(int(do["slow"]) / 1000)
        if "reset" in do:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if "hang" in do:
            await reader.read()
            return False
        if "drip" in do:
            return await self.drip(int(do["drip"]), writer)
        answer = content(ref, int(do["down"])) if "down" in do else json.dumps({"ref": told, "digest": digest}).encode()
        status = do.get("status", "200 OK")
        closes = "goodbye" in do
        if "chunked" in do:
            framing, answer = "Transfer-Encoding: chunked", b"".join(
                b"%x\r\n%b\r\n" % (len(part), part) for part in (answer[at:at + 8000] for at in range(0, len(answer), 8000))
            ) + b"0\r\n\r\n"
        else:
            framing = f"Content-Length: {len(answer)}"
        told_end = "Connection: close\r\n" if closes else ""
        writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{told_end}{framing}\r\n\r\n".encode() + answer)
        await writer.drain()
        return not closes

    async def body(self, headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await reader.readexactly(int(headers.get("content-length", "0")))
        body = bytearray()
        while True:
            line = await reader.readline()
            if not line.endswith(b"\r\n"):
                raise Broken
            size = int(line, 16)
            body += await reader.readexactly(size)
            if await reader.readline() != b"\r\n":
                raise Broken
            if size == 0:
                return bytes(body)

    async def drip(self, pieces: int, writer: asyncio.StreamWriter) -> bool:
        """An event stream: so many pieces, ten a second."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(pieces):
            writer.write(b"9\r\ndata: x\n\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def echo(self, ref: str, head: bytes, headers: dict[str, str], reader: asyncio.StreamReader,
                   writer: asyncio.StreamWriter) -> bool:
        """A WebSocket that gives every message back."""
        peer = ServerProtocol()
        peer.receive_data(head)
        [request] = peer.events_received()
        self.execute(ref, "websocket", headers)
        peer.send_response(peer.accept(request))
        while True:
            for data in peer.data_to_send():
                if data:
                    writer.write(data)
            await writer.drain()
            if peer.close_expected():
                return False
            data = await reader.read(65536)
            if not data:
                return False
            peer.receive_data(data)
            for frame in peer.events_received():
                if frame.opcode == 1:
                    peer.send_text(frame.data)


async def main(port: int, record: str, lie: str) -> None:
    crm = Crm(record, lie)
    server = await asyncio.start_server(crm.converse, "127.0.0.1", port, limit=1 << 20, backlog=1024)
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    print("ready", flush=True)
    async with server:
        while line := await told.readline():
            if line == b"close-idle\n":
                for writer in list(crm.idle):
                    writer.transport.abort()
                print("closed", flush=True)
    os._exit(0)


if __name__ == "__main__":
    _lie = sys.argv[4] if sys.argv[3:4] == ["--lie"] else ""
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], _lie))
