"""A session from the dialer's side, without I/O: bytes and the time come in, bytes and events come out.

It outlives its links: on the next one it goes on where the last was cut, if the node still knows it. If not, both ends start
again, and what the node did not take over is sent once more.
"""

from collections import deque
from dataclasses import dataclass, replace

from . import frames
from .batch import Decoder, Encoder, Large, Part, fitting
from .events import Acked, Connected, Ended, FlowEnded, FlowOpened, MessageFailed, Records, Restarted, Resumed, SignalArrived, Silent
from .fields import Refused
from .flows import ReceiveFlow, SendFlow

PING_EVERY = 0.5
SILENT_AFTER = 3.0

CONTROL = 0

# What became of the link: none, hello said, positions exchanged, or in use.
DOWN, GREETING, RESUMING, LIVE = range(4)


@dataclass
class Config:
    id: int
    epoch: int
    name: bytes = b"python"
    session: int = 1
    lanes: int = 4
    body_max: int = frames.BODY_MAX
    flows_max: int = 1_024
    window: int = 1_024
    # One body of the largest size must fit.
    window_bytes: int = 2 * frames.BODY_MAX


class Session:
    def __init__(self, config, now):
        self.config = config
        self.hello = None
        self.incarnation = 0
        self.lanes = 0
        self.state = DOWN
        self.over = False
        # With which code this end left, if it did.
        self.goodbye_code = None
        self.events = deque()
        self.out = deque()
        self.sending = {}
        self.receiving = {}
        self.ended_flows = set()
        # Signals that the peer has not acked, with their sequences.
        self.signals = deque()
        self.signals_sent = 0
        self.signals_received = 0
        self.failures_received = 0
        self.must_ack = False
        self.nonce = 0
        self.link = 0
        # Frames that named an earlier link.
        self.stale = 0
        self.link_up(now)

    def link_up(self, now):
        """A link is there: the dialer says hello. Tables and lanes begin anew with each link."""
        self.state = GREETING
        self.link += 1
        self.readers = {CONTROL: frames.FrameReader(frames.CONTROL_FRAME_MAX)}
        self.encoders = {}
        self.decoders = {}
        self.early = []
        self.relisted = set()
        self.heard = now
        self.ping_at = now + PING_EVERY
        self.out.clear()
        for flow in self.receiving.values():
            # The sender begins again with what did not become whole.
            flow.begun = None
        config = self.config
        self._control(
            frames.Hello(
                role=frames.CLIENT,
                id=config.id,
                epoch=config.epoch,
                name=config.name,
                session=config.session,
                incarnation=self.incarnation,
                link=self.link,
                lanes=config.lanes,
                body_max=config.body_max,
                flows_max=config.flows_max,
            )
        )

    def link_down(self):
        self.state = DOWN
        self.out.clear()

    def is_up(self):
        """Whether there is a link that was not given up."""
        return self.state != DOWN

    # ---- for the application

    def open_flow(self, definition):
        number = max(self.sending, default=0) + 1
        if sum(not flow.closed for flow in self.sending.values()) >= self.hello.flows_max:
            raise ValueError(f"the peer allows {self.hello.flows_max} flows")
        self.sending[number] = SendFlow(number, definition)
        if self.state == LIVE:
            self._control(frames.Open(number, definition))
        return number

    def push(self, flow, record):
        """Queues a record and gives its sequence. `flush` writes what credit allows."""
        if len(record.body) > self.hello.body_max:
            raise ValueError(f"the peer takes bodies of at most {self.hello.body_max} bytes")
        if self.sending[flow].closing:
            raise ValueError(f"flow {flow} is closing")
        return self.sending[flow].push(record)

    def close_flow(self, flow):
        """Closes a flow once all of it is settled: nobody acks a flow that is closed."""
        self.sending[flow].closing = True

    def is_taken_over(self):
        """Whether nothing that was pushed is owned here any more."""
        return all(flow.is_taken_over() for flow in self.sending.values())

    def settle(self, flow, sequence):
        if flow in self.receiving:
            self.receiving[flow].settle(sequence)
            self.must_ack = True

    def signal(self, body):
        self.signals_sent += 1
        self.signals.append((self.signals_sent, body))
        if self.state == LIVE:
            self._control(frames.Signal(self.signals_sent, body))

    def goodbye(self, code, reason=""):
        """Overtakes what is under way on the data lanes: who is done waits for `is_taken_over` first."""
        if not self.over:
            self._control(frames.Goodbye(code, reason.encode()[: frames.REASON_MAX]))
            self.over = True
            self.goodbye_code = code
            self.events.append(Ended(code, reason, True))

    # ---- for the link

    def receive(self, lane, data, now):
        """Takes bytes of a lane, without the first byte of its stream."""
        if self.over or self.state == DOWN:
            return
        self.heard = now
        try:
            if lane != CONTROL and self.state != LIVE:
                # Lanes know nothing of each other: these bytes were written after the frames that are still to come.
                self.early.append((lane, data))
                return
            if lane not in self.readers:
                self._open_lane(lane)
            for kind, payload in self.readers[lane].feed(data):
                if lane == CONTROL:
                    self._handle(frames.decode(kind, payload), now)
                else:
                    self._data(lane, kind, payload, now)
                if self.over:
                    return
        except Refused as refused:
            self.goodbye(refused.code, refused.reason)

    def flush(self, now):
        """Writes what is due: acks, records that have credit, and what waits for credit."""
        if self.over or self.state != LIVE:
            return
        if self.must_ack:
            self._ack()
        for flow in self.sending.values():
            self._write_records(flow, now)

    def take_output(self):
        """The lane and the bytes of each write, in order."""
        out, self.out = self.out, deque()
        return out

    def take_events(self):
        events, self.events = self.events, deque()
        return events

    def next_timer(self):
        return min(self.ping_at, self.heard + SILENT_AFTER)

    def handle_timer(self, now):
        if self.state == DOWN:
            return
        if now >= self.heard + SILENT_AFTER:
            # The session may go on over another link: only `done` gives it up.
            self.out.clear()
            self._control(frames.Goodbye(frames.SILENT, b"nothing came for 3 s"))
            self.state = DOWN
            self.events.append(Silent())
        elif now >= self.ping_at and not self.over:
            self.ping_at = now + PING_EVERY
            if self.state != GREETING:
                self.nonce += 1
                self._control(frames.Ping(self.nonce))

    # ---- inside

    def _control(self, frame):
        self.out.append((CONTROL, frames.encode(frame)))

    def _open_lane(self, lane):
        if not 1 <= lane <= self.lanes:
            raise Refused(f"lane {lane} of {self.lanes}")
        self.readers[lane] = frames.FrameReader(frames.DATA_FRAME_MAX)
        self.decoders[lane] = Decoder(self.config.body_max)

    def _lane_of(self, flow):
        return 1 + flow % self.lanes

    def _handle(self, frame, now):
        if isinstance(frame, frames.Hello) != (self.state == GREETING):
            raise Refused("hello is the first frame, and comes once")
        if isinstance(frame, frames.OF_A_LINK) and frame.link != self.link:
            if frame.link > self.link:
                raise Refused(f"{type(frame).__name__} of link {frame.link}, and this is {self.link}")
            self.stale += 1
            return
        handlers = {
            frames.Hello: self._said_hello,
            frames.Ping: lambda ping: self._control(frames.Pong(ping.nonce)),
            frames.Pong: lambda pong: None,
            frames.Goodbye: self._said_goodbye,
        }
        if self.state == RESUMING:
            handlers[frames.Resume] = lambda resume: self._resume(resume, now)
        elif self.state == LIVE:
            handlers |= {
                frames.Open: self._opened,
                frames.Close: self._closed,
                frames.Ack: self._acked,
                frames.Failed: self._failed,
                frames.Signal: self._signalled,
                # A window has room for the largest body from the start, so there is nothing to widen.
                frames.Pending: lambda pending: None,
                frames.Revoke: self._revoked,
                # This end takes nothing back, so nobody waits for a confirmation.
                frames.Revoked: lambda revoked: None,
            }
        if type(frame) not in handlers:
            raise Refused(f"{type(frame).__name__} may not come now")
        handlers[type(frame)](frame)

    def _said_hello(self, hello):
        if not hello.speaks(frames.VERSION):
            raise Refused(f"versions {hello.oldest} to {hello.newest}", frames.VERSION_UNKNOWN)
        if hello.role != frames.NODE:
            raise Refused("a client answered")
        if hello.link != self.link:
            raise Refused(f"the hello of link {hello.link}, and this is {self.link}")
        if hello.session != self.config.session or hello.incarnation == 0:
            raise Refused("the answer is for another session")
        known, self.hello = self.hello, hello
        if known is None:
            self.incarnation = hello.incarnation
            # Flows stay on their lanes, so the number of the first link counts for all.
            self.lanes = min(self.config.lanes, hello.lanes)
            self.state = LIVE
            for sequence, body in self.signals:
                self._control(frames.Signal(sequence, body))
            self.events.append(Connected(hello))
        elif (known.id, known.epoch, known.incarnation) == (hello.id, hello.epoch, hello.incarnation):
            self.state = RESUMING
            positions = self._positions()
            for at, part in enumerate(positions, 1):
                last = int(at == len(positions))
                self._control(frames.Resume(self.link, last, self.signals_received, self.failures_received, part))
        else:
            self._restart(hello)

    def _restart(self, hello):
        self.incarnation = hello.incarnation
        self.state = LIVE
        self.signals.clear()
        self.signals_sent = self.signals_received = self.failures_received = 0
        self.receiving.clear()
        self.ended_flows.clear()
        self.sending = {number: flow for number, flow in self.sending.items() if not flow.closed}
        lost = sum(flow.restart() for flow in self.sending.values())
        for flow in self.sending.values():
            self._control(frames.Open(flow.number, flow.definition))
        self.events.append(Restarted(hello, lost))

    def _resume(self, resume, now):
        self._forget_signals(resume.signals)
        for position in resume.flows:
            flow = self.sending.get(position.flow)
            self.relisted.add(position.flow)
            if flow is None or flow.closed:
                # The close was cut off.
                self._control(frames.Close(position.flow, position.received))
            elif not flow.resumed(position):
                raise Refused(f"flow {position.flow} goes on behind {position.received}")
        if not resume.last:
            return
        self.state = LIVE
        for flow in self.sending.values():
            if flow.number not in self.relisted and not flow.closed:
                # The peer never heard of it.
                self._control(frames.Open(flow.number, flow.definition))
        for sequence, body in self.signals:
            self._control(frames.Signal(sequence, body))
        # The last acks may have been cut off.
        self.must_ack = True
        self.events.append(Resumed())
        early, self.early = self.early, []
        for lane, data in early:
            self.receive(lane, data, now)

    def _opened(self, frame):
        if frame.flow in self.receiving or frame.flow in self.ended_flows:
            raise Refused(f"flow {frame.flow} is open")
        if len(self.receiving) >= self.config.flows_max:
            raise Refused(f"more than {self.config.flows_max} flows", frames.LIMIT)
        flow = ReceiveFlow(frame.flow, frame.definition, self.config.window, self.config.window_bytes)
        self.receiving[frame.flow] = flow
        self.must_ack = True
        self.events.append(FlowOpened(frame.flow, frame.definition))

    def _closed(self, frame):
        flow = self._receiving(frame.flow)
        if frame.last < flow.received:
            raise Refused(f"flow {frame.flow} closes at {frame.last}, and {flow.received} came")
        flow.end = frame.last, frame.begun
        self._end(flow)

    def _end(self, flow):
        if flow.ended():
            # Nobody acks a flow that is closed, not even what arrived last.
            del self.receiving[flow.number]
            self.ended_flows.add(flow.number)
            self.events.append(FlowEnded(flow.number))

    def _receiving(self, number):
        if number not in self.receiving:
            raise Refused(f"flow {number} is not open")
        return self.receiving[number]

    def _data(self, lane, kind, payload, now):
        decoder = self.decoders[lane]
        if kind == frames.BATCH:
            batch = decoder.decode(payload, now)
            flow = self._due(lane, batch.flow, batch.first)
            if flow.begun:
                raise Refused(f"a batch in the middle of a large record on flow {flow.number}")
            self._arrived(flow, batch.records)
        elif kind == frames.LARGE:
            large = decoder.decode_large(payload, now)
            flow = self._due(lane, large.flow, large.sequence)
            if flow.begun:
                raise Refused(f"a large record in the middle of another on flow {flow.number}")
            if not flow.begin(large):
                raise Refused(f"flow {flow.number} has more than was granted")
            self._end(flow)
        elif kind == frames.PART:
            part = Part.decode(payload)
            flow = self._due(lane, part.flow, part.sequence)
            record = flow.go_on(part)
            if record is None:
                self._end(flow)
            else:
                self._arrived(flow, [record])
        else:
            raise Refused(f"kind {kind} on a data lane")

    def _due(self, lane, number, sequence):
        """The flow of a data frame, if it may come here and now."""
        flow = self._receiving(number)
        if lane != self._lane_of(number):
            raise Refused(f"flow {number} on lane {lane}")
        if sequence != flow.received + 1:
            raise Refused(f"flow {number} goes on at {sequence} behind {flow.received}")
        return flow

    def _arrived(self, flow, records):
        first = flow.received + 1
        if not flow.arrive(records):
            raise Refused(f"flow {flow.number} has more than was granted")
        self.must_ack = True
        self.events.append(Records(flow.number, first, records))
        self._end(flow)

    def _revoked(self, revoke):
        flow = self.sending.get(revoke.flow)
        # It may cross the close of its flow.
        if flow is not None and not flow.closed:
            self._control(frames.Revoked(self.link, flow.number, *flow.revoked(revoke.messages, revoke.bytes)))

    def _acked(self, ack):
        self._forget_signals(ack.signals)
        for position in ack.flows:
            flow = self.sending.get(position.flow)
            if flow is None or flow.closed:
                continue  # An ack may cross the close of its flow.
            if not flow.acked(position):
                raise Refused(f"an ack of {position.received} on flow {position.flow}, {flow.written} are written")
            self.events.append(Acked(flow.number, flow.received, flow.settled))

    def _failed(self, frame):
        if frame.sequence <= self.failures_received:
            return
        if frame.sequence != self.failures_received + 1:
            raise Refused(f"failed frame {frame.sequence} behind {self.failures_received}")
        flow = self.sending.get(frame.flow)
        if flow is not None and any(not 1 <= sequence <= flow.written for sequence, _ in frame.messages):
            raise Refused(f"failures of messages that were not written on flow {frame.flow}")
        self.failures_received = frame.sequence
        self.must_ack = True
        if flow is not None:
            for sequence, _ in frame.messages:
                flow.failed(sequence)
        self.events.extend(MessageFailed(frame.flow, sequence, failure) for sequence, failure in frame.messages)

    def _signalled(self, frame):
        if frame.sequence <= self.signals_received:
            return
        if frame.sequence != self.signals_received + 1:
            raise Refused(f"signal {frame.sequence} behind {self.signals_received}")
        self.signals_received = frame.sequence
        self.must_ack = True
        self.events.append(SignalArrived(frame.body))

    def _said_goodbye(self, frame):
        self.over = True
        self.events.append(Ended(frame.code, frame.reason.decode(errors="replace"), False))

    def _forget_signals(self, acked):
        if acked > self.signals_sent:
            raise Refused("an ack of signals that were not sent")
        while self.signals and self.signals[0][0] <= acked:
            self.signals.popleft()

    def _positions(self):
        """The positions of all receiving flows, in parts that a frame can hold; at least one part."""
        positions = [flow.position() for flow in self.receiving.values()]
        return [positions[at : at + frames.FLOWS_MAX] for at in range(0, max(1, len(positions)), frames.FLOWS_MAX)]

    def _ack(self):
        self.must_ack = False
        # An ack without flows still says which signals and failed frames came.
        for part in self._positions():
            self._control(frames.Ack(self.link, self.signals_received, self.failures_received, part))

    def _write_records(self, flow, now):
        admitted = flow.admitted()
        lane = self._lane_of(flow.number)
        encoder = self.encoders.setdefault(lane, Encoder())
        while admitted:
            if len(admitted[0].body) > frames.FRAME_TARGET:
                record = admitted.pop(0)
                self._write_large(flow.number, flow.take(1), record, lane, now)
                continue
            large = (at for at, record in enumerate(admitted) if len(record.body) > frames.FRAME_TARGET)
            count = fitting(admitted[: next(large, None)])
            part, admitted = admitted[:count], admitted[count:]
            self.out.append((lane, encoder.encode(flow.number, flow.take(count), part, now)))
        if flow.queue and flow.must_say_pending:
            flow.must_say_pending = False
            self._control(frames.Pending(self.link, flow.number, *flow.pending()))
        if flow.closing and not flow.queue and flow.settled == flow.written and not flow.closed:
            flow.closed = True
            self._control(frames.Close(flow.number, flow.written))

    def _write_large(self, flow, sequence, record, lane, now):
        size = frames.FRAME_TARGET
        first = replace(record, body=record.body[:size])
        self.out.append((lane, self.encoders[lane].encode_large(Large(flow, sequence, len(record.body), first), now)))
        for at in range(size, len(record.body), size):
            self.out.append((lane, Part(flow, sequence, at, record.body[at : at + size]).encode()))
