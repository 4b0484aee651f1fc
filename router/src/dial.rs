//! How a link to a peer is made, whatever kind it is, and how often.

use mcpbus_transport::link::Link;
use std::future::Future;
use std::time::Duration;

/// Makes links to one address.
pub(crate) trait Dial: 'static {
    /// The kind of link.
    type Link: Link + 'static;

    /// What the address is called.
    fn address(&self) -> String;

    /// Makes a link.
    fn dial(&self) -> impl Future<Output = Result<Self::Link, DialFailure>>;
}

/// Why there is no link.
#[derive(Clone, Debug)]
pub(crate) struct DialFailure {
    /// For people.
    pub(crate) reason: String,
    /// Whether the same attempt may go well later without anybody changing a configuration.
    pub(crate) temporary: bool,
}

impl DialFailure {
    pub(crate) fn temporary(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            temporary: true,
        }
    }
}

/// Pauses between attempts: doubling, with jitter, so that many peers of a node that came back do not come at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    range: (Duration, Duration),
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(range: (Duration, Duration), seed: u64) -> Self {
        Self {
            range,
            next: range.0,
            random: seed | 1,
        }
    }

    /// An attempt went well.
    pub(crate) fn reset(&mut self) {
        self.next = self.range.0;
    }

    /// The pause before the next attempt: between half and all of a doubling time.
    pub(crate) fn pause(&mut self) -> Duration {
        // xorshift64: any spread will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let whole = self.next;
        self.next = (self.next * 2).min(self.range.1);
        whole / 2 + (whole / 2).mul_f64((self.random >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// QUIC.
#[cfg(feature = "quic")]
pub(crate) mod quic {
    use super::{Dial, DialFailure};
    use mcpbus_transport::link::quic::{QuicEndpoint, QuicLink};
    use std::rc::Rc;

    /// Dials an address, which is looked up anew each time.
    pub(crate) struct QuicDial {
        pub(crate) endpoint: Rc<QuicEndpoint>,
        pub(crate) address: String,
    }

    impl Dial for QuicDial {
        type Link = QuicLink;

        fn address(&self) -> String {
            self.address.clone()
        }

        async fn dial(&self) -> Result<QuicLink, DialFailure> {
            let address = &self.address;
            let mut failure = DialFailure::temporary(format!("{address}: no address found"));
            // Names that cannot be found now may be known later: services come and go.
            let found = tokio::net::lookup_host(address).await.map_err(|error| {
                DialFailure::temporary(format!("{address}: {error}; expected HOST:PORT"))
            })?;
            for (index, address) in found.enumerate() {
                match self.endpoint.dial(address, None).await {
                    Ok(link) => return Ok(link),
                    Err(error) => {
                        failure = DialFailure {
                            reason: error.to_string(),
                            temporary: error.is_temporary() || (index > 0 && failure.temporary),
                        }
                    }
                }
            }
            Err(failure)
        }
    }
}

/// Links inside the process.
pub(crate) mod memory {
    use super::{Dial, DialFailure};
    use mcpbus_transport::link::memory::MemoryLink;

    /// Makes a pair of ends and gives one of them away.
    pub(crate) struct MemoryDial<F> {
        pub(crate) connect: F,
        pub(crate) address: String,
    }

    impl<F: Fn() -> Result<MemoryLink, String> + 'static> Dial for MemoryDial<F> {
        type Link = MemoryLink;

        fn address(&self) -> String {
            self.address.clone()
        }

        async fn dial(&self) -> Result<MemoryLink, DialFailure> {
            (self.connect)().map_err(DialFailure::temporary)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again() {
        let range = (Duration::from_millis(10), Duration::from_millis(100));
        let mut backoff = Backoff::new(range, 7);
        let pauses: Vec<_> = (0..10).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= range.0 / 2 && pauses[0] <= range.0);
        assert!(pauses[9] >= range.1 / 2 && pauses[9] <= range.1);
        backoff.reset();
        assert!(backoff.pause() <= range.0);
    }
}
