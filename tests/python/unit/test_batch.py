"""Batch frames: heads, records, and bytes that no sender may write."""

import random
import unittest

from mcpbus_wire.batch import (
    ACCEPTED,
    PROCESSED,
    RECORDS_MAX,
    TABLE_MAX,
    Decoder,
    Encoder,
    Head,
    Record,
    fitting,
)
from mcpbus_wire.fields import Reader, Refused, varint
from mcpbus_wire.frames import DATA_FRAME_MAX

NOW = 1000.0


def head(subject, **more):
    return Head(producer=7, epoch=3, subject=subject, **more)


def record(head, sequence, **more):
    return Record(head, sequence, **{"body": b"body", **more})


def payload_of(frame):
    return frame[5:]


class Batches(unittest.TestCase):
    def pass_on(self, encoder, decoder, records, flow=1, first=1):
        batch = decoder.decode(payload_of(encoder.encode(flow, first, records, NOW)), NOW)
        self.assertEqual((batch.flow, batch.first), (flow, first))
        for read, written in zip(batch.records, records, strict=True):
            if written.deadline is None:
                self.assertIsNone(read.deadline)
            else:
                self.assertAlmostEqual(read.deadline, written.deadline, delta=2e-6)
            read.deadline = written.deadline
            self.assertEqual(read, written)

    def test_records_of_every_form_are_read_back(self):
        heads = [
            head("a", level=ACCEPTED),
            head("b.ü", level=PROCESSED, hops=15, body_kind=2**64 - 1),
            head("c"),
        ]
        chance = random.Random(1)
        encoder, decoder = Encoder(), Decoder()
        for _ in range(50):
            records = [
                record(
                    chance.choice(heads),
                    chance.choice([number, number + 5]),
                    key=chance.choice([None, 1, 1, 2**64 - 1]),
                    deadline=chance.choice([None, NOW + 1, NOW + 1, NOW + 0.5]),
                    extension=chance.choice([b"", b"\x03\x01\x09"]),
                    body=bytes(chance.choice([0, 1, 200])),
                )
                for number in range(1, 40)
            ]
            self.pass_on(encoder, decoder, records)

    def test_a_steady_stream_costs_what_the_page_says(self):
        for key, cost in ((None, 2), (1, 10)):
            records = [record(head("a"), n, key=None if key is None else n, body=b"") for n in range(1, 102)]
            encoder = Encoder()
            encoder.encode(1, 1, records[:1], NOW)
            one = len(encoder.encode(1, 1, records[:1], NOW))
            self.assertEqual(len(encoder.encode(1, 1, records, NOW)) - one, 100 * cost)

    def test_a_full_table_is_emptied(self):
        encoder, decoder = Encoder(), Decoder()
        for start in range(0, 3 * TABLE_MAX, RECORDS_MAX):
            records = [record(head(f"s.{start + n}"), 1) for n in range(RECORDS_MAX)]
            self.pass_on(encoder, decoder, records)
            self.assertEqual(len(decoder.table), len(encoder.table))

    def test_a_passed_deadline_has_no_time_left(self):
        frame = Encoder().encode(1, 1, [record(head("a"), 1, deadline=NOW - 5)], NOW)
        self.assertEqual(Decoder().decode(payload_of(frame), NOW).records[0].deadline, NOW)

    def test_every_cut_is_refused(self):
        records = [record(head("a", body_kind=5), 1, key=9, deadline=NOW + 1, extension=b"\x01\x00")]
        payload = payload_of(Encoder().encode(300, 300, records, NOW))
        for end in range(len(payload)):
            with self.assertRaises(Refused, msg=f"cut at {end}"):
                Decoder().decode(payload[:end], NOW)
        with self.assertRaises(Refused):
            Decoder().decode(payload + b"\x00", NOW)

    def test_what_is_not_allowed_is_refused(self):
        whole = b"\x00" + head("a").payload() + b"\x01"
        start = b"\x00\x01\x01\x01\x01"
        body = b"\x00"
        subject = bytearray(head("ab").payload())
        subject[-1] = 0xFF
        wrong = {
            "flags of the frame": b"\x02" + start[1:] + whole + b"\x00" + body,
            "no records": b"\x00\x01\x01\x00\x01" + whole,
            "too many records": b"\x00\x01\x01" + varint(RECORDS_MAX + 1) + b"\x01" + whole,
            "sequence 0": b"\x00\x01\x00\x01\x01" + whole + b"\x00" + body,
            "no heads": b"\x00\x01\x01\x01\x00\x00" + body,
            "more heads than records": b"\x00\x01\x01\x01\x02" + whole + whole + b"\x00" + body,
            "an entry that is not there": start + b"\x01\x01\x00" + body,
            "flags of a head": start + b"\x00\x08" + head("a").payload()[1:] + b"\x01\x00" + body,
            "a subject that is not UTF-8": start + b"\x00" + bytes(subject) + b"\x01\x00" + body,
            "index of a head": start + whole + b"\x04\x01" + body,
            "control bit 7": start + whole + b"\x80" + body,
            "key 3": start + whole + b"\x03" + body,
            "deadline 3": start + whole + b"\x30" + body,
            "the last key without one": start + whole + b"\x01" + body,
            "the last deadline without one": start + whole + b"\x10" + body,
            "a body over the limit": start + whole + b"\x00" + varint(1025),
            "an extension over the limit": start + whole + b"\x40" + varint(4097),
        }
        Decoder().decode(start + whole + b"\x00" + body, NOW)
        for what, payload in wrong.items():
            with self.assertRaises(Refused, msg=what):
                Decoder(body_max=1024).decode(payload, NOW)

    def test_random_bytes_are_refused_or_read_and_nothing_else(self):
        chance = random.Random(2)
        payload = payload_of(Encoder().encode(1, 1, [record(head("a"), n, key=n) for n in range(1, 20)], NOW))
        for _ in range(3000):
            broken = bytearray(payload)
            for _ in range(chance.randrange(1, 4)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            try:
                Decoder().decode(bytes(broken), NOW)
            except Refused:
                pass

    def test_a_frame_has_at_least_one_record_and_at_most_its_limits(self):
        large = [record(head("a"), n, body=bytes(100_000)) for n in range(3)]
        self.assertEqual(fitting(large), 1)
        small = [record(head("a"), n, body=b"") for n in range(3000)]
        self.assertEqual(fitting(small), RECORDS_MAX)

    def test_new_heads_count_towards_the_limit_of_a_frame(self):
        records = [record(head(f"{n:0255}"), n, body=b"x" * 10) for n in range(RECORDS_MAX)]
        count = fitting(records)
        self.assertLess(count, RECORDS_MAX)
        self.assertLessEqual(len(Encoder().encode(1, 1, records[:count], NOW)) - 4, DATA_FRAME_MAX)


class Heads(unittest.TestCase):
    def test_the_subject_is_the_last_field(self):
        payload = head("abc", level=ACCEPTED).payload()
        self.assertEqual(payload[-4:], b"\x03abc")
        self.assertEqual(Head.read(Reader(payload)), head("abc", level=ACCEPTED))
