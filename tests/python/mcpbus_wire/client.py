"""A session over QUIC: lanes are unidirectional streams, and both ends show a certificate."""

import asyncio
import contextlib
import secrets
import ssl
import time
from pathlib import Path

from aioquic.asyncio import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived

from . import frames
from .events import Silent
from .session import Config, Session

APPLICATION_PROTOCOL = "mcpbus/1"
SERVER_NAME = "node.mcpbus.internal"
CONFIRMATION = 255

# How long a connection, and later a goodbye, may take.
CONNECT_LIMIT = 10.0
GOODBYE_LIMIT = 5.0


class LinkLost(Exception):
    """The link is gone; the text says why."""


def configuration(identity):
    """The TLS side, from a folder as `mcpbus cert issue` writes it."""
    folder = Path(identity)
    quic = QuicConfiguration(is_client=True, alpn_protocols=[APPLICATION_PROTOCOL], server_name=SERVER_NAME)
    quic.verify_mode = ssl.CERT_REQUIRED
    quic.load_cert_chain(folder / "identity.pem", folder / "identity.key")
    quic.load_verify_locations(cafile=str(folder / "trust.pem"))
    return quic


class Link(QuicConnectionProtocol):
    """The lanes of one connection. `arrived` is called with each lane's bytes, `ended` once with the reason."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.confirmed = asyncio.get_running_loop().create_future()
        self.closed_because = None
        self.lane_of_stream = {}
        self.stream_of_lane = {}
        self.early = []
        self.arrived = None
        self.ended = lambda: None

    def listen(self, arrived, ended):
        self.arrived, self.ended = arrived, ended
        early, self.early = self.early, []
        for lane, data in early:
            arrived(lane, data)
        if self.closed_because is not None:
            ended()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self._data(event.stream_id, event.data)
        elif isinstance(event, ConnectionTerminated):
            self.closed_because = f"{event.reason_phrase or 'closed'} (code {event.error_code:#x})"
            if not self.confirmed.done():
                self.confirmed.set_exception(LinkLost(self.closed_because))
            self.ended()

    def _data(self, stream, data):
        if not data:
            return
        if stream not in self.lane_of_stream:
            self.lane_of_stream[stream] = data[0]
            data = data[1:]
        lane = self.lane_of_stream[stream]
        if lane == CONFIRMATION:
            if not self.confirmed.done():
                self.confirmed.set_result(None)
        elif self.arrived is None:
            self.early.append((lane, data))
        else:
            self.arrived(lane, data)

    def write(self, lane, data):
        """Queues bytes on a lane and opens it with the first of them. `transmit` sends."""
        if lane not in self.stream_of_lane:
            self.stream_of_lane[lane] = self._quic.get_next_available_stream_id(is_unidirectional=True)
            data = bytes([lane]) + data
        self._quic.send_stream_data(self.stream_of_lane[lane], data)


@contextlib.asynccontextmanager
async def dialed(node, identity, quic=None):
    """A link that the node has confirmed."""
    host, _, port = node.rpartition(":")
    options = dict(configuration=quic or configuration(identity), create_protocol=Link, wait_connected=False)
    async with connect(host.strip("[]"), int(port), **options) as link:
        link.transmit()
        await asyncio.wait_for(link.confirmed, CONNECT_LIMIT)
        yield link


class Client:
    """Runs a session on one link after the other. Events go to `handle`, a plain function that may use the session."""

    def __init__(self, link, handle, **options):
        self.handle = handle
        self.loop = asyncio.get_running_loop()
        config = Config(id=secrets.randbits(128), epoch=time.time_ns() // 1_000, **options)
        self.session = Session(config, self.loop.time())
        self.taken_over = asyncio.Event()
        self.timer = None
        self.soon = None
        self._attach(link)

    def attach(self, link):
        """Goes on over another link, after `lost`."""
        self.session.link_up(self.now())
        self._attach(link)

    def _attach(self, link):
        self.link = link
        self.lost = self.loop.create_future()
        link.listen(self._arrived, self._link_ended)
        self.act()

    def now(self):
        return self.loop.time()

    def act(self):
        """Carries out what the session wants; to be called after the session was used."""
        if self.soon is None:
            self.soon = self.loop.call_soon(self._act)

    def _act(self):
        self.soon = None
        events = True
        while events:
            events = self.session.take_events()
            for event in events:
                if isinstance(event, Silent):
                    # After what is queued, so that the goodbye goes out before the close.
                    self.loop.call_soon(self.link.close)
                else:
                    self.handle(event)
        self.session.flush(self.now())
        if self.session.over or self.session.is_taken_over():
            self.taken_over.set()
        else:
            self.taken_over.clear()
        for lane, data in self.session.take_output():
            self.link.write(lane, data)
        self.link.transmit()
        if self.timer is not None:
            self.timer.cancel()
        if not self.session.over and self.session.is_up() and not self.lost.done():
            self.timer = self.loop.call_at(self.session.next_timer(), self._timed)

    def _timed(self):
        self.session.handle_timer(self.now())
        self.act()

    def _arrived(self, lane, data):
        self.session.receive(lane, data, self.now())
        self.act()

    def _link_ended(self):
        self.session.link_down()
        if not self.lost.done():
            self.lost.set_result(self.link.closed_because)

    async def goodbye(self):
        """Says that the session is over, once the node has taken over all of it, and leaves the link."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.taken_over.wait(), GOODBYE_LIMIT)
        self.session.goodbye(frames.DONE)
        # At once, so that the goodbye is written before anything that waits for it.
        self._act()
        await self.left()

    async def left(self):
        """Waits until the last goodbye has arrived, since closing the connection throws away what is still on its way."""
        answered = self.session.goodbye_code in (None, frames.DONE)
        # Only `done` is answered, and the node closes the link after its own; else a ping behind the goodbye says when it came.
        waiting = self.link.wait_closed() if answered else self.link.ping()
        with contextlib.suppress(asyncio.TimeoutError, ConnectionError):
            await asyncio.wait_for(waiting, GOODBYE_LIMIT)
