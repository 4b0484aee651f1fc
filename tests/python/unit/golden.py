"""Reads files of golden frames: `*.txt` and `*.hex`, each the bytes of one lane from its beginning.

A line is hexadecimal digits, with spaces where one likes, and perhaps a label that ends with a colon before them. What
stands behind `#` is a comment. A file whose name begins with `refused` holds bytes that must not be read.
"""

from mcpbus_wire import frames
from mcpbus_wire.batch import Decoder, Encoder
from mcpbus_wire.frames import FrameReader


class Mistake(Exception):
    """A line that is not what this reader knows."""


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix in (".txt", ".hex"))


def stream(path):
    out = bytearray()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        digits = line.partition("#")[0].rpartition(":")[2]
        try:
            out += bytes.fromhex(digits)
        except ValueError as error:
            raise Mistake(f"{path}:{number}: {error}") from None
    return bytes(out)


def decoded(data):
    """The frames of one lane; refuses bytes that are left over."""
    reader, decoder = FrameReader(max(frames.data_frame_max(), frames.CONTROL_FRAME_MAX)), Decoder()
    read = []
    for kind, payload in reader.feed(data):
        # A deadline is written as the time that is left, so with 0 for now it comes out as it went in.
        read.append(decoder.decode(payload, 0) if kind == frames.BATCH else frames.decode(kind, payload))
    if reader.buffer:
        raise frames.Refused(f"{len(reader.buffer)} bytes of the last frame, which is cut")
    return read


def encoded(read):
    encoder = Encoder()
    return b"".join(
        frames.encode(frame) if hasattr(frame, "kind") else encoder.encode(frame.flow, frame.first, frame.records, 0)
        for frame in read
    )
