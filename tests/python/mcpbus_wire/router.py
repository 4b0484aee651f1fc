"""What the router puts in: definitions of flows, signals of a client, extensions, answers."""

from dataclasses import dataclass
from typing import ClassVar

from .fields import Reader, Refused, blob, fixed, u8, varint
from .flows import REPEAT
from .frames import read_tags

TEXT_MAX = 255
REASON_MAX = 512
CANCELS_MAX = 1024

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
    # The name under which the node keeps the messages while nobody takes them.
    durable: str | None = None

    def payload(self):
        flags = (self.group is not None) | (self.durable is not None) << 1
        start = u8(1) + varint(self.subscription) + blob(self.pattern.encode(), TEXT_MAX) + u8(flags)
        names = (name for name in (self.group, self.durable) if name is not None)
        return start + b"".join(blob(name.encode(), TEXT_MAX) for name in names)


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
class Delete:
    """Ends a durable subscription for good. Answered with how many there were, 1 or 0."""

    question: int
    durable: str

    def payload(self):
        return u8(8) + varint(self.question) + blob(self.durable.encode(), TEXT_MAX)


@dataclass
class Ready:
    subscription: int


@dataclass
class SubscribeRefused:
    REASONS: ClassVar[dict] = {1: "pattern", 2: "duplicate", 3: "limit", 4: "no_spool", 5: "durable", 6: "taken_over"}
    subscription: int
    code: int
    reason: str


@dataclass
class Subscribers:
    question: int
    subscribers: int


@dataclass
class Cancelled:
    """Nobody waits for the answers to these requests any more: reply address and microseconds left of each."""

    requests: list


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
    elif kind == 11:
        count = reader.varint(CANCELS_MAX, "cancelled requests")
        signal = Cancelled([(read_reply_address(reader), reader.varint()) for _ in range(count)])
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


def read_reply_address(reader):
    return ReplyAddress(reader.fixed(16), reader.fixed(8), reader.fixed(8))


def write_extension(tags):
    """`tags` is a list of tag and value."""
    return b"".join(u8(tag) + blob(value) for tag, value in tags)


def reply_address(extension):
    """Where the answer to a message goes, if it wants one."""
    for tag, value in read_tags(extension):
        if tag == ReplyAddress.tag:
            reader = Reader(value)
            address = read_reply_address(reader)
            reader.end()
            return address
    return None


def is_repeat(extension):
    """Whether the record may have been handed out, or sent, before."""
    return any(tag == REPEAT and not value for tag, value in read_tags(extension))
