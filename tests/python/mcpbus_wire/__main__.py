"""python -m mcpbus_wire pub|sub|reply: what `mcpbus` does under these names, with few of its flags.

Results stand on standard output, everything else on standard error.
"""

import argparse
import asyncio
import sys

from . import frames, router
from .batch import LEVELS, NONE, STORED, Head, Record
from .client import Client, LinkLost, dialed
from .events import Acked, Connected, Ended, FlowOpened, MessageFailed, Records, Restarted, Resumed, SignalArrived

SUBSCRIPTION = 1
QUESTION = 1

# A node that was reached once may come back.
DIAL_AGAIN_LIMIT = 30.0
DIAL_AGAIN_EVERY = 0.2


def say(text):
    print(text, file=sys.stderr, flush=True)


class Peer:
    """What the commands share: a client whose events go to methods, and a result."""

    def __init__(self, link, arguments):
        self.arguments = arguments
        self.done = asyncio.get_running_loop().create_future()
        self.cut_at = arguments.cut
        self.client = Client(link, self.handle)
        self.session = self.client.session

    def finish(self, code):
        if not self.done.done():
            self.done.set_result(code)

    def handle(self, event):
        if isinstance(event, Connected):
            self.connected()
        elif isinstance(event, SignalArrived):
            self.signalled(router.read_signal(event.body))
        elif isinstance(event, Resumed):
            say("resumed")
        elif isinstance(event, Restarted):
            say(f"started again, lost {event.lost}")
            self.restarted()
        elif isinstance(event, Ended):
            say(f"goodbye {frames.GOODBYES[event.code]}: {event.reason}")
            self.finish(1)
        else:
            self.happened(event)

    def restarted(self):
        """The node has forgotten this session."""
        say("the node has forgotten this session")
        self.finish(1)

    def progress(self, messages):
        """Cuts the link when so many messages as the flag says have passed since the last cut."""
        if self.cut_at and messages >= self.cut_at and not self.done.done():
            self.cut_at = messages + self.arguments.cut
            self.client.link.close()

    async def result(self):
        """Its exit code, or none where the link was lost before there is one."""
        await asyncio.wait((self.done, self.client.lost), return_when=asyncio.FIRST_COMPLETED)
        if not self.done.done():
            return None
        await self.client.goodbye()
        return self.done.result()


class Publisher(Peer):
    """Each line of standard input is a message; the subjects take turns, and each has a flow of its own."""

    def __init__(self, link, arguments):
        super().__init__(link, arguments)
        self.lines = [line.rstrip(b"\n") for line in sys.stdin.buffer]
        self.failures = {}
        self.received = {}

    def connected(self):
        self.session.signal(router.Question(QUESTION, self.arguments.subject[0]).payload())

    def signalled(self, signal):
        if isinstance(signal, router.Subscribers):
            say(f"{signal.subscribers} subscribers")
            self.publish()

    def publish(self):
        arguments, config = self.arguments, self.session.config
        level = LEVELS.index(arguments.ack)
        self.open = {}
        flows = [self.session.open_flow(router.PUBLISHED) for _ in arguments.subject]
        heads = [Head(config.id, config.epoch, subject, level) for subject in arguments.subject]
        for number, line in enumerate(self.lines):
            turn = number % len(flows)
            timed = arguments.deadline is not None and number % 2
            record = Record(
                heads[turn],
                number + 1,
                line,
                key=number % arguments.keys if arguments.keys else None,
                deadline=self.client.now() + arguments.deadline if timed else None,
            )
            self.open[flows[turn]] = self.session.push(flows[turn], record)
        for flow in flows:
            self.session.close_flow(flow)
        if not self.open:
            self.finish(0)

    def restarted(self):
        # What is left has other sequences now.
        left = {flow: self.session.sending[flow].pushed for flow in self.open if flow in self.session.sending}
        self.open = {flow: last for flow, last in left.items() if last}
        self.received.clear()
        self.tell_when_done()

    def happened(self, event):
        if isinstance(event, MessageFailed):
            name = frames.FAILURES[event.failure]
            self.failures[name] = self.failures.get(name, 0) + 1
        elif isinstance(event, Acked):
            self.received[event.flow] = event.received
            self.progress(sum(self.received.values()))
            waits = LEVELS.index(self.arguments.ack) >= STORED
            reached = event.settled if waits else event.received
            if reached >= self.open.get(event.flow, reached + 1):
                del self.open[event.flow]
            self.tell_when_done()

    def tell_when_done(self):
        if not self.open:
            failed = " ".join(f"{name} {count}" for name, count in sorted(self.failures.items()))
            say(f"published {len(self.lines)}, failed {sum(self.failures.values())} {failed}".rstrip())
            self.finish(1 if self.failures else 0)


class Subscriber(Peer):
    """Prints the body of each message, and settles it when it is printed."""

    def __init__(self, link, arguments):
        super().__init__(link, arguments)
        self.count = 0
        self.repeats = 0

    def connected(self):
        arguments = self.arguments
        if arguments.delete:
            self.session.signal(router.Delete(QUESTION, arguments.durable).payload())
        else:
            subscribe = router.Subscribe(SUBSCRIPTION, arguments.subject, arguments.group, arguments.durable)
            self.session.signal(subscribe.payload())

    def restarted(self):
        self.connected()

    def signalled(self, signal):
        if isinstance(signal, router.Ready):
            say("ready")
        elif isinstance(signal, router.SubscribeRefused):
            say(f"refused, {signal.REASONS[signal.code]}: {signal.reason}")
            self.finish(1)
        elif isinstance(signal, router.Subscribers):
            say(f"deleted {signal.subscribers}")
            self.finish(0 if signal.subscribers else 1)

    def happened(self, event):
        if isinstance(event, FlowOpened):
            router.read_definition(event.definition)
        elif isinstance(event, Records):
            for sequence, record in enumerate(event.records, event.first):
                self.take(event.flow, sequence, record)
            self.progress(self.count)

    def take(self, flow, sequence, record):
        if self.arguments.count and self.count == self.arguments.count:
            return
        if record.deadline is not None and record.deadline <= self.client.now():
            self.session.settle(flow, sequence)
            return
        self.message(record)
        if not self.arguments.keep:
            self.session.settle(flow, sequence)
        self.count += 1
        self.repeats += router.is_repeat(record.extension)
        if self.count == self.arguments.count:
            sys.stdout.flush()
            say(f"received {self.count}, repeats {self.repeats}")
            self.finish(0)

    def message(self, record):
        sys.stdout.buffer.write(record.body + b"\n")


class Responder(Subscriber):
    """Answers each request with its body between angle brackets."""

    def __init__(self, link, arguments):
        super().__init__(link, arguments)
        self.answers = None
        self.answered = 0

    def message(self, record):
        address = router.reply_address(record.extension)
        if address is None:
            say("a message without reply address")
            return
        if self.answers is None:
            self.answers = self.session.open_flow(router.ANSWERS)
        self.answered += 1
        answer = Record(
            Head(producer=0, epoch=0, subject="", level=NONE),
            self.answered,
            bytes([router.OK]) + b"<" + record.body + b">",
            extension=router.write_extension([(address.tag, address.payload())]),
        )
        self.session.push(self.answers, answer)


COMMANDS = {"pub": Publisher, "sub": Subscriber, "reply": Responder}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m mcpbus_wire", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        command = commands.add_parser(name)
        command.add_argument("--node", required=True, help="HOST:PORT")
        command.add_argument("--identity", required=True, help="a folder as `mcpbus cert issue` writes it")
        command.add_argument("--cut", type=int, default=0, help="cut the link each time so many messages have passed")
        if name == "pub":
            command.add_argument("--subject", required=True, action="append", help="several take turns, line by line")
            command.add_argument("--keys", type=int, default=0, help="line n has the key n modulo this")
            command.add_argument("--ack", choices=LEVELS, default="accepted")
            command.add_argument("--deadline", type=float, help="seconds; every other message has it")
        else:
            command.add_argument("--subject", required=True)
            command.add_argument("--group")
            command.add_argument("--durable", help="the name of a durable subscription")
            command.add_argument("--delete", action="store_true", help="end the durable subscription for good")
            command.add_argument("--keep", action="store_true", help="settle nothing of what comes")
            command.add_argument("--count", type=int, default=0, help="end after so many")
    return parser.parse_args(arguments)


async def main(arguments):
    loop, peer, code = asyncio.get_running_loop(), None, None
    given_up = 0
    while code is None:
        try:
            async with dialed(arguments.node, arguments.identity) as link:
                if peer is None:
                    peer = COMMANDS[arguments.command](link, arguments)
                else:
                    peer.client.attach(link)
                code = await peer.result()
                if code is None:
                    say(f"the link is lost: {link.closed_because}")
                    given_up = loop.time() + DIAL_AGAIN_LIMIT
        except (LinkLost, asyncio.TimeoutError, OSError) as error:
            say(f"no link to {arguments.node}: {error}")
            if loop.time() >= given_up:
                return 69
            await asyncio.sleep(DIAL_AGAIN_EVERY)
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
