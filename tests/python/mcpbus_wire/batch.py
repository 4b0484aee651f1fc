"""Data frames: batches of up to 1,024 records of one flow, with a table of heads for each lane and direction; large records."""

from dataclasses import dataclass

from .fields import U32_MAX, Reader, Refused, blob, fixed, u8, varint
from .frames import BATCH, BODY_MAX, FRAME_TARGET, LARGE, PART, framed, read_tags

RECORDS_MAX = 1_024
TABLE_MAX = 4_096
SUBJECT_MAX = 255
EXTENSION_MAX = 4_096

NONE, ACCEPTED, STORED, PROCESSED = range(4)
LEVELS = ("none", "accepted", "stored", "processed")

# Weight of a record beside its body, with which both ends count.
RECORD_COST = 128
# The tag of the extension that holds labels: they cost as the body does.
LABELS = 7


@dataclass(frozen=True)
class Head:
    """What the messages of one producer on one subject share."""

    producer: int
    epoch: int
    subject: str
    level: int = NONE
    hops: int = 0
    body_kind: int | None = None

    def payload(self):
        flags = self.level | (0 if self.body_kind is None else 4)
        return b"".join(
            (
                u8(flags),
                u8(self.hops),
                fixed(self.producer, 16),
                varint(self.epoch),
                b"" if self.body_kind is None else fixed(self.body_kind, 8),
                blob(self.subject.encode(), SUBJECT_MAX),
            )
        )

    @classmethod
    def read(cls, reader):
        flags = reader.u8()
        if flags > 7:
            raise Refused(f"flags {flags} of a head")
        hops, producer, epoch = reader.u8(), reader.fixed(16), reader.varint()
        body_kind = reader.fixed(8) if flags & 4 else None
        return cls(producer, epoch, reader.text(SUBJECT_MAX, "subject"), flags & 3, hops, body_kind)


@dataclass
class Record:
    """One message. `deadline` is in seconds of the session's clock; on the wire it is the time that is left."""

    head: Head
    sequence: int
    body: bytes
    key: int | None = None
    deadline: float | None = None
    extension: bytes = b""

    def cost(self):
        labels = sum(len(value) for tag, value in read_tags(self.extension) if tag == LABELS)
        return RECORD_COST + labels + len(self.body)


@dataclass
class Batch:
    flow: int
    first: int
    records: list


@dataclass
class Large:
    """The beginning of a record whose body goes in parts; the record has the first piece of it."""

    flow: int
    sequence: int
    length: int
    record: Record


@dataclass
class Part:
    """The next piece of the body of a large record."""

    flow: int
    sequence: int
    offset: int
    piece: bytes

    def encode(self):
        return framed(PART, varint(self.flow) + varint(self.sequence) + varint(self.offset) + self.piece)

    @classmethod
    def decode(cls, payload):
        reader = Reader(payload)
        flow, sequence, offset = reader.varint(U32_MAX, "flow"), reader.varint(), reader.varint()
        if not reader.left():
            raise Refused("a part without a piece")
        return cls(flow, sequence, offset, reader.take(reader.left()))


class Encoder:
    """Writes the batch frames of one lane of one link."""

    def __init__(self):
        self.table = {}

    def encode(self, flow, first, records, now):
        """One frame with all of these records, 1 to 1,024."""
        return framed(BATCH, self._batch(flow, first, records, now))

    def encode_large(self, large, now):
        """The beginning of a record whose body goes in parts."""
        return framed(LARGE, varint(large.length) + self._batch(large.flow, large.sequence, [large.record], now))

    def _batch(self, flow, first, records, now):
        if not 1 <= len(records) <= RECORDS_MAX:
            raise ValueError(f"{len(records)} records in one frame")
        heads = {}
        for record in records:
            heads.setdefault(record.head, record.sequence)
        flags = 0
        if len(self.table) + sum(head not in self.table for head in heads) > TABLE_MAX:
            self.table.clear()
            flags = 1
        out = [u8(flags), varint(flow), varint(first), varint(len(records)), varint(len(heads))]
        for head, sequence in heads.items():
            if head in self.table:
                out.append(varint(self.table[head] + 1))
            else:
                self.table[head] = len(self.table)
                out.append(varint(0) + head.payload())
            out.append(varint(sequence))
        self._records(out, records, heads, now)
        return b"".join(out)

    @staticmethod
    def _records(out, records, heads, now):
        places = {head: place for place, head in enumerate(heads)}
        following = dict(heads)
        current, key, left = 0, None, None
        for record in records:
            control, fields = 0, []
            place = places[record.head]
            if place != current:
                control |= 4
                fields.append(varint(place))
                current = place
            if record.sequence != following[record.head]:
                control |= 8
                fields.append(varint(record.sequence))
            following[record.head] = record.sequence + 1
            if record.key is not None:
                if record.key == key:
                    control |= 1
                else:
                    control |= 2
                    key = record.key
                    fields.append(fixed(key, 8))
            if record.deadline is not None:
                micros = max(0, round((record.deadline - now) * 1e6))
                if micros == left:
                    control |= 0x10
                else:
                    control |= 0x20
                    left = micros
                    fields.append(varint(left))
            if record.extension:
                control |= 0x40
                fields.append(blob(record.extension, EXTENSION_MAX))
            out.append(u8(control))
            out.extend(fields)
            out.append(blob(record.body))


class Decoder:
    """Reads the batch frames of one lane of one link."""

    def __init__(self, body_max=BODY_MAX):
        self.body_max = body_max
        self.table = []

    def decode(self, payload, now):
        return self._batch(Reader(payload), now)

    def decode_large(self, payload, now):
        reader = Reader(payload)
        length = reader.varint(self.body_max, "length of a large body")
        batch = self._batch(reader, now)
        piece = len(batch.records[0].body)
        if len(batch.records) != 1 or not 0 < piece < length:
            raise Refused(f"{len(batch.records)} records and {piece} bytes begin a body of {length}")
        return Large(batch.flow, batch.first, length, batch.records[0])

    def _batch(self, reader, now):
        flags = reader.u8()
        if flags > 1:
            raise Refused(f"flags {flags} of a batch")
        if flags:
            self.table.clear()
        flow, first = reader.varint(U32_MAX, "flow"), reader.varint()
        if first == 0:
            raise Refused("records are numbered from 1")
        count = reader.varint(RECORDS_MAX, "number of records")
        if count == 0:
            raise Refused("a batch without records")
        heads = self._heads(reader, count)
        records = self._records(reader, count, heads, now)
        reader.end()
        return Batch(flow, first, records)

    def _heads(self, reader, count):
        number = reader.varint(count, "number of heads")
        if number == 0:
            raise Refused("a batch without heads")
        heads = []
        for _ in range(number):
            reference = reader.varint(TABLE_MAX, "reference")
            if reference == 0:
                if len(self.table) == TABLE_MAX:
                    raise Refused("the table of heads is full")
                self.table.append(Head.read(reader))
                head = self.table[-1]
            elif reference <= len(self.table):
                head = self.table[reference - 1]
            else:
                raise Refused(f"entry {reference - 1} of a table of {len(self.table)}")
            heads.append([head, reader.varint()])
        return heads

    def _records(self, reader, count, heads, now):
        records = []
        current, key, left = 0, None, None
        for _ in range(count):
            control = reader.u8()
            if control & 0x80 or control & 3 == 3 or control & 0x30 == 0x30:
                raise Refused(f"control {control:#x} of a record")
            if control & 4:
                current = reader.varint(len(heads) - 1, "index of a head")
            head, sequence = heads[current]
            if control & 8:
                sequence = reader.varint()
            heads[current][1] = sequence + 1
            if control & 3 == 2:
                key = reader.fixed(8)
            if control & 3 == 1 and key is None:
                raise Refused("the last key, where there is none")
            if control & 0x30 == 0x20:
                left = reader.varint()
            if control & 0x30 == 0x10 and left is None:
                raise Refused("the last deadline, where there is none")
            records.append(
                Record(
                    head,
                    sequence,
                    key=key if control & 3 else None,
                    deadline=now + left / 1e6 if control & 0x30 else None,
                    extension=reader.blob(EXTENSION_MAX, "extension") if control & 0x40 else b"",
                    body=reader.blob(self.body_max, "body"),
                )
            )
        return records


def fitting(records, most=FRAME_TARGET):
    """How many of these records make one frame of about the frame target, with its heads; at least one."""
    size, heads = 0, set()
    for count, record in enumerate(records):
        size += 50 + len(record.extension) + len(record.body)
        if record.head not in heads:
            heads.add(record.head)
            size += 320
        if count and (size > most or count == RECORDS_MAX):
            return count
    return len(records)
