"""What the end-to-end tests share: a certificate authority, identities, and a node."""

import pathlib
import subprocess
import tempfile
import unittest

from .processes import BINARY, mcpbus, python


@unittest.skipIf(BINARY is None, "MCPBUS_BINARY does not name a built mcpbus")
class WithNode(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.state = pathlib.Path(folder.name)
        cls.authority = cls.new_authority("authority", "hub", "rust", "python")

    @classmethod
    def new_authority(cls, name, *identities):
        authority = cls.state / name
        for command in [("init", authority), *(("issue", authority, identity) for identity in identities)]:
            subprocess.run([BINARY, "cert", *command], check=True, capture_output=True)
        return authority

    # What else stands in the node's file: in `[node]`, and after its tables.
    OF_NODE = TABLES = ""

    async def asyncSetUp(self):
        # What the node keeps on its disk is this test's own.
        folder = tempfile.TemporaryDirectory(dir=self.state)
        self.addCleanup(folder.cleanup)
        self.data = folder.name
        self.address = "127.0.0.1:0"
        await self.start_node()

    async def start_node(self):
        """Starts the node; one that ran before has its address and its data again."""
        file = self.state / "hub.toml"
        file.write_text(
            f'[node]\nname = "hub"\n{self.OF_NODE.format(data=self.data)}[listen]\nquic = "{self.address}"\n'
            f'[tls]\nidentity = "{self.authority}/hub"\n[limits]\ndrain = "1s"\n{self.TABLES}'
        )
        self.node = await self.started(mcpbus("run", file, state=self.state))
        self.address = (await self.node.wait_for("listens on")).split()[-1]

    async def started(self, starting):
        process = await starting
        self.addAsyncCleanup(process.close)
        return process

    async def rust(self, command, *arguments, given=None):
        """A command of mcpbus, as a client of the node."""
        options = ("--node", self.address, "--identity", self.authority / "rust")
        return await self.started(mcpbus(command, *options, *arguments, state=self.state, given=given))

    async def python(self, command, *arguments, given=None):
        """A command of this implementation, as a client of the node."""
        options = ("--node", self.address, "--identity", self.authority / "python")
        return await self.started(python(command, *options, *arguments, state=self.state, given=given))

    async def ends_well(self, process):
        self.assertEqual(await process.ended(), 0, process.said())

    async def node_has_lost_nothing(self):
        self.assertEqual(await self.node.stopped(), 0, self.node.said())
        self.assertRegex(self.node.said(), r"residual 0\b")
