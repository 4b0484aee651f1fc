"""Messages from one implementation to the other, over a real node."""

import json

from .case import WithNode

COUNT = 10_000


def numbered(count):
    return b"".join(b"%d\n" % number for number in range(count))


class Messages(WithNode):
    async def test_python_publishes_and_mcpbus_receives_in_order(self):
        subjects, keys = ["py.a", "py.b.c", "py.d"], 7
        subscriber = await self.rust("sub", "--subject", "py.>", "--count", COUNT, "--format", "json")
        await subscriber.wait_for("ready")
        flags = [flag for subject in subjects for flag in ("--subject", subject)]
        publisher = await self.python("pub", *flags, "--keys", keys, "--deadline", "60", given=numbered(COUNT))
        await self.ends_well(publisher)
        self.assertIn(f"published {COUNT}, failed 0", publisher.said())
        await self.ends_well(subscriber)
        arrived = {subject: [] for subject in subjects}
        for line in subscriber.out.splitlines():
            message = json.loads(line)
            number = int(message["body"])
            self.assertEqual(int(message["key"]), number % keys)
            arrived[message["subject"]].append(number)
        for turn, subject in enumerate(subjects):
            self.assertEqual(arrived[subject], list(range(turn, COUNT, len(subjects))))
        await self.node_has_lost_nothing()

    async def test_mcpbus_publishes_and_python_receives_in_order(self):
        subscriber = await self.python("sub", "--subject", "rs.*", "--count", COUNT)
        await subscriber.wait_for("ready")
        flags = ("--subject", "rs.x", "--delimiter", ";", "--key", "{1}", "--ack", "processed")
        publisher = await self.rust("pub", *flags, given=numbered(COUNT))
        # With `processed` it ends well only once everything was settled.
        await self.ends_well(publisher)
        await self.ends_well(subscriber)
        self.assertEqual(bytes(subscriber.out), numbered(COUNT))
        await self.node_has_lost_nothing()

    async def test_python_publishes_with_every_ack_level_and_python_receives(self):
        subscriber = await self.python("sub", "--subject", "levels", "--group", "g", "--count", 300)
        await subscriber.wait_for("ready")
        for level in ("none", "accepted", "processed"):
            publisher = await self.python("pub", "--subject", "levels", "--ack", level, given=numbered(100))
            await self.ends_well(publisher)
        await self.ends_well(subscriber)
        self.assertEqual(bytes(subscriber.out), 3 * numbered(100))
        await self.node_has_lost_nothing()

    async def test_bodies_of_every_size_arrive_whole_in_both_directions(self):
        lines = [size * b"x" for size in (0, 1, 127, 128, 16_383, 70_000, (1 << 20) - 1, 1 << 20, 3)]
        given = b"\n".join(lines) + b"\n"
        commands = {"mcpbus": (self.python, self.rust), "python": (self.rust, self.python)}
        for receiver, (publish, subscribe) in commands.items():
            with self.subTest(f"{receiver} receives"):
                subscriber = await subscribe("sub", "--subject", "large", "--count", len(lines))
                await subscriber.wait_for("ready")
                await self.ends_well(await publish("pub", "--subject", "large", given=given))
                await self.ends_well(subscriber)
                self.assertTrue(bytes(subscriber.out) == given, "the bodies differ")

    async def test_failures_have_their_reasons(self):
        nobody = await self.python("pub", "--subject", "nobody.here", given=numbered(10))
        self.assertEqual(await nobody.ended(), 1)
        self.assertIn("failed 10 no_route 10", nobody.said())
        subscriber = await self.rust("sub", "--subject", "late")
        await subscriber.wait_for("ready")
        late = await self.python("pub", "--subject", "late", "--deadline", "0", given=numbered(10))
        self.assertEqual(await late.ended(), 1)
        self.assertIn("failed 5 expired 5", late.said())
        stored = await self.python("pub", "--subject", "late", "--ack", "stored", given=numbered(10))
        self.assertEqual(await stored.ended(), 1)
        self.assertIn("failed 10 no_spool 10", stored.said())

    async def test_python_answers_requests(self):
        responder = await self.python("reply", "--subject", "ask.*", "--count", 3)
        await responder.wait_for("ready")
        one = await self.rust("request", "--subject", "ask.one", "hello")
        await self.ends_well(one)
        self.assertEqual(bytes(one.out), b"<hello>\n")
        more = await self.rust("request", "--subject", "ask.more", given=b"1\n2\n")
        await self.ends_well(more)
        self.assertEqual(bytes(more.out), b"<1>\n<2>\n")
        await self.ends_well(responder)
        await self.node_has_lost_nothing()

    async def test_links_that_are_cut_lose_and_double_nothing(self):
        subscriber = await self.python("sub", "--subject", "cut", "--count", COUNT, "--cut", 2500)
        await subscriber.wait_for("ready")
        publisher = await self.python("pub", "--subject", "cut", "--ack", "processed", "--cut", 2000, given=numbered(COUNT))
        await self.ends_well(publisher)
        await self.ends_well(subscriber)
        self.assertEqual(bytes(subscriber.out), numbered(COUNT))
        for process in (publisher, subscriber):
            self.assertGreaterEqual(process.said().count("resumed"), 2, process.said())
        await self.node_has_lost_nothing()
