"""Peers that break the protocol, and what the node says to them."""

import asyncio
import itertools
import unittest

from mcpbus_wire import frames, router
from mcpbus_wire.batch import Encoder, Head, Record
from mcpbus_wire.client import LinkLost, configuration, dialed
from mcpbus_wire.frames import Ack, Close, Failed, FrameReader, Goodbye, Hello, Open, Ping, Resume, Signal, encode

from .case import WithNode
from .processes import LIMIT

HELLO = dict(role=frames.CLIENT, epoch=1, name=b"x", session=1, incarnation=0, link=1, lanes=4, body_max=1000, flows_max=9)
HEAD = Head(producer=1, epoch=1, subject="a")


# Each peer is another one: two with one id would be one session.
ids = itertools.count(1)


def hello(**changed):
    return encode(Hello(**{**HELLO, "id": next(ids), **changed}))


def batch(flow, count=1, first=1, size=0):
    return Encoder().encode(flow, first, [Record(HEAD, n + 1, bytes(size)) for n in range(count)], 0)


CONTROL = 0
PUBLISHED = encode(Open(1, router.PUBLISHED))

# What a peer writes, as lane and bytes, and what the node must answer.
BREACHES = {
    "first frame is no hello": ([(CONTROL, encode(Ping(1)))], frames.PROTOCOL),
    "another magic": ([(CONTROL, hello().replace(b"mcpbus", b"MCPBUS"))], frames.PROTOCOL),
    "no lanes": ([(CONTROL, hello(lanes=0))], frames.PROTOCOL),
    "a newer version": ([(CONTROL, hello(oldest=2, newest=3))], frames.VERSION_UNKNOWN),
    "a second hello": ([(CONTROL, 2 * hello())], frames.PROTOCOL),
    "resume of a new session": ([(CONTROL, hello() + encode(Resume(1, 1, 0, 0)))], frames.PROTOCOL),
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
    "an ack of signals never sent": ([(CONTROL, hello() + encode(Ack(1, 1, 0)))], frames.PROTOCOL),
    "a flow opened twice": ([(CONTROL, hello() + PUBLISHED + PUBLISHED)], frames.PROTOCOL),
    "a flow of nodes": ([(CONTROL, hello() + encode(Open(1, b"\x02\x00")))], frames.PROTOCOL),
    "a close of no flow": ([(CONTROL, hello() + encode(Close(5, 0)))], frames.PROTOCOL),
    "data without a flow": ([(CONTROL, hello()), (2, batch(1))], frames.PROTOCOL),
    "a lane that was not agreed": ([(CONTROL, hello()), (7, b"x")], frames.PROTOCOL),
    "a control frame on a data lane": ([(CONTROL, hello()), (1, encode(Ping(1)))], frames.PROTOCOL),
    "data on another lane": ([(CONTROL, hello() + PUBLISHED), (3, batch(1))], frames.PROTOCOL),
    "a peer that is done": ([(CONTROL, hello() + encode(Goodbye(frames.DONE, b"")))], frames.DONE),
    "silence": ([(CONTROL, hello())], frames.SILENT),
    "no hello": ([(CONTROL, b"")], frames.SILENT),
}


# The first window of a flow at a node is 64 messages.
NOT_GRANTED = [(CONTROL, hello() + PUBLISHED), (2, batch(1, 65))]

# What no link carries: the connection is closed, without a goodbye, with the application's code 1.
VIOLATIONS = {
    "a lane above the highest": [(CONTROL, hello()), (9, b"x")],
    "the confirmation of an acceptor": [(CONTROL, hello()), (255, b"x")],
}


class Breaches(WithNode):
    async def answer_to(self, writes, settled=False):
        """The goodbye of the node, if any, to a peer that writes this and then nothing more, and why the link was closed.

        `settled`: each write has arrived before the next is made.
        """
        reader, said = FrameReader(frames.CONTROL_FRAME_MAX), []
        ended = asyncio.get_running_loop().create_future()

        def arrived(lane, data):
            for frame in reader.feed(data):
                frame = frames.decode(*frame)
                if isinstance(frame, Goodbye):
                    said.append(frame)

        def link_ended():
            if not ended.done():
                ended.set_result(None)

        async with dialed(self.address, self.authority / "python") as link:
            link.listen(arrived, link_ended)
            for lane, data in writes:
                if settled:
                    # A ping is acknowledged once the node has what was written before it.
                    await asyncio.wait_for(link.ping(), LIMIT)
                link.write(lane, data)
                link.transmit()
            await asyncio.wait_for(ended, LIMIT)
            return said, link.closed_because

    async def test_each_breach_has_its_goodbye(self):
        # All at once, since silence takes its time.
        answers = await asyncio.gather(*(self.answer_to(writes) for writes, _ in BREACHES.values()))
        for (what, (_, code)), (said, closed) in zip(BREACHES.items(), answers):
            with self.subTest(what):
                self.assertEqual([frames.GOODBYES[frame.code] for frame in said], [frames.GOODBYES[code]], said)
                self.assertIn("code 0x0", closed)
        await self.node_has_lost_nothing()

    async def test_what_no_link_carries_closes_the_connection(self):
        for what, writes in VIOLATIONS.items():
            with self.subTest(what):
                said, closed = await self.answer_to(writes)
                self.assertEqual(said, [])
                self.assertIn("code 0x1)", closed)
        await self.node_has_lost_nothing()

    async def test_data_that_was_not_granted_has_its_goodbye(self):
        said, _ = await self.answer_to(NOT_GRANTED)
        self.assertEqual([frame.code for frame in said], [frames.PROTOCOL], said)

    async def test_data_that_was_not_granted_leaves_no_residual(self):
        await self.answer_to(NOT_GRANTED)
        await self.node_has_lost_nothing()

    async def test_bytes_behind_a_breach_change_nothing(self):
        # Before the hello a node leaves a data lane unread, so it then reads all of these datagrams at once.
        said, _ = await self.answer_to([(2, frames.framed(99, b"") + bytes(8_000)), (CONTROL, hello())], settled=True)
        self.assertNotIn("panicked", self.node.said())
        self.assertEqual([frame.code for frame in said], [frames.PROTOCOL], said)

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
