//! What stands in the body of a message, so that its receiver can tell which one it is and when it was due.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes that say which message it is. A smaller body says nothing and is only counted.
pub const HEADER: usize = 24;
/// Bytes of memory that bodies are cut from.
const BLOCK: usize = 256 << 10;
/// Every body begins with it.
const MARK: u16 = 0xb5c1;

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The link that published it.
    pub link: u16,
    /// The stream of that link.
    pub stream: u32,
    /// Its number in that stream, from 0.
    pub number: u64,
    /// When it was due, on the clock of [`now`](crate::bench::clock::now); 0 where no latency is measured.
    pub due: u64,
}

impl Header {
    /// Reads the header of a body of the expected size; none if it is not one of this run's.
    pub fn read(body: &[u8], size: usize) -> Option<Self> {
        let (header, _) = body.split_first_chunk::<HEADER>()?;
        let field = |from: usize, to: usize| {
            let mut bytes = [0; 8];
            bytes[..to - from].copy_from_slice(&header[from..to]);
            u64::from_le_bytes(bytes)
        };
        let whole = body.len() == size && field(0, 2) == u64::from(MARK);
        whole.then(|| Self {
            link: u16::from_le_bytes([header[2], header[3]]),
            stream: u32::from_le_bytes([header[4], header[5], header[6], header[7]]),
            number: field(8, 16),
            due: field(16, 24),
        })
    }
}

/// Makes bodies. They are cut from larger blocks, so that the publisher does not measure its allocator.
#[derive(Debug)]
pub struct Bodies {
    size: usize,
    block: BytesMut,
}

impl Bodies {
    /// Of this size.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            block: BytesMut::new(),
        }
    }

    /// The next one.
    pub fn next(&mut self, header: Header) -> Bytes {
        if self.block.capacity() < self.size {
            self.block.reserve(BLOCK.max(self.size));
        }
        if self.size >= HEADER {
            self.block.put_u16_le(MARK);
            self.block.put_u16_le(header.link);
            self.block.put_u32_le(header.stream);
            self.block.put_u64_le(header.number);
            self.block.put_u64_le(header.due);
            self.block.put_bytes(0x2e, self.size - HEADER);
        } else {
            self.block.put_bytes(0x2e, self.size);
        }
        self.block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Header = Header {
        link: 3,
        stream: 70_000,
        number: 1 << 40,
        due: 1 << 50,
    };

    #[test]
    fn a_body_says_which_message_it_is() {
        for size in [HEADER, 64, 1 << 20] {
            let mut bodies = Bodies::new(size);
            for number in 0..5 {
                let header = Header { number, ..SOME };
                let body = bodies.next(header);
                assert_eq!(Header::read(&body, size), Some(header));
                assert_eq!(Header::read(&body, size + 1), None, "another size");
            }
        }
    }

    #[test]
    fn others_are_told_apart() {
        for size in [0, 1, HEADER - 1] {
            let body = Bodies::new(size).next(SOME);
            assert_eq!((body.len(), Header::read(&body, size)), (size, None));
        }
        assert_eq!(Header::read(&[0; 64], 64), None);
    }
}
