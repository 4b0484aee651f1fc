"""The golden frames of the first implementation, read and written by this one."""

import pathlib
import tempfile
import unittest

from mcpbus_wire.batch import Batch, Encoder, Head, Large, Part, Record
from mcpbus_wire.fields import Refused
from mcpbus_wire.frames import CONTROL, Ping, Signal, encode

from . import golden

FOLDER = pathlib.Path(__file__).parents[3] / "transport/src/wire/golden"


def check(test, folder):
    for path in golden.files(folder):
        with test.subTest(path.name):
            data = golden.stream(path)
            if path.name.startswith("refused"):
                with test.assertRaises(Refused):
                    golden.decoded(data)
            else:
                test.assertEqual(golden.encoded(golden.decoded(data)).hex(" "), data.hex(" "))


class Golden(unittest.TestCase):
    def test_the_golden_frames_mean_the_same_here(self):
        kinds = [golden.decoded(golden.stream(path))[0] for path in golden.files(FOLDER)]
        read = {type(frame) for frame in kinds}
        self.assertEqual(read, {*CONTROL.values(), Batch, Large, Part})
        check(self, FOLDER)


class Reader(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def write(self, name, text):
        (self.path / name).write_text(text)

    def test_comments_labels_and_spaces_are_passed_over(self):
        self.write("control.txt", f"# a ping\nping: {encode(Ping(1)).hex(' ')} # its end\n\n{encode(Signal(1, b'a')).hex()}\n")
        self.assertEqual(golden.decoded(golden.stream(self.path / "control.txt")), [Ping(1), Signal(1, b"a")])
        check(self, self.path)

    def test_batches_share_the_table_of_their_file(self):
        encoder, head = Encoder(), Head(1, 1, "a")
        frames = [encoder.encode(1, n, [Record(head, n, b"x", deadline=0.1 * n)], 0) for n in (1, 2)]
        self.write("batches.hex", "\n".join(frame.hex() for frame in frames))
        self.assertEqual(len(golden.decoded(golden.stream(self.path / "batches.hex"))), 2)
        check(self, self.path)

    def test_what_is_no_digit_is_named_with_its_place(self):
        self.write("wrong.txt", "00\nfull of words\n")
        with self.assertRaisesRegex(golden.Mistake, "wrong.txt:2"):
            golden.stream(self.path / "wrong.txt")

    def test_bytes_that_mean_something_else_fail(self):
        self.write("refused.txt", "09 00 00 00 09 01 00 00 00")
        check(self, self.path)
        # Two bytes for a number that has one: they are read, and written in another way.
        self.write("other.txt", "06 00 00 00 04 81 00 81 00 00")
        data = golden.stream(self.path / "other.txt")
        self.assertNotEqual(golden.encoded(golden.decoded(data)), data)
