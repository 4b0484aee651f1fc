"""Messages that a node stores: durable subscriptions, and publishers that wait for the disk."""

import asyncio

from mcpbus_wire import router
from mcpbus_wire.batch import STORED, Head, Record
from mcpbus_wire.client import Client, dialed
from mcpbus_wire.events import Acked, Connected, MessageFailed, Restarted

from .case import WithNode
from .processes import LIMIT

HALF = 1_000
NUMBERS = range(1, 2 * HALF + 1)


def lines(numbers):
    return b"".join(b"%d\n" % number for number in numbers)


class Publisher:
    """Publishes numbers with `stored`, over one link after the other."""

    def __init__(self, link):
        self.client = Client(link, self.handle)
        self.session = self.client.session
        self.flow = None
        self.pushed = 0
        self.settled = 0
        self.failed = []
        self.restarts = []
        self.changed = asyncio.Event()

    def handle(self, event):
        if isinstance(event, Connected):
            self.flow = self.session.open_flow(router.PUBLISHED)
            self.push(HALF)
        elif isinstance(event, Acked):
            self.settled = event.settled
        elif isinstance(event, MessageFailed):
            self.failed.append(event)
        elif isinstance(event, Restarted):
            self.restarts.append(event)
        self.changed.set()

    def push(self, count):
        config = self.session.config
        head = Head(config.id, config.epoch, "stored.a", STORED)
        for _ in range(count):
            self.pushed += 1
            self.session.push(self.flow, Record(head, self.pushed, b"%d" % self.pushed))

    async def until(self, condition):
        async def wait():
            while not condition():
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), LIMIT)


class Durable(WithNode):
    OF_NODE = 'data = "{data}"\n'
    TABLES = "[spool]\n"

    async def publish_while_the_node_dies(self):
        async with dialed(self.address, self.authority / "python") as link:
            publisher = Publisher(link)
            await publisher.until(lambda: publisher.settled >= HALF // 2)
            await self.node.killed()
            # The other half has not been written: the node dies in the middle.
            publisher.push(HALF)
            link.close()
            await publisher.client.lost
        await self.start_node()
        async with dialed(self.address, self.authority / "python") as link:
            publisher.client.attach(link)
            await publisher.until(publisher.session.is_taken_over)
            await publisher.client.goodbye()
        self.assertEqual([event.lost for event in publisher.restarts], [0])
        self.assertEqual(publisher.failed, [])

    async def test_what_is_stored_arrives_though_the_node_dies(self):
        subscriber = await self.rust("sub", "--subject", "stored.>", "--durable", "d")
        await subscriber.wait_for("ready")
        await self.publish_while_the_node_dies()
        await subscriber.has_printed(lambda out: len(set(out.split())) == 2 * HALF)
        self.assertEqual(await subscriber.stopped(), 0, subscriber.said())
        # Some may come twice, since the node died before it knew that they were processed; at first each comes in its turn.
        self.assertEqual(list(dict.fromkeys(bytes(subscriber.out).split())), lines(NUMBERS).split())
        await self.node_has_lost_nothing()

    async def test_what_is_sent_again_is_stored_once(self):
        subscriber = await self.rust("sub", "--subject", "stored.>", "--durable", "d")
        await subscriber.wait_for("ready")
        self.assertEqual(await subscriber.stopped(), 0, subscriber.said())
        await self.publish_while_the_node_dies()
        # Nothing was handed out before, so what comes twice was stored twice.
        last = await self.python("pub", "--subject", "stored.b", "--ack", "stored", given=b"last\n")
        await self.ends_well(last)
        subscriber = await self.rust("sub", "--subject", "stored.>", "--durable", "d")
        await subscriber.has_printed(lambda out: out.endswith(b"last\n"))
        self.assertEqual(bytes(subscriber.out), lines(NUMBERS) + b"last\n")
        self.assertEqual(await subscriber.stopped(), 0, subscriber.said())
        await self.node_has_lost_nothing()

    async def test_what_was_not_settled_comes_again(self):
        durable = ("sub", "--subject", "again.*", "--durable", "d")
        first = await self.python(*durable, "--count", 50, "--keep")
        await first.wait_for("ready")
        publisher = await self.python("pub", "--subject", "again.a", "--ack", "stored", given=lines(range(100)))
        await self.ends_well(publisher)
        self.assertIn("published 100, failed 0", publisher.said())
        await self.ends_well(first)
        self.assertIn("received 50, repeats 0", first.said())
        self.assertEqual(bytes(first.out), lines(range(50)))
        second = await self.python(*durable, "--count", 100)
        await self.ends_well(second)
        self.assertEqual(bytes(second.out), lines(range(100)))
        repeats = int(second.said().split("repeats ")[1].split()[0])
        self.assertGreaterEqual(repeats, 50)
        # It settled them, so now there is only what is new.
        third = await self.python(*durable, "--count", 1)
        await third.wait_for("ready")
        await self.ends_well(await self.rust("pub", "--subject", "again.a", "--ack", "stored", given=b"new\n"))
        await self.ends_well(third)
        self.assertEqual(bytes(third.out), b"new\n")
        for deleted in (1, 0):
            process = await self.python(*durable, "--delete")
            self.assertEqual(await process.ended(), 1 - deleted)
            self.assertIn(f"deleted {deleted}", process.said())
        await self.node_has_lost_nothing()

    async def test_a_newer_subscriber_takes_over(self):
        durable = ("sub", "--subject", "over", "--durable", "d")
        first = await self.python(*durable)
        await first.wait_for("ready")
        second = await self.python(*durable)
        await second.wait_for("ready")
        self.assertEqual(await first.ended(), 1)
        self.assertIn("refused, taken_over", first.said())
        for flags in (("--durable", "d", "--subject", "other"), ("--durable", "e", "--group", "g", "--subject", "over")):
            refused = await self.python("sub", *flags)
            self.assertEqual(await refused.ended(), 1)
            self.assertIn("refused, durable", refused.said())


class WithoutSpool(WithNode):
    async def test_a_node_without_a_spool_says_so(self):
        refused = await self.python("sub", "--subject", "a", "--durable", "d")
        self.assertEqual(await refused.ended(), 1)
        self.assertIn("refused, no_spool", refused.said())
        await self.node_has_lost_nothing()
