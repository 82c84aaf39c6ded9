"""Clients that retry nothing: one over HTTP/1.1, one over HTTP/2. Both write into the ledger what exactly became of a send.

Before it uses a kept connection again, a client looks whether the other side has closed it, as httpx, urllib3 and Go do. From
the first byte of a request on, whatever happens to the connection is the gateway's doing.
"""

import asyncio
import select
import ssl
import time
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from ledger import BROKEN_OFF, CUT, NO_ANSWER, NO_CONNECTION, NOT_TAKEN, SILENT, Send

PATIENCE = 20.0
MOST_LINES = 8
LIMIT = 1 << 20


@dataclass
class Request:
    """What is sent; a body in parts is sent chunked."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    parts: list[bytes] | None = None
    #: Written as it is, for what no client library would write.
    raw: bytes = b""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


class BrokeOff(Exception):
    """The answer began and did not end."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def is_readable(writer: asyncio.StreamWriter) -> bool:
    """Whether something came unasked: on an idle connection, its end."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


class Http1:
    """One connection at a time, kept while both sides want it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, source: str | None = None) -> None:
        self.port, self.tls, self.source = port, tls, source
        self.name = "tls" if tls else "http/1.1"
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.opened = 0

    async def connect(self) -> None:
        local = (self.source, 0) if self.source else None
        self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls, server_hostname="gate.example" if self.tls else None, limit=LIMIT,
            local_addr=local), PATIENCE)
        self.opened += 1

    def close(self) -> None:
        if self.writer:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def send(self, send: Send, request: Request, keep: bool = True, cut_after: int | None = None,
                   cut_answer: int | None = None) -> Answer | None:
        """One request. `cut_after` bytes of it, or of its answer, the connection is cut."""
        send.wire = self.name
        send.start = time.monotonic()
        try:
            if self.writer and (self.reader.at_eof() or self.writer.is_closing() or is_readable(self.writer)):
                self.close()
            if not self.writer:
                try:
                    send.fresh = True
                    await self.connect()
                except (OSError, asyncio.TimeoutError) as error:
                    send.outcome, send.fault = NO_CONNECTION, repr(error)
                    return None
                send.start = time.monotonic()
            return await asyncio.wait_for(self._exchange(send, request, keep, cut_after, cut_answer), PATIENCE)
        except asyncio.TimeoutError:
            send.outcome = SILENT
            self.close()
        except asyncio.CancelledError:
            send.outcome = CUT
            self.close()
            raise
        finally:
            send.end = time.monotonic()
        return None

    async def _exchange(self, send, request, keep, cut_after, cut_answer) -> Answer | None:
        data = request.raw or as_bytes(request, keep)
        reading = asyncio.create_task(self._read(request.method, cut_answer))
        try:
            self.writer.write(data[:cut_after])
            await self.writer.drain()
            send.whole = cut_after is None
        except OSError:
            pass  # It may have been answered before its end; then the answer is there to be read.
        if cut_after is not None:
            reading.cancel()
            send.outcome = CUT
            self.close()
            return None
        try:
            answer = await reading
        except BrokeOff as broken:
            send.outcome = CUT if cut_answer is not None else BROKEN_OFF
            send.request_id = broken.answer.headers.get("x-request-id", "")
            self.close()
            return broken.answer
        except (OSError, asyncio.IncompleteReadError):
            send.outcome = NO_ANSWER
            self.close()
            return None
        send.outcome, send.request_id = answer.status, answer.headers.get("x-request-id", "")
        if not keep or answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def _read(self, method: str, cut_answer: int | None) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        answer = Answer(int(first.split()[1]), headers)
        try:
            if cut_answer is not None and answer.status == 200:
                answer.body = await self.reader.readexactly(cut_answer)
                raise BrokeOff(answer)
            if method != "HEAD":
                answer.body = await self._read_body(headers)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise BrokeOff(answer) from error
        return answer

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", "0")))
        body = bytearray()
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            body += (await self.reader.readexactly(size + 2))[:-2]
            if size == 0:
                return bytes(body)


def as_bytes(request: Request, keep: bool) -> bytes:
    lines = [f"{request.method} {request.path} HTTP/1.1", "Host: gate.example"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if not keep:
        lines.append("Connection: close")
    if request.parts is not None:
        lines.append("Transfer-Encoding: chunked")
    elif request.body or request.method in ("POST", "PATCH"):
        lines.append(f"Content-Length: {len(request.body)}")
    body = request.body if request.parts is None else b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in [*request.parts, b""])
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


#: asyncio itself does not hold on to a task.
READING: set[asyncio.Task] = set()


class Line:
    """One HTTP/2 connection: what its streams wait for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        # After a goodbye this library takes nothing more; but streams below the last one are still to be answered.
        machine, state = self.peer.state_machine, h2.connection.ConnectionState.CLIENT_OPEN
        goodbye = (state, h2.connection.ConnectionInputs.RECV_GOAWAY)
        machine._transitions = {**machine._transitions, goodbye: (None, state)}
        self.peer.clear_outbound_data_buffer = lambda: None
        self.answers: dict[int, tuple[asyncio.Future, Answer]] = {}
        self.window = asyncio.Event()
        #: The highest stream that the other side will still answer, once it said goodbye.
        self.last: int | None = None
        self.ended = False
        self.peer.initiate_connection()
        self.flush()
        task = asyncio.create_task(self.read())
        READING.add(task)
        task.add_done_callback(READING.discard)

    def flush(self) -> None:
        self.writer.write(self.peer.data_to_send())

    @property
    def is_open(self) -> bool:
        return not self.ended and self.last is None

    async def read(self) -> None:
        try:
            while data := await self.reader.read(65536):
                for event in self.peer.receive_data(data):
                    self.happened(event)
                self.flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        self.ended = True
        self.window.set()
        self.writer.transport.abort()
        for future, answer in self.answers.values():
            if not future.done():
                future.set_exception(BrokeOff(answer) if answer.status else ConnectionResetError())

    def happened(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.last = event.last_stream_id
            for stream, (future, _) in self.answers.items():
                if stream > self.last and not future.done():
                    future.set_exception(NotTaken())
        self.window.set()
        if getattr(event, "stream_id", None) not in self.answers:
            return
        future, answer = self.answers[event.stream_id]
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers.update(event.headers)
            answer.status = int(answer.headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            self.peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded) and not future.done():
            future.set_result(answer)
        elif isinstance(event, h2.events.StreamReset) and not future.done():
            refused = event.error_code == 7 and not answer.status  # REFUSED_STREAM: it was not looked at
            future.set_exception(NotTaken() if refused else BrokeOff(answer) if answer.status else ConnectionResetError())

    async def upload(self, stream: int, body: bytes, answered: asyncio.Future) -> None:
        try:
            while body and not self.ended and not answered.done():
                self.window.clear()
                room = min(self.peer.local_flow_control_window(stream), self.peer.max_outbound_frame_size)
                if room:
                    self.peer.send_data(stream, body[:room], end_stream=len(body) <= room)
                    self.flush()
                    body = body[room:]
                else:
                    await self.window.wait()
        except h2.exceptions.StreamClosedError:
            pass  # Answered before its end.


class NotTaken(Exception):
    """The other side said that it did not look at the request."""


class Http2:
    """Requests side by side, over one connection for each key, since all of it ends with the key. It is opened anew once the
    other side said goodbye."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port, self.tls = port, tls
        self.name = "http/2 tls" if tls else "h2c"
        self.lines: dict[str, Line] = {}
        self.opening = asyncio.Lock()

    def close(self) -> None:
        for line in self.lines.values():
            line.writer.transport.abort()
        self.lines = {}

    async def open(self, key: str) -> Line:
        async with self.opening:
            line = self.lines.get(key)
            if line and line.is_open and is_readable(line.writer):
                await asyncio.sleep(0)  # What came is read first: it may be a goodbye.
                await asyncio.sleep(0)
            if not (line and line.is_open):
                reader, writer = await asyncio.wait_for(asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=self.tls, server_hostname="gate.example" if self.tls else None), PATIENCE)
                self.close_oldest()
                line = self.lines[key] = Line(reader, writer)
            return line

    def close_oldest(self) -> None:
        """Of those that are not in use: a client does not keep more and more."""
        unused = [key for key, line in self.lines.items() if not line.answers]
        for key in unused[:max(0, len(self.lines) - MOST_LINES)]:
            line = self.lines.pop(key)
            line.ended = True  # For whoever was about to use it.
            line.writer.transport.abort()

    async def send(self, send: Send, request: Request, keep: bool = True, cut_after: int | None = None,
                   cut_answer: int | None = None) -> Answer | None:
        """One request. To cut it means to take it back."""
        send.wire = self.name
        send.start = time.monotonic()
        try:
            try:
                opened = self.lines.get(send.key)
                line = await self.open(send.key)
                send.fresh = line is not opened
            except (OSError, asyncio.TimeoutError) as error:
                send.outcome, send.fault = NO_CONNECTION, repr(error)
                return None
            send.start = time.monotonic()
            return await asyncio.wait_for(self._exchange(send, request, line, cut_after), PATIENCE)
        except asyncio.TimeoutError:
            send.outcome = SILENT
            self.close()
        except NotTaken:
            send.outcome = NOT_TAKEN
        except BrokeOff as broken:
            send.outcome, send.request_id = BROKEN_OFF, broken.answer.headers.get("x-request-id", "")
            return broken.answer
        except OSError:
            send.outcome = NO_ANSWER
        except asyncio.CancelledError:
            send.outcome = CUT
            self.close()
            raise
        finally:
            send.end = time.monotonic()
        return None

    async def _exchange(self, send: Send, request: Request, line: Line, cut_after: int | None) -> Answer | None:
        scheme = "https" if self.tls else "http"
        headers = [(":method", request.method), (":scheme", scheme), (":authority", "gate.example"), (":path", request.path)]
        headers += [(name.lower(), value) for name, value in request.headers]
        body = b"".join(request.parts) if request.parts is not None else request.body
        while not line.is_open:
            line = await self.open(send.key)  # It said goodbye since it was looked at.
        stream = line.peer.get_next_available_stream_id()
        future, answer = asyncio.get_running_loop().create_future(), Answer(0, {})
        line.answers[stream] = (future, answer)
        try:
            line.peer.send_headers(stream, headers, end_stream=not body)
            line.flush()
            if cut_after is not None:
                line.peer.reset_stream(stream, 8)
                line.flush()
                send.outcome = CUT
                return None
            await line.upload(stream, body, future)
            send.whole = True
            answer = await future
        finally:
            del line.answers[stream]
            if future.done() and not future.cancelled():
                future.exception()
        send.outcome, send.request_id = answer.status, answer.headers.get("x-request-id", "")
        return answer
