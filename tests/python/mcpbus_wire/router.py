"""What the router puts in: definitions of flows, signals of a client, extensions, answers."""

from dataclasses import dataclass
from typing import ClassVar

from .fields import Reader, Refused, blob, fixed, u8, varint

TEXT_MAX = 255
REASON_MAX = 512

PUBLISHED = b"\x01"
ANSWERS = b"\x04"

OK, FAILED, LOST = range(3)


def read_definition(definition):
    """The subscription that a flow from the node is for, or none where it carries answers."""
    reader = Reader(definition)
    kind = reader.u8()
    if kind not in (3, 4):
        raise Refused(f"a flow of kind {kind} to a client")
    subscription = reader.varint() if kind == 3 else None
    reader.end()
    return subscription


@dataclass
class Subscribe:
    subscription: int
    pattern: str
    group: str | None = None

    def payload(self):
        group = u8(0) if self.group is None else u8(1) + blob(self.group.encode(), TEXT_MAX)
        return u8(1) + varint(self.subscription) + blob(self.pattern.encode(), TEXT_MAX) + group


@dataclass
class Unsubscribe:
    subscription: int

    def payload(self):
        return u8(2) + varint(self.subscription)


@dataclass
class Question:
    question: int
    subject: str

    def payload(self):
        return u8(5) + varint(self.question) + blob(self.subject.encode(), TEXT_MAX)


@dataclass
class Ready:
    subscription: int


@dataclass
class SubscribeRefused:
    REASONS: ClassVar[dict] = {1: "pattern", 2: "duplicate", 3: "limit"}
    subscription: int
    code: int
    reason: str


@dataclass
class Subscribers:
    question: int
    subscribers: int


def read_signal(payload):
    """A signal from a node to a client."""
    reader = Reader(payload)
    kind = reader.u8()
    if kind == 3:
        signal = Ready(reader.varint())
    elif kind == 4:
        signal = SubscribeRefused(reader.varint(), reader.u8(), reader.text(REASON_MAX, "reason"))
        if signal.code not in SubscribeRefused.REASONS:
            raise Refused(f"a subscription refused for {signal.code}")
    elif kind == 6:
        signal = Subscribers(reader.varint(), reader.varint())
    else:
        raise Refused(f"a signal of kind {kind} to a client")
    reader.end()
    return signal


@dataclass
class ReplyAddress:
    tag: ClassVar[int] = 5
    node: int
    session: int
    correlation: int

    def payload(self):
        return fixed(self.node, 16) + fixed(self.session, 8) + fixed(self.correlation, 8)


def write_extension(tags):
    """`tags` is a list of tag and value."""
    return b"".join(u8(tag) + blob(value) for tag, value in tags)


def read_extension(extension):
    reader, tags = Reader(extension), []
    while reader.left():
        tag = reader.u8()
        tags.append((tag, reader.blob(len(extension), f"tag {tag}")))
    return tags


def reply_address(extension):
    """Where the answer to a message goes, if it wants one."""
    for tag, value in read_extension(extension):
        if tag == ReplyAddress.tag:
            reader = Reader(value)
            address = ReplyAddress(reader.fixed(16), reader.fixed(8), reader.fixed(8))
            reader.end()
            return address
    return None
