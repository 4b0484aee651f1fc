"""Peers that break the protocol, and what the node says to them."""

import asyncio

from mcpbus_wire import frames, router
from mcpbus_wire.batch import Encoder, Head, Record
from mcpbus_wire.client import LinkLost, configuration, dialed
from mcpbus_wire.frames import Ack, Close, Failed, FrameReader, Goodbye, Hello, Open, Ping, Position, Resume, Signal, encode

from .case import WithNode
from .processes import LIMIT

HELLO = dict(role=frames.CLIENT, id=1, epoch=1, name=b"x", session=1, incarnation=0, lanes=4, body_max=1000, flows_max=9)
HEAD = Head(producer=1, epoch=1, subject="a")


def hello(**changed):
    return encode(Hello(**{**HELLO, **changed}))


def batch(flow, count=1, first=1, size=0):
    return Encoder().encode(flow, first, [Record(HEAD, n + 1, bytes(size)) for n in range(count)], 0)


def ack_of(flow, received):
    return encode(Ack(0, 0, [Position(flow, received, 0, received, 0)]))


CONTROL = 0
PUBLISHED = encode(Open(1, router.PUBLISHED))

# What a peer writes, as lane and bytes, and what the node must answer.
BREACHES = {
    "first frame is no hello": ([(CONTROL, encode(Ping(1)))], frames.PROTOCOL),
    "another magic": ([(CONTROL, hello().replace(b"mcpbus", b"MCPBUS"))], frames.PROTOCOL),
    "no lanes": ([(CONTROL, hello(lanes=0))], frames.PROTOCOL),
    "a newer version": ([(CONTROL, hello(oldest=2, newest=3))], frames.VERSION_UNKNOWN),
    "a second hello": ([(CONTROL, hello() + hello())], frames.PROTOCOL),
    "resume of a new session": ([(CONTROL, hello() + encode(Resume(1, 0, 0)))], frames.PROTOCOL),
    "an unknown kind": ([(CONTROL, hello() + frames.framed(99, b""))], frames.PROTOCOL),
    "a frame that is too long": ([(CONTROL, hello() + (frames.CONTROL_FRAME_MAX + 1).to_bytes(4, "little"))], frames.PROTOCOL),
    "a frame of no bytes": ([(CONTROL, hello() + bytes(4))], frames.PROTOCOL),
    "a frame that goes on": ([(CONTROL, hello() + frames.framed(Ping.kind, bytes(9)))], frames.PROTOCOL),
    "a frame that is cut": ([(CONTROL, hello() + frames.framed(Ping.kind, bytes(7)))], frames.PROTOCOL),
    "an unknown goodbye": ([(CONTROL, hello() + frames.framed(Goodbye.kind, b"\x07\x00"))], frames.PROTOCOL),
    "a batch on the control lane": ([(CONTROL, hello() + PUBLISHED + batch(1))], frames.PROTOCOL),
    "a signal that leaves a gap": ([(CONTROL, hello() + encode(Signal(2, router.Question(1, "a").payload())))], frames.PROTOCOL),
    "a signal of nodes": ([(CONTROL, hello() + encode(Signal(1, b"\x07\x00")))], frames.PROTOCOL),
    "a failed frame that leaves a gap": ([(CONTROL, hello() + encode(Failed(2, 1, [])))], frames.PROTOCOL),
    "an ack of signals never sent": ([(CONTROL, hello() + encode(Ack(1, 0)))], frames.PROTOCOL),
    "a flow opened twice": ([(CONTROL, hello() + PUBLISHED + PUBLISHED)], frames.PROTOCOL),
    "a flow of nodes": ([(CONTROL, hello() + encode(Open(1, b"\x02\x00")))], frames.PROTOCOL),
    "a close of no flow": ([(CONTROL, hello() + encode(Close(5, 0)))], frames.PROTOCOL),
    "data without a flow": ([(CONTROL, hello()), (2, batch(1))], frames.PROTOCOL),
    "a lane that was not agreed": ([(CONTROL, hello(lanes=2)), (3, b"x")], frames.PROTOCOL),
    "a control frame on a data lane": ([(CONTROL, hello()), (1, encode(Ping(1)))], frames.PROTOCOL),
    "data on another lane": ([(CONTROL, hello() + PUBLISHED), (3, batch(1))], frames.PROTOCOL),
    "data that was not granted": ([(CONTROL, hello() + PUBLISHED), (2, batch(1, 1024) + batch(1, 1024, 1025))], frames.PROTOCOL),
    "a session of another node": ([(CONTROL, hello() + encode(Goodbye(frames.PROTOCOL, b"")) + encode(Goodbye(0, b"")))], frames.DONE),
    "silence": ([(CONTROL, hello())], frames.SILENT),
    "no hello": ([(CONTROL, b"")], frames.SILENT),
}


class Breaches(WithNode):
    async def goodbye_to(self, writes):
        """The goodbye of the node to a peer that writes this, and then nothing more."""
        reader, said = FrameReader(frames.CONTROL_FRAME_MAX), asyncio.get_running_loop().create_future()
        async with dialed(self.address, self.authority / "python") as link:

            def arrived(lane, data):
                for kind, payload in reader.feed(data):
                    frame = frames.decode(kind, payload)
                    if isinstance(frame, Goodbye) and not said.done():
                        said.set_result(frame)

            def ended():
                if not said.done():
                    said.set_exception(LinkLost(link.closed_because))

            link.listen(arrived, ended)
            for lane, data in writes:
                link.write(lane, data)
            link.transmit()
            async with asyncio.timeout(LIMIT):
                goodbye = await said
                await link.wait_closed()
            self.assertIn("code 0x0", link.closed_because)
            return goodbye

    async def test_each_breach_has_its_goodbye(self):
        async def one(what, writes, code):
            goodbye = await self.goodbye_to(writes)
            return what, goodbye.reason.decode(), frames.GOODBYES[goodbye.code], frames.GOODBYES[code]

        # All at once, since silence takes its time.
        told = await asyncio.gather(*(one(what, *breach) for what, breach in BREACHES.items()))
        for what, reason, said, expected in told:
            with self.subTest(what):
                self.assertEqual(said, expected, reason)
        await self.node_has_lost_nothing()

    async def refused(self, quic, identity):
        with self.assertRaises(LinkLost) as caught:
            async with dialed(self.address, identity, quic):
                pass
        return str(caught.exception)

    async def test_strangers_have_no_link(self):
        python = self.authority / "python"
        strangers = self.new_authority("others", "stranger") / "stranger"
        other = configuration(strangers)
        other.load_verify_locations(cafile=str(python / "trust.pem"))
        self.assertIn("code 0x130", await self.refused(other, None), "unknown_ca")
        other = configuration(python)
        other.alpn_protocols = ["h3"]
        self.assertIn("code 0x178", await self.refused(other, None), "no_application_protocol")
        other = configuration(python)
        other.certificate = other.private_key = None
        self.assertIn("code 0x174", await self.refused(other, None), "certificate_required")
        other = configuration(python)
        other.load_verify_locations(cafile=str(strangers / "trust.pem"))
        self.assertIn("code 0x12a", await self.refused(other, None), "bad_certificate, as this end says")
