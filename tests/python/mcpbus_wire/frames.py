"""The frames of the control lane, and how the bytes of a lane are cut into frames."""

from dataclasses import dataclass, field
from typing import ClassVar

from .fields import U32_MAX, U64_MAX, Reader, Refused, blob, fixed, u8, varint

MAGIC = b"mcpbus\r\n"
VERSION = 1

CONTROL_FRAME_MAX = 262_144
DATA_FRAME_MAX = 131_072
# A record with a longer body goes in parts.
FRAME_TARGET = 65_536
BODY_MAX = 1 << 20
NAME_MAX = 1_024
REASON_MAX = 1_024
DEFINITION_MAX = 16_384
SIGNAL_MAX = 131_072
FLOWS_MAX = 4_096
FAILURES_MAX = 4_096
EXTENSIONS_MAX = 4_096

BATCH, LARGE, PART = 32, 33, 34

CLIENT, NODE = 0, 1

DONE, DUPLICATE, VERSION_UNKNOWN, LIMIT, PROTOCOL, ACCESS, SILENT = range(7)
GOODBYES = ("done", "duplicate", "version", "limit", "protocol", "access", "silent")

FAILURES = {
    1: "no_route",
    2: "rejected",
    3: "expired",
    4: "max_deliver",
    5: "hop_limit",
    6: "decode",
    7: "access",
    8: "quota",
    9: "corrupt",
    10: "panic",
    11: "no_spool",
    12: "peer_died",
    13: "cancelled",
    14: "shed",
    15: "spool_full",
    16: "limited",
}


class Limited(int):
    """Failure 16, with the milliseconds after which it is worth trying again."""

    def __new__(cls, after):
        limited = super().__new__(cls, 16)
        limited.after = after
        return limited


def failure_field(failure):
    return u8(failure) + (varint(failure.after) if isinstance(failure, Limited) else b"")


def framed(kind, payload):
    return fixed(1 + len(payload), 4) + u8(kind) + payload


class FrameReader:
    """Cuts the bytes of one lane into frames, of which it holds one at most that is not whole."""

    def __init__(self, most):
        self.most = most
        self.buffer = bytearray()

    def feed(self, data):
        """The frames that are whole now, each a pair of kind and payload. What stands before a refused one is given first."""
        self.buffer += data
        at = 0
        try:
            while len(self.buffer) - at >= 4:
                length = int.from_bytes(self.buffer[at : at + 4], "little")
                if not 1 <= length <= self.most:
                    raise Refused(f"a frame of {length} bytes on a lane that allows 1 to {self.most}")
                if len(self.buffer) - at - 4 < length:
                    break
                frame = bytes(self.buffer[at + 4 : at + 4 + length])
                at += 4 + length
                yield frame[0], frame[1:]
        finally:
            del self.buffer[:at]


@dataclass
class Hello:
    kind: ClassVar[int] = 1
    role: int
    id: int
    epoch: int
    name: bytes
    session: int
    incarnation: int
    link: int
    lanes: int
    body_max: int
    flows_max: int
    oldest: int = VERSION
    newest: int = VERSION
    extensions: bytes = b""

    def payload(self):
        return b"".join(
            (
                MAGIC,
                u8(self.oldest),
                u8(self.newest),
                u8(self.role),
                fixed(self.id, 16),
                varint(self.epoch),
                blob(self.name, NAME_MAX),
                varint(self.session),
                varint(self.incarnation),
                varint(self.link),
                u8(self.lanes),
                varint(self.body_max),
                varint(self.flows_max),
                blob(self.extensions, EXTENSIONS_MAX),
            )
        )

    @classmethod
    def read(cls, reader):
        if reader.take(8) != MAGIC:
            raise Refused("the magic is another")
        oldest, newest, role = reader.u8(), reader.u8(), reader.u8()
        if oldest > newest:
            raise Refused(f"versions {oldest} to {newest}")
        if role not in (CLIENT, NODE):
            raise Refused(f"role {role}")
        hello = cls(
            role=role,
            id=reader.fixed(16),
            epoch=reader.varint(),
            name=reader.blob(NAME_MAX, "name"),
            session=reader.varint(),
            incarnation=reader.varint(),
            link=reader.varint(),
            lanes=reader.u8(),
            body_max=reader.varint(),
            flows_max=reader.varint(U32_MAX, "most flows"),
            oldest=oldest,
            newest=newest,
            extensions=reader.blob(EXTENSIONS_MAX, "extensions"),
        )
        if hello.lanes == 0:
            raise Refused("no data lanes")
        # There are none yet, so all of them are passed over.
        read_tags(hello.extensions)
        return hello

    def speaks(self, version):
        """The hello has one form in every version, so it is read first and judged then."""
        return self.oldest <= version <= self.newest


def read_tags(extensions):
    """The pairs of tag and value in a list of extensions."""
    reader, tags = Reader(extensions), []
    while reader.left():
        tag = reader.u8()
        tags.append((tag, reader.blob(len(extensions), f"tag {tag}")))
    return tags


@dataclass
class Position:
    """Where a flow stands, as its receiver sees it."""

    flow: int
    received: int
    settled: int
    granted: int
    granted_bytes: int

    def payload(self):
        return b"".join(
            (
                varint(self.flow),
                varint(self.received),
                varint(self.received - self.settled),
                varint(self.granted - self.received),
                varint(self.granted_bytes),
            )
        )

    @classmethod
    def read(cls, reader):
        flow = reader.varint(U32_MAX, "flow")
        received = reader.varint()
        settled = received - reader.varint(received, "unsettled")
        granted = received + reader.varint(U64_MAX - received, "granted")
        return cls(flow, received, settled, granted, reader.varint())


def positions_payload(positions):
    if len(positions) > FLOWS_MAX:
        raise ValueError(f"{len(positions)} flows in one frame")
    return varint(len(positions)) + b"".join(position.payload() for position in positions)


def read_positions(reader):
    return [Position.read(reader) for _ in range(reader.varint(FLOWS_MAX, "number of flows"))]


@dataclass
class Resume:
    kind: ClassVar[int] = 2
    link: int
    last: int
    signals: int
    failures: int
    flows: list = field(default_factory=list)

    def payload(self):
        start = varint(self.link) + u8(self.last) + varint(self.signals) + varint(self.failures)
        return start + positions_payload(self.flows)

    @classmethod
    def read(cls, reader):
        return cls(reader.varint(), reader.u8(), reader.varint(), reader.varint(), read_positions(reader))


@dataclass
class Open:
    kind: ClassVar[int] = 3
    flow: int
    definition: bytes

    def payload(self):
        return varint(self.flow) + blob(self.definition, DEFINITION_MAX)

    @classmethod
    def read(cls, reader):
        return cls(reader.varint(U32_MAX, "flow"), reader.blob(DEFINITION_MAX, "definition"))


@dataclass
class Close:
    kind: ClassVar[int] = 4
    flow: int
    last: int
    begun: int = 0

    def payload(self):
        return varint(self.flow) + varint(self.last) + varint(self.begun)

    @classmethod
    def read(cls, reader):
        return cls(reader.varint(U32_MAX, "flow"), reader.varint(), reader.varint())


@dataclass
class Ack:
    kind: ClassVar[int] = 5
    link: int
    signals: int
    failures: int
    flows: list = field(default_factory=list)

    def payload(self):
        return varint(self.link) + varint(self.signals) + varint(self.failures) + positions_payload(self.flows)

    @classmethod
    def read(cls, reader):
        return cls(reader.varint(), reader.varint(), reader.varint(), read_positions(reader))


@dataclass
class Failed:
    kind: ClassVar[int] = 6
    sequence: int
    flow: int
    messages: list  # pairs of sequence and failure

    def payload(self):
        if len(self.messages) > FAILURES_MAX:
            raise ValueError(f"{len(self.messages)} failures in one frame")
        messages = b"".join(varint(sequence) + failure_field(failure) for sequence, failure in self.messages)
        return varint(self.sequence) + varint(self.flow) + varint(len(self.messages)) + messages

    @classmethod
    def read(cls, reader):
        sequence, flow = reader.varint(), reader.varint(U32_MAX, "flow")
        messages = []
        for _ in range(reader.varint(FAILURES_MAX, "number of failures")):
            message, failure = reader.varint(), reader.u8()
            if failure not in FAILURES:
                raise Refused(f"failure {failure}")
            if failure == 16:
                failure = Limited(reader.varint(U32_MAX, "retry after"))
            messages.append((message, failure))
        return cls(sequence, flow, messages)


@dataclass
class Pending:
    kind: ClassVar[int] = 7
    link: int
    flow: int
    messages: int
    bytes: int
    first_bytes: int

    def payload(self):
        return b"".join(varint(value) for value in (self.link, self.flow, self.messages, self.bytes, self.first_bytes))

    @classmethod
    def read(cls, reader):
        return cls(reader.varint(), reader.varint(U32_MAX, "flow"), reader.varint(), reader.varint(), reader.varint())


@dataclass
class Signal:
    kind: ClassVar[int] = 8
    sequence: int
    body: bytes

    def payload(self):
        return varint(self.sequence) + blob(self.body, SIGNAL_MAX)

    @classmethod
    def read(cls, reader):
        return cls(reader.varint(), reader.blob(SIGNAL_MAX, "signal"))


@dataclass
class Ping:
    kind: ClassVar[int] = 9
    nonce: int

    def payload(self):
        return fixed(self.nonce, 8)

    @classmethod
    def read(cls, reader):
        return cls(reader.fixed(8))


class Pong(Ping):
    kind: ClassVar[int] = 10


@dataclass
class Goodbye:
    kind: ClassVar[int] = 11
    code: int
    reason: bytes

    def payload(self):
        return u8(self.code) + blob(self.reason, REASON_MAX)

    @classmethod
    def read(cls, reader):
        code = reader.u8()
        if code >= len(GOODBYES):
            raise Refused(f"goodbye code {code}")
        return cls(code, reader.blob(REASON_MAX, "reason"))


@dataclass
class Revoke:
    """What was granted on a flow goes back to these positions."""

    kind: ClassVar[int] = 12
    link: int
    flow: int
    messages: int
    bytes: int

    def payload(self):
        return b"".join(varint(value) for value in (self.link, self.flow, self.messages, self.bytes))

    @classmethod
    def read(cls, reader):
        return cls(reader.varint(), reader.varint(U32_MAX, "flow"), reader.varint(), reader.varint())


class Revoked(Revoke):
    """Up to where the sender of a flow goes after a revoke."""

    kind: ClassVar[int] = 13


EACH = (Hello, Resume, Open, Close, Ack, Failed, Pending, Signal, Ping, Pong, Goodbye, Revoke, Revoked)
CONTROL = {frame.kind: frame for frame in EACH}
# They tell positions for one link, and say nothing about another.
OF_A_LINK = (Resume, Ack, Pending, Revoke, Revoked)


def encode(frame):
    payload = frame.payload()
    if 1 + len(payload) > CONTROL_FRAME_MAX:
        raise ValueError("the frame is longer than the control lane allows")
    return framed(frame.kind, payload)


def decode(kind, payload):
    """A frame of the control lane."""
    if kind not in CONTROL:
        raise Refused(f"kind {kind} on the control lane")
    reader = Reader(payload)
    frame = CONTROL[kind].read(reader)
    reader.end()
    return frame
