"""Signals of the router, byte by byte."""

import unittest

from mcpbus_wire import router
from mcpbus_wire.fields import Refused

CANCEL = bytes([11, 1, 2, 1]) + bytes(14) + bytes([3]) + bytes(7) + bytes([5, 4]) + bytes(6) + bytes([0xAC, 0x02])


class Signals(unittest.TestCase):
    def test_a_cancel_is_read(self):
        address = router.ReplyAddress(0x0102, 3, 0x0405)
        self.assertEqual(router.read_signal(CANCEL), router.Cancelled([(address, 300)]))

    def test_a_cancel_that_is_cut_short_or_too_long_is_refused(self):
        for payload in (CANCEL[:-1], CANCEL + b"\0", bytes([11, 0x81, 0x08])):
            with self.assertRaises(Refused):
                router.read_signal(payload)


if __name__ == "__main__":
    unittest.main()
