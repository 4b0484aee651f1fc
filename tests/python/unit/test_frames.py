"""Control frames: what is written is read back, and what the page does not allow is refused."""

import unittest

from mcpbus_wire import frames
from mcpbus_wire.fields import U64_MAX, Reader, Refused, varint
from mcpbus_wire.frames import (
    Ack,
    Close,
    Failed,
    FrameReader,
    Goodbye,
    Hello,
    Open,
    Pending,
    Ping,
    Pong,
    Position,
    Resume,
    Revoke,
    Revoked,
    Signal,
    decode,
    encode,
)

HELLO = Hello(
    role=frames.CLIENT,
    id=2**128 - 2,
    epoch=300,
    name="Zürich".encode(),
    session=1,
    incarnation=U64_MAX,
    link=3,
    lanes=4,
    body_max=1 << 20,
    flows_max=2**32 - 1,
)
POSITIONS = [Position(1, 10, 4, 40, 4096), Position(2, 0, 0, 0, 0)]

EACH = [
    HELLO,
    Resume(3, 1, 2, 3, POSITIONS),
    Open(7, b"\x01"),
    Close(7, 10_000, 65_536),
    Ack(3, 1, 2, POSITIONS),
    Failed(1, 7, [(5, 1), (9, 15)]),
    Pending(3, 7, 3, 400, 129),
    Revoke(3, 7, 12, 4096),
    Revoked(3, 7, 12, 4096),
    Signal(1, b"x" * frames.SIGNAL_MAX),
    Ping(U64_MAX),
    Pong(1),
    Goodbye(frames.SILENT, b"nothing came"),
]


def payload_of(frame):
    return encode(frame)[5:]


class Varints(unittest.TestCase):
    def test_the_bounds_of_each_length_are_read_back(self):
        for bits in range(0, 65, 7):
            for value in {(1 << bits) - 1, min(1 << bits, U64_MAX)}:
                written = varint(value)
                self.assertEqual(Reader(written).varint(), value)
                self.assertEqual(len(written), max(1, -(-value.bit_length() // 7)))

    def test_more_than_64_bits_or_ten_bytes_are_refused(self):
        for wrong in (b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00", b"\x80" * 9, b""):
            with self.assertRaises(Refused, msg=wrong):
                Reader(wrong).varint()

    def test_a_longer_form_than_needed_is_read(self):
        self.assertEqual(Reader(b"\x81\x80\x00").varint(), 1)


class Frames(unittest.TestCase):
    def test_each_is_read_back(self):
        for frame in EACH:
            self.assertEqual(decode(frame.kind, payload_of(frame)), frame)

    def test_each_that_is_cut_or_goes_on_is_refused(self):
        for frame in EACH:
            payload = payload_of(frame)
            for end in {*range(min(len(payload), 200)), len(payload) - 1}:
                with self.assertRaises(Refused, msg=f"{frame} cut at {end}"):
                    decode(frame.kind, payload[:end])
            with self.assertRaises(Refused, msg=f"{frame} and one byte"):
                decode(frame.kind, payload + b"\x00")

    def test_values_that_do_not_exist_are_refused(self):
        hello = payload_of(HELLO)
        wrong = {
            "magic": (Hello.kind, b"MCPBUS\r\n" + hello[8:]),
            "role": (Hello.kind, hello[:10] + b"\x02" + hello[11:]),
            "goodbye code": (Goodbye.kind, b"\x07\x00"),
            "failure 0": (Failed.kind, b"\x01\x01\x01\x01\x00"),
            "failure 16": (Failed.kind, b"\x01\x01\x01\x01\x10"),
            "kind": (14, b""),
            "versions": (Hello.kind, payload_of(Hello(**{**vars(HELLO), "oldest": 2, "newest": 1}))),
            "half an extension": (Hello.kind, payload_of(Hello(**{**vars(HELLO), "extensions": b"\x01"}))),
            "a batch on the control lane": (frames.BATCH, b""),
            "unsettled above received": (Ack.kind, b"\x01\x00\x00\x01\x01\x02\x03\x00\x00"),
            "granted beyond 64 bits": (Ack.kind, b"\x01\x00\x00\x01\x01\x02\x00" + varint(U64_MAX) + b"\x00"),
            "no lanes": (Hello.kind, payload_of(Hello(**{**vars(HELLO), "lanes": 0}))),
        }
        for what, (kind, payload) in wrong.items():
            with self.assertRaises(Refused, msg=what):
                decode(kind, payload)

    def test_a_count_or_length_over_its_limit_is_refused_before_anything_else_is_read(self):
        wrong = {
            "flow": (Close.kind, varint(2**32) + b"\x00\x00"),
            "definition": (Open.kind, b"\x01" + varint(frames.DEFINITION_MAX + 1)),
            "signal": (Signal.kind, b"\x01" + varint(frames.SIGNAL_MAX + 1)),
            "reason": (Goodbye.kind, b"\x00" + varint(frames.REASON_MAX + 1)),
            "flows of an ack": (Ack.kind, b"\x01\x00\x00" + varint(frames.FLOWS_MAX + 1)),
            "failures": (Failed.kind, b"\x01\x01" + varint(frames.FAILURES_MAX + 1)),
        }
        for what, (kind, payload) in wrong.items():
            with self.assertRaises(Refused, msg=what) as caught:
                decode(kind, payload)
            self.assertIn(" is over ", caught.exception.reason, what)

    def test_a_hello_of_another_version_is_read(self):
        hello = Hello(**{**vars(HELLO), "oldest": 2, "newest": 3, "extensions": b"\x63\x01a\x07\x00"})
        self.assertEqual(decode(Hello.kind, payload_of(hello)), hello)
        self.assertFalse(hello.speaks(frames.VERSION))


class Lanes(unittest.TestCase):
    def test_frames_come_whole_however_the_bytes_are_cut(self):
        stream = b"".join(encode(frame) for frame in EACH)
        for step in (1, 3, 1000, len(stream)):
            if step == 1:
                stream = b"".join(encode(frame) for frame in EACH if frame.kind != Signal.kind)
            reader, read = FrameReader(frames.CONTROL_FRAME_MAX), []
            for at in range(0, len(stream), step):
                read += [decode(*frame) for frame in reader.feed(stream[at : at + step])]
            self.assertEqual(b"".join(encode(frame) for frame in read), stream)
            self.assertFalse(reader.buffer)

    def test_a_length_of_nothing_or_over_the_limit_is_refused(self):
        for length in (0, 11):
            with self.assertRaises(Refused):
                list(FrameReader(10).feed(length.to_bytes(4, "little")))

    def test_frames_before_a_refused_one_are_given(self):
        reader, read = FrameReader(100), []
        with self.assertRaises(Refused):
            for frame in reader.feed(encode(Ping(1)) + b"\x00" * 4):
                read.append(decode(*frame))
        self.assertEqual(read, [Ping(1)])
