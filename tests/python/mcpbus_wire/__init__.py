"""A second implementation of the wire format, written from docs/src/wire.md: it shows whether that page is right and complete.

- fields: numbers and blobs, read with limits
- frames: the frames of the control lane, and how a lane is cut into frames
- batch: batch frames with their tables of heads, and large records
- router: what the router puts into definitions, signals, extensions and answers
- flows, events: what a session has, and what it tells its owner
- session: the rules of a session, from the dialer's side, without I/O
- client: a session over QUIC
- __main__: the command line
"""
