"""Numbers and blobs as the page's section "Numbers" has them."""

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1


class Refused(Exception):
    """Bytes that the page does not allow. The session answers with a goodbye of this code."""

    def __init__(self, reason, code=4):
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Reader:
    """Takes fields from one frame; every field that is cut off or over its limit is refused."""

    def __init__(self, data):
        self.data = bytes(data)
        self.at = 0

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        if count > self.left():
            raise Refused(f"{count} bytes are missing at {self.at}")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def fixed(self, size):
        return int.from_bytes(self.take(size), "little")

    def u8(self):
        return self.fixed(1)

    def varint(self, most=U64_MAX, what="number"):
        value = 0
        for place in range(10):
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if value > most:
                    raise Refused(f"{what} {value} is over {most}")
                return value
        raise Refused(f"{what} has more than ten bytes")

    def blob(self, most, what="blob"):
        # The length is compared with its limit before anything is taken.
        return self.take(self.varint(most, f"length of {what}"))

    def text(self, most, what="text"):
        try:
            return self.blob(most, what).decode()
        except UnicodeDecodeError:
            raise Refused(f"{what} is not UTF-8") from None

    def flag(self, what="flag"):
        value = self.u8()
        if value > 1:
            raise Refused(f"{what} is {value}")
        return value == 1

    def end(self):
        if self.left():
            raise Refused(f"{self.left()} bytes follow the last field")


def fixed(value, size):
    return value.to_bytes(size, "little")


def u8(value):
    return fixed(value, 1)


def varint(value):
    if not 0 <= value <= U64_MAX:
        raise ValueError(f"{value} has no varint")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def blob(value, most=None):
    if most is not None and len(value) > most:
        raise ValueError(f"{len(value)} bytes are over {most}")
    return varint(len(value)) + value
