"""The rules of a session, with a node that is a script and time that is a number."""

import unittest

from mcpbus_wire import frames
from mcpbus_wire.batch import ACCEPTED, NONE, PROCESSED, STORED, Decoder, Encoder, Head, Large, Part, Record
from mcpbus_wire.events import Acked, Connected, Ended, FlowEnded, MessageFailed, Records, Restarted, Resumed, SignalArrived, Silent
from mcpbus_wire.flows import ReceiveFlow
from mcpbus_wire.frames import Ack, Close, Failed, FrameReader, Goodbye, Hello, Open, Pending, Ping, Pong, Position, Resume, Revoke, Revoked, Signal
from mcpbus_wire.router import is_repeat
from mcpbus_wire.session import Config, Session

HEAD = Head(producer=1, epoch=1, subject="a")
ANSWER = Hello(
    role=frames.NODE,
    id=9,
    epoch=1,
    name=b"node",
    session=1,
    incarnation=5,
    link=1,
    lanes=2,
    body_max=1000,
    flows_max=2,
)


def records(count, body=b""):
    return [Record(HEAD, sequence, body) for sequence in range(1, count + 1)]


class WithNode(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        self.session = Session(Config(id=1, epoch=1, window=4, window_bytes=4 * 128 + 100), self.now)
        self.readers = {}

    def written(self):
        """What the session has written since the last call: control frames, and raw batch payloads with their lane."""
        self.session.flush(self.now)
        out = []
        for lane, data in self.session.take_output():
            reader = self.readers.setdefault(lane, FrameReader(1 << 20))
            for kind, payload in reader.feed(data):
                out.append(frames.decode(kind, payload) if lane == 0 else (lane, kind, payload))
        return out

    def say(self, *spoken):
        for frame in spoken:
            self.session.receive(0, frames.encode(frame), self.now)

    def events(self):
        return list(self.session.take_events())

    def connected(self):
        self.written()
        self.say(ANSWER)
        self.assertEqual(self.events(), [Connected(ANSWER)])

    def sending(self, count, messages, size):
        self.connected()
        flow = self.session.open_flow(b"\x01")
        for record in records(count):
            self.session.push(flow, record)
        self.assertEqual(self.written(), [Open(flow, b"\x01"), Pending(1, flow, count, 128 * count, 128)])
        self.say(Ack(1, 0, 0, [Position(flow, 0, 0, messages, size)]))
        return flow

    def receiving(self, lane=2):
        self.connected()
        self.say(Open(1, b"\x03\x01"))
        self.written()
        self.events()
        self.encoder = Encoder()
        return lambda first, batch: self.session.receive(lane, self.encoder.encode(1, first, batch, 0), self.now)

    def goodbye_code(self):
        ended = [event for event in self.events() if isinstance(event, Ended)]
        said = [frame for frame in self.written() if isinstance(frame, Goodbye)]
        self.assertEqual(len(ended), len(said))
        return said[0].code if said else None


class Links(WithNode):
    def test_hello_comes_first_and_nothing_before_the_answer(self):
        self.session.signal(b"x")
        said = self.written()
        self.assertIsInstance(said[0], Hello)
        self.assertEqual(said[0].incarnation, 0)

    def test_any_other_first_frame_ends_the_session(self):
        self.say(Ping(1))
        self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def test_a_second_hello_ends_the_session(self):
        self.connected()
        self.say(ANSWER)
        self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def test_the_smaller_number_of_lanes_counts(self):
        self.connected()
        self.assertEqual(self.session.lanes, 2)
        self.session.receive(3, b"", self.now)
        self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def test_a_ping_is_answered_and_silence_ends_the_link_and_not_the_session(self):
        self.connected()
        self.say(Ping(77))
        self.assertEqual(self.written(), [Pong(77)])
        while self.session.is_up():
            self.now = self.session.next_timer()
            self.session.handle_timer(self.now)
        self.assertEqual(self.now, 3.0)
        said = self.written()
        self.assertEqual([type(frame) for frame in said], [Goodbye])
        self.assertEqual(said[-1].code, frames.SILENT)
        self.assertEqual(self.events(), [Silent()])
        self.assertFalse(self.session.over)

    def test_a_goodbye_ends_the_session_without_an_answer(self):
        self.connected()
        self.say(Goodbye(frames.LIMIT, b"full"))
        self.assertEqual(self.events(), [Ended(frames.LIMIT, "full", False)])
        self.assertEqual(self.written(), [])

    def test_repeated_signals_change_nothing_and_gaps_end_the_session(self):
        self.connected()
        self.say(Signal(1, b"a"), Signal(1, b"a"), Signal(2, b"b"))
        self.assertEqual(self.events(), [SignalArrived(b"a"), SignalArrived(b"b")])
        self.assertEqual(self.written(), [Ack(1, 2, 0, [])])
        self.say(Signal(4, b"d"))
        self.assertEqual(self.goodbye_code(), frames.PROTOCOL)


class Sending(WithNode):
    def test_nothing_is_written_beyond_credit_in_messages_or_bytes(self):
        for messages, size, fit in ((3, 10_000, 3), (10, 2 * 128, 2), (10, 2 * 128 + 127, 2), (0, 10_000, 0)):
            self.setUp()
            flow = self.sending(5, messages, size)
            self.written()
            self.assertEqual(self.session.sending[flow].written, fit)

    def test_a_flow_has_its_lane_and_goes_on_when_credit_comes(self):
        flow = self.sending(3, 2, 1000)
        lane, kind, _ = self.written()[0]
        self.assertEqual((lane, kind), (1 + flow % 2, frames.BATCH))
        self.say(Ack(1, 0, 0, [Position(flow, 2, 1, 3, 1000)]))
        self.assertEqual([frame[:2] for frame in self.written()], [(lane, frames.BATCH)])

    def test_positions_never_go_back(self):
        flow = self.sending(3, 3, 1000)
        self.written()
        self.say(Ack(1, 0, 0, [Position(flow, 3, 2, 5, 1000)]), Ack(1, 0, 0, [Position(flow, 1, 0, 3, 500)]))
        self.assertEqual([event for event in self.events() if isinstance(event, Acked)][-1], Acked(flow, 3, 2))
        self.assertEqual(self.session.sending[flow].granted, 5)

    def test_an_ack_of_what_was_not_written_ends_the_session(self):
        flow = self.sending(3, 2, 1000)
        self.written()
        self.say(Ack(1, 0, 0, [Position(flow, 3, 0, 3, 1000)]))
        self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def test_failures_are_told_once_and_acked(self):
        flow = self.sending(3, 3, 1000)
        self.written()
        self.events()
        self.say(Failed(1, flow, [(2, 1)]), Failed(1, flow, [(2, 1)]))
        self.assertEqual(self.events(), [MessageFailed(flow, 2, 1)])
        self.assertEqual(self.written(), [Ack(1, 0, 1, [])])

    def test_a_flow_is_closed_only_when_all_of_it_is_settled(self):
        flow = self.sending(2, 2, 1000)
        self.session.close_flow(flow)
        self.written()
        self.say(Ack(1, 0, 0, [Position(flow, 2, 1, 4, 1000)]))
        self.assertEqual(self.written(), [])
        self.say(Ack(1, 0, 0, [Position(flow, 2, 2, 4, 1000)]))
        self.assertEqual(self.written(), [Close(flow, 2)])
        self.say(Ack(1, 0, 0, [Position(flow, 2, 2, 4, 1000)]))
        self.assertFalse(self.session.over)

    def test_what_waits_is_said_again_after_every_ack(self):
        flow = self.sending(3, 1, 1000)
        self.assertIn(Pending(1, flow, 2, 256, 128), self.written())
        self.assertEqual(self.written(), [])
        self.say(Ack(1, 0, 0, [Position(flow, 1, 0, 1, 1000)]))
        self.assertEqual(self.written(), [Pending(1, flow, 2, 256, 128)])

    def test_a_revoke_is_confirmed_with_what_was_written_at_least(self):
        flow = self.sending(3, 2, 1000)
        self.written()
        self.say(Revoke(1, flow, 1, 128), Revoke(1, 77, 0, 0))
        self.assertEqual(self.written()[0], Revoked(1, flow, 2, 256))
        self.say(Ack(1, 0, 0, [Position(flow, 2, 2, 2, 1000)]))
        self.say(Revoke(1, flow, 2, 500))
        self.assertIn(Revoked(1, flow, 2, 500), self.written())
        self.assertEqual(self.session.sending[flow].written, 2)

    def test_a_large_record_goes_in_parts_that_make_it_whole(self):
        self.connected()
        self.session.hello.body_max = 1 << 20
        flow = self.session.open_flow(b"\x01")
        body = bytes(range(256)) * 600
        for sequence, one in enumerate((b"a", body, b"b"), 1):
            self.session.push(flow, Record(HEAD, sequence, one))
        self.say(Ack(1, 0, 0, [Position(flow, 0, 0, 3, 1 << 20)]))
        said = [frame for frame in self.written() if isinstance(frame, tuple)]
        kinds = [kind for _, kind, _ in said]
        self.assertEqual(kinds, [frames.BATCH, frames.LARGE, frames.PART, frames.PART, frames.BATCH])
        receiver, decoder = ReceiveFlow(flow, b"", 3, 1 << 20), Decoder()
        receiver.arrive(decoder.decode(said[0][2], 0).records)
        self.assertTrue(receiver.begin(decoder.decode_large(said[1][2], 0)))
        self.assertIsNone(receiver.go_on(Part.decode(said[2][2])))
        self.assertEqual(receiver.go_on(Part.decode(said[3][2])).body, body)
        self.assertEqual(decoder.decode(said[4][2], 0).first, 3)

    def test_the_limits_of_the_peer_are_kept(self):
        self.connected()
        flow = self.session.open_flow(b"\x01")
        self.session.open_flow(b"\x01")
        with self.assertRaises(ValueError):
            self.session.open_flow(b"\x01")
        with self.assertRaises(ValueError):
            self.session.push(flow, Record(HEAD, 1, bytes(1001)))


class Receiving(WithNode):
    def test_an_open_flow_is_granted_its_window(self):
        self.connected()
        self.say(Open(1, b"\x03\x01"))
        self.assertEqual(self.written(), [Ack(1, 0, 0, [Position(1, 0, 0, 4, 612)])])

    def test_credit_returns_with_what_is_settled_in_order(self):
        batch = self.receiving()
        batch(1, [Record(HEAD, 1, b"x" * 50), *records(2)])
        self.assertEqual([(event.first, len(event.records)) for event in self.events()], [(1, 3)])
        self.assertEqual(self.written(), [Ack(1, 0, 0, [Position(1, 3, 0, 4, 612)])])
        self.session.settle(1, 2)
        self.assertEqual(self.written(), [Ack(1, 0, 0, [Position(1, 3, 0, 4, 612)])])
        self.session.settle(1, 1)
        self.assertEqual(self.written(), [Ack(1, 0, 0, [Position(1, 3, 2, 6, 612 + 50 + 256)])])

    def test_more_than_was_granted_ends_the_session(self):
        for count, body in ((5, b""), (1, bytes(612))):
            self.setUp()
            self.receiving()(1, records(count, body))
            self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def test_a_gap_or_a_repeated_record_ends_the_session(self):
        for first in (2, 0):
            self.setUp()
            batch = self.receiving()
            if first == 0:
                batch(1, records(1))
            batch(first or 1, records(1))
            self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def begin(self, length=150, sequence=1):
        large = Large(1, sequence, length, Record(HEAD, 1, b"x" * 10))
        self.session.receive(2, self.encoder.encode_large(large, 0), self.now)

    def part(self, offset, size, sequence=1):
        self.session.receive(2, Part(1, sequence, offset, b"y" * size).encode(), self.now)

    def test_a_large_record_arrives_when_it_is_whole(self):
        self.receiving()
        self.begin()
        self.part(10, 100)
        self.assertEqual(self.events(), [])
        self.part(110, 40)
        (arrived,) = self.events()
        self.assertEqual(arrived.records[0].body, b"x" * 10 + b"y" * 140)
        self.assertEqual(self.session.receiving[1].received_bytes, 128 + 150)

    def test_breaches_of_large_records_end_the_session(self):
        wrong = {
            "beyond the grant": lambda batch: self.begin(length=500),
            "beyond its length": lambda batch: self.part(10, 141),
            "a gap": lambda batch: self.part(11, 1),
            "another record": lambda batch: self.part(10, 1, sequence=2),
            "a second beginning": lambda batch: self.begin(),
            "a batch in between": lambda batch: batch(1, records(1)),
        }
        for what, breach in wrong.items():
            with self.subTest(what):
                self.setUp()
                batch = self.receiving()
                if what != "beyond the grant":
                    self.begin()
                breach(batch)
                self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def test_a_flow_that_is_closed_in_a_record_ends_there(self):
        self.receiving()
        self.begin()
        self.say(Close(1, 0, 60))
        self.assertEqual(self.events(), [])
        self.part(10, 50)
        self.assertEqual(self.events(), [FlowEnded(1)])

    def test_another_lane_ends_the_session(self):
        self.receiving(lane=1)(1, records(1))
        self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def test_a_closed_flow_ends_with_its_last_record(self):
        batch = self.receiving()
        self.say(Close(1, 2))
        self.assertEqual(self.events(), [])
        batch(1, records(2))
        arrived, ended = self.events()
        self.assertIsInstance(arrived, Records)
        self.assertEqual(ended, FlowEnded(1))
        self.say(Open(1, b"\x04"))
        self.assertEqual(self.goodbye_code(), frames.PROTOCOL)


class Resuming(WithNode):
    def cut(self, **changed):
        """A new link, on which the node has answered; what the session has written since."""
        self.session.link_down()
        self.readers.clear()
        self.session.link_up(self.now)
        self.assertEqual(self.written()[0].incarnation, ANSWER.incarnation)
        self.say(Hello(**{**vars(ANSWER), "link": self.session.link, **changed}))
        return self.written()

    def test_sending_goes_on_behind_the_last_record_received(self):
        flow = self.sending(5, 4, 4 * 128)
        self.assertEqual(len(self.written()), 2)
        self.session.signal(b"a")
        self.session.signal(b"b")
        self.assertEqual(self.cut(), [Resume(2, 1, 0, 0, [])])
        self.events()
        # Just enough: what was written and did not arrive is not counted twice. A resume releases nothing.
        self.say(Resume(2, 1, 1, 0, [Position(flow, 3, 1, 5, 5 * 128)]))
        said = self.written()
        self.assertEqual(said[:2], [Signal(2, b"b"), Ack(2, 0, 0, [])])
        self.assertEqual(self.events(), [Resumed()])
        lane, kind, payload = said[2]
        batch = Decoder().decode(payload, 0)
        self.assertEqual((batch.first, [record.sequence for record in batch.records]), (4, [4, 5]))
        self.assertTrue(all(frame[:2] == (lane, frames.BATCH) for frame in said[2:]))

    def test_flows_that_the_peer_does_not_know_are_opened_again(self):
        self.connected()
        flow = self.session.open_flow(b"\x01")
        self.cut()
        self.say(Resume(2, 1, 0, 0, []))
        self.assertEqual(self.written(), [Open(flow, b"\x01"), Ack(2, 0, 0, [])])

    def test_flows_that_were_closed_meanwhile_are_closed_again(self):
        flow = self.sending(2, 2, 1000)
        self.written()
        self.session.close_flow(flow)
        self.say(Ack(1, 0, 0, [Position(flow, 2, 2, 4, 1000)]))
        self.assertEqual(self.written(), [Close(flow, 2)])
        self.cut()
        self.say(Resume(2, 1, 0, 0, [Position(flow, 2, 2, 4, 1000)]))
        self.assertEqual(self.written(), [Close(flow, 2), Ack(2, 0, 0, [])])

    def test_what_was_received_is_told_and_acked_again(self):
        batch = self.receiving()
        batch(1, records(3))
        self.session.settle(1, 1)
        position = Position(1, 3, 1, 5, 128 + 612)
        self.assertEqual(self.cut(), [Resume(2, 1, 0, 0, [position])])
        self.say(Resume(2, 1, 0, 0, []))
        self.assertEqual(self.written(), [Ack(2, 0, 0, [position])])

    def test_data_that_overtakes_the_resume_waits_for_it(self):
        self.receiving()(1, records(1))
        self.events()
        self.cut()
        self.session.receive(2, Encoder().encode(1, 2, records(1), 0), self.now)
        self.assertFalse(self.session.over)
        self.assertEqual(self.events(), [])
        self.say(Resume(2, 1, 0, 0, []))
        self.assertEqual([type(event) for event in self.events()], [Resumed, Records])

    def test_the_answer_is_for_the_link_it_comes_on(self):
        self.connected()
        self.assertEqual([frame.code for frame in self.cut(link=1)], [frames.PROTOCOL])

    def test_positions_for_an_earlier_link_are_passed_over_and_for_a_later_one_refused(self):
        flow = self.sending(2, 1, 1000)
        self.written()
        self.cut()
        self.say(Resume(2, 1, 0, 0, [Position(flow, 1, 0, 1, 1000)]))
        self.written()
        self.say(Ack(1, 0, 0, [Position(flow, 1, 1, 9, 9000)]))
        self.assertEqual((self.session.stale, self.session.sending[flow].granted), (1, 1))
        self.say(Ack(3, 0, 0, []))
        self.assertEqual(self.goodbye_code(), frames.PROTOCOL)

    def test_a_node_that_forgot_gets_again_what_it_did_not_take_over(self):
        self.connected()
        levels = [NONE, ACCEPTED, STORED, STORED, NONE, ACCEPTED, STORED, PROCESSED, STORED]
        flow = self.session.open_flow(b"\x01")
        for sequence, level in enumerate(levels, 1):
            self.session.push(flow, Record(Head(1, 1, "a", level), sequence, b""))
        self.say(Ack(1, 0, 0, [Position(flow, 0, 0, 8, 8 * 128)]))
        self.written()
        # Four are received and one is settled; the fourth failed, and so did the eighth, of which no ack came.
        self.say(Failed(1, flow, [(4, 11), (8, 1)]), Ack(1, 0, 0, [Position(flow, 4, 1, 8, 8 * 128)]))
        said = self.cut(incarnation=6)
        self.assertEqual(said[0], Open(flow, b"\x01"))
        restarted = self.events()[-1]
        # The second, which the node had, and the fifth, of which nobody knows.
        self.assertEqual((type(restarted), restarted.lost), (Restarted, 2))
        self.say(Ack(2, 0, 0, [Position(flow, 0, 0, 9, 9 * 128)]))
        lane, kind, payload = self.written()[-1]
        batch = Decoder().decode(payload, 0)
        again = [(record.sequence, is_repeat(record.extension)) for record in batch.records]
        self.assertEqual((batch.first, again), (1, [(3, True), (6, False), (7, True), (9, False)]))

    def test_a_node_that_forgot_is_told_signals_anew(self):
        self.connected()
        self.session.signal(b"a")
        self.cut(incarnation=6)
        self.session.signal(b"b")
        self.assertEqual(self.written(), [Signal(1, b"b")])

    def test_positions_that_cannot_be_end_the_session(self):
        for received in (1, 4):
            self.setUp()
            flow = self.sending(5, 3, 1000)
            self.written()
            self.say(Ack(1, 0, 0, [Position(flow, 2, 0, 3, 1000)]))
            self.cut()
            self.say(Resume(2, 1, 0, 0, [Position(flow, received, 0, 5, 1000)]))
            self.assertEqual(self.goodbye_code(), frames.PROTOCOL)
