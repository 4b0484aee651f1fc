"""Reads files of golden frames: `*.txt` and `*.hex`, each the bytes of one lane from its beginning.

A line is hexadecimal digits, with spaces where one likes, and perhaps a label that ends with a colon before them. What
stands behind `#` is a comment. A file whose name begins with `refused` holds bytes that must not be read.
"""

from mcpbus_wire import frames
from mcpbus_wire.batch import Batch, Decoder, Encoder, Large, Part
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
    reader, decoder = FrameReader(max(frames.DATA_FRAME_MAX, frames.CONTROL_FRAME_MAX)), Decoder()
    # A deadline is written as the time that is left, so with 0 for now it comes out as it went in.
    data_frames = {
        frames.BATCH: lambda payload: decoder.decode(payload, 0),
        frames.LARGE: lambda payload: decoder.decode_large(payload, 0),
        frames.PART: Part.decode,
    }
    read = []
    for kind, payload in reader.feed(data):
        read.append(data_frames[kind](payload) if kind in data_frames else frames.decode(kind, payload))
    if reader.buffer:
        raise frames.Refused(f"{len(reader.buffer)} bytes of the last frame, which is cut")
    return read


def encoded(read):
    encoder = Encoder()
    data_frames = {
        Batch: lambda frame: encoder.encode(frame.flow, frame.first, frame.records, 0),
        Large: lambda frame: encoder.encode_large(frame, 0),
        Part: Part.encode,
    }
    return b"".join(data_frames.get(type(frame), frames.encode)(frame) for frame in read)
