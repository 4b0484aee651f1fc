"""The two ends of a flow: what is queued, written, received, settled and granted."""

from collections import deque
from dataclasses import replace

from .batch import NONE, RECORD_COST, STORED
from .fields import Refused, blob, u8
from .frames import Position, read_tags

# The tag of the extension which says that a record may have been sent before.
REPEAT = 6


class SendFlow:
    """A flow that this end writes. Sequences are given when a record is queued.

    A record is in one place: queued, written and not known to be received, or received and still owned here, because its
    publisher waits for more than the peer's memory.
    """

    def __init__(self, number, definition):
        self.number = number
        self.definition = definition
        self.closing = False
        self._begin()

    def _begin(self):
        self.queue = deque()
        self.flying = deque()
        self.owned = {}
        self.failed_early = set()
        self.queue_bytes = 0
        self.pushed = 0
        self.written = 0
        self.written_bytes = 0
        self.received = 0
        self.settled = 0
        self.granted = 0
        self.granted_bytes = 0
        self.closed = False
        self.must_say_pending = True

    def push(self, record):
        self.queue.append(record)
        self.queue_bytes += record.cost()
        self.pushed += 1
        self.must_say_pending = True
        return self.pushed

    def admitted(self):
        """The records at the front of the queue for which there is credit."""
        room = self.granted - self.written
        room_bytes = self.granted_bytes - self.written_bytes
        admitted = []
        for record in self.queue:
            room -= 1
            room_bytes -= record.cost()
            if room < 0 or room_bytes < 0:
                break
            admitted.append(record)
        return admitted

    def take(self, count):
        """Takes records off the queue; gives the sequence of the first."""
        first = self.written + 1
        for _ in range(count):
            record = self.queue.popleft()
            self.flying.append(record)
            self.queue_bytes -= record.cost()
            self.written_bytes += record.cost()
        self.written += count
        return first

    def acked(self, position):
        """Moves forward only: a late or repeated position changes nothing. False where the peer claims what was not written."""
        if position.received > self.written:
            return False
        while self.received < position.received:
            self.received += 1
            record = self.flying.popleft()
            if record.head.level >= STORED and self.received not in self.failed_early:
                self.owned[self.received] = record
        if position.settled > self.settled:
            self.settled = position.settled
            self.owned = {at: record for at, record in self.owned.items() if at > self.settled}
            self.failed_early = {at for at in self.failed_early if at > self.settled}
        self._granted(position)
        # A record heavier than the window gets its credit only when the peer hears of it.
        self.must_say_pending = True
        return True

    def _granted(self, position):
        self.granted = max(self.granted, position.granted)
        self.granted_bytes = max(self.granted_bytes, position.granted_bytes)

    def failed(self, sequence):
        """A message ended badly, and is not sent again."""
        if sequence > self.received:
            self.failed_early.add(sequence)
        self.owned.pop(sequence, None)

    def resumed(self, position):
        """Goes on behind the last record received, and releases nothing yet. False where the peer claims what cannot be."""
        if not self.received <= position.received <= self.written:
            return False
        while self.received + len(self.flying) > position.received:
            record = self.flying.pop()
            self.queue.appendleft(record)
            self.queue_bytes += record.cost()
            self.written_bytes -= record.cost()
        self.written = position.received
        self._granted(position)
        self.must_say_pending = True
        return True

    def revoked(self, messages, size):
        """The peer takes back what it granted beyond these positions: where that leaves it."""
        self.granted = min(self.granted, max(messages, self.written))
        self.granted_bytes = min(self.granted_bytes, max(size, self.written_bytes))
        self.must_say_pending = True
        return self.granted, self.granted_bytes

    def restart(self):
        """The peer has forgotten the flow: it begins again with what is still owned here. How many messages are lost."""
        owned, flying, queue, failed = self.owned, self.flying, self.queue, self.failed_early
        lost = self.received - self.settled - len(owned)
        lost -= sum(self.settled < at <= self.received for at in failed)
        again = [repeated(record) for record in owned.values()]
        for sequence, record in enumerate(flying, self.received + 1):
            if sequence in failed:
                continue
            if record.head.level == NONE:
                lost += 1
            else:
                again.append(repeated(record))
        self._begin()
        for record in [*again, *queue]:
            self.push(record)
        return lost

    def is_taken_over(self):
        """Whether nothing of it is owned here any more."""
        return self.received == self.pushed and not self.owned

    def pending(self):
        """Messages that wait, their bytes, and the bytes of the first."""
        return len(self.queue), self.queue_bytes, self.queue[0].cost() if self.queue else 0


def repeated(record):
    """A record that the peer may have stored says so, or it would be stored twice."""
    if record.head.level != STORED or any(tag == REPEAT for tag, _ in read_tags(record.extension)):
        return record
    return replace(record, extension=record.extension + u8(REPEAT) + blob(b""))


class ReceiveFlow:
    """A flow that the peer writes."""

    def __init__(self, number, definition, window, window_bytes):
        self.number = number
        self.definition = definition
        self.window = window
        self.window_bytes = window_bytes
        self.received = 0
        self.received_bytes = 0
        self.settled = 0
        self.settled_bytes = 0
        self.costs = deque()
        self.early = set()
        # A large record of which the end has not come, its length, and what has come of its body.
        self.begun = None
        self.end = None

    @property
    def granted(self):
        return self.settled + self.window

    @property
    def granted_bytes(self):
        return self.settled_bytes + self.window_bytes

    def admits(self, messages, size):
        """Whether so much more was granted."""
        return self.received + messages <= self.granted and self.received_bytes + size <= self.granted_bytes

    def arrive(self, records):
        """False, and nothing is taken, where these records exceed what was granted."""
        if not self.admits(len(records), sum(record.cost() for record in records)):
            return False
        for record in records:
            self.received += 1
            self.received_bytes += record.cost()
            self.costs.append(record.cost())
        return True

    def begin(self, large):
        """False where the whole record exceeds what was granted."""
        self.begun = large.record, large.length, bytearray(large.record.body)
        return self.admits(1, RECORD_COST + large.length)

    def go_on(self, part):
        """The record, once it is whole."""
        if self.begun is None:
            raise Refused(f"a part on flow {self.number}, where no record has begun")
        record, length, body = self.begun
        if part.offset != len(body) or len(part.piece) > length - len(body):
            raise Refused(f"a part at {part.offset} of {len(part.piece)} bytes, behind {len(body)} of {length}")
        body += part.piece
        if len(body) < length:
            return None
        self.begun = None
        return replace(record, body=bytes(body))

    def settle(self, sequence):
        """Settled is a position: what is settled early counts once everything before it is settled."""
        if not self.settled < sequence <= self.received or sequence in self.early:
            raise ValueError(f"{sequence} of flow {self.number} is not open")
        self.early.add(sequence)
        while self.settled + 1 in self.early:
            self.settled += 1
            self.early.remove(self.settled)
            self.settled_bytes += self.costs.popleft()

    def ended(self):
        begun = len(self.begun[2]) if self.begun else 0
        return self.end is not None and (self.received, begun) >= self.end

    def position(self):
        return Position(self.number, self.received, self.settled, self.granted, self.granted_bytes)
