"""The two ends of a flow: what is queued, written, received, settled and granted."""

from collections import deque

from .frames import Position


class SendFlow:
    """A flow that this end writes. Sequences are given when a record is queued."""

    def __init__(self, number, definition):
        self.number = number
        self.definition = definition
        self.queue = deque()
        # Written and not yet received, so that a link that is cut loses nothing.
        self.retained = deque()
        self.queue_bytes = 0
        self.pushed = 0
        self.written = 0
        self.written_bytes = 0
        self.received = 0
        self.settled = 0
        self.granted = 0
        self.granted_bytes = 0
        self.closing = False
        self.closed = False
        self.said_pending = None

    def push(self, record):
        self.queue.append(record)
        self.queue_bytes += record.cost()
        self.pushed += 1
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
            self.retained.append(record)
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
            self.retained.popleft()
        self.settled = max(self.settled, position.settled)
        self.granted = max(self.granted, position.granted)
        self.granted_bytes = max(self.granted_bytes, position.granted_bytes)
        return True

    def resumed(self, position):
        """Goes on behind the last record received. False where the peer claims what cannot be."""
        if position.received < self.received or not self.acked(position):
            return False
        while self.retained:
            record = self.retained.pop()
            self.queue.appendleft(record)
            self.queue_bytes += record.cost()
            self.written_bytes -= record.cost()
        self.written = self.received
        self.said_pending = None
        return True

    def pending(self):
        """Messages that wait, their bytes, and the bytes of the first."""
        return len(self.queue), self.queue_bytes, self.queue[0].cost() if self.queue else 0


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
        self.last = None

    @property
    def granted(self):
        return self.settled + self.window

    @property
    def granted_bytes(self):
        return self.settled_bytes + self.window_bytes

    def arrive(self, records):
        """False where these records exceed what was granted."""
        for record in records:
            self.received += 1
            self.received_bytes += record.cost()
            self.costs.append(record.cost())
        return self.received <= self.granted and self.received_bytes <= self.granted_bytes

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
        return self.last is not None and self.received >= self.last

    def position(self):
        return Position(self.number, self.received, self.settled, self.granted, self.granted_bytes)
