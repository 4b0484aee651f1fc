"""Processes that a test starts and watches. Nothing waits for time to pass: only for what a process says, with a limit."""

import asyncio
import os
import signal
import sys

# A condition that takes longer than this does not come true.
LIMIT = 60

BINARY = os.environ.get("MCPBUS_BINARY")


class Process:
    """A process whose output is read all the time, so that it never waits for the test."""

    def __init__(self, child):
        self.child = child
        self.out = bytearray()
        self.errors = bytearray()
        self.changed = asyncio.Event()
        self.readers = [
            asyncio.create_task(self._read(child.stdout, self.out)),
            asyncio.create_task(self._read(child.stderr, self.errors)),
        ]

    @classmethod
    async def start(cls, *command, state, given=None):
        environment = {**os.environ, "MCPBUS_STATE": str(state), "LOG_LEVEL": "warn"}
        child = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        process = cls(child)
        if given is not None:
            process.writer = asyncio.create_task(process._give(given))
        return process

    async def _give(self, given):
        # A process that ends before it has read everything is the test's to judge by its exit code.
        try:
            self.child.stdin.write(given)
            await self.child.stdin.drain()
            self.child.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            pass

    async def _read(self, stream, into):
        while data := await stream.read(1 << 16):
            into += data
            self.changed.set()
        self.changed.set()

    def said(self):
        return self.errors.decode(errors="replace")

    async def wait_for(self, words):
        """The first whole line on standard error that holds these words."""
        return await asyncio.wait_for(self._line_with(words), LIMIT)

    async def _line_with(self, words):
        while True:
            self.changed.clear()
            for line in self.said().splitlines(keepends=True):
                if words in line and line.endswith("\n"):
                    return line.strip()
            if all(reader.done() for reader in self.readers):
                raise AssertionError(f"{words!r} did not come; it said: {self.said()}")
            await self.changed.wait()

    async def has_printed(self, condition):
        """Until its standard output is as the condition wants."""
        await asyncio.wait_for(self._printed(condition), LIMIT)

    async def _printed(self, condition):
        while True:
            self.changed.clear()
            if condition(bytes(self.out)):
                return
            if all(reader.done() for reader in self.readers):
                raise AssertionError(f"it ended after {len(self.out)} bytes, and said: {self.said()}")
            await self.changed.wait()

    async def killed(self):
        """It dies without a chance to do anything."""
        self.child.send_signal(signal.SIGKILL)
        await self.ended()

    async def ended(self):
        """Its exit code, once it has ended and everything is read."""
        return await asyncio.wait_for(self._all_read(), LIMIT)

    async def _all_read(self):
        await asyncio.gather(*self.readers)
        return await self.child.wait()

    async def stopped(self):
        self.child.send_signal(signal.SIGINT)
        return await self.ended()

    async def close(self):
        if self.child.returncode is None:
            self.child.kill()
        await asyncio.gather(*self.readers, self.child.wait())


def mcpbus(*arguments, **more):
    return Process.start(BINARY, *arguments, **more)


def python(*arguments, **more):
    return Process.start(sys.executable, "-m", "mcpbus_wire", *arguments, **more)
