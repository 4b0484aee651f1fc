"""What a session tells its owner."""

from dataclasses import dataclass, field

from . import frames


@dataclass
class Connected:
    hello: frames.Hello


@dataclass
class Resumed:
    """A new link goes on where the last was cut."""


@dataclass
class Restarted:
    """The peer has forgotten the session: both ends have started again.

    Receiving flows are gone, and what came on them is not to be settled. The flows of this end begin at sequence 1 with
    what the peer did not take over. Signals are void: who subscribed does so again. So many messages are `lost`: the peer
    had them, or perhaps had them, and nobody sends them again.
    """

    hello: frames.Hello
    lost: int


@dataclass
class Silent:
    """Nothing came for too long: the link is to be closed. The session goes on over the next one."""


@dataclass
class FlowOpened:
    flow: int
    definition: bytes


@dataclass
class Records:
    flow: int
    first: int
    records: list = field(repr=False)


@dataclass
class FlowEnded:
    flow: int


@dataclass
class Acked:
    """The peer owns the flow's messages up to `received`, and has passed on those up to `settled`."""

    flow: int
    received: int
    settled: int


@dataclass
class MessageFailed:
    flow: int
    sequence: int
    failure: int


@dataclass
class SignalArrived:
    body: bytes


@dataclass
class Ended:
    """The session is over: `ours` says which end said goodbye."""

    code: int
    reason: str
    ours: bool
