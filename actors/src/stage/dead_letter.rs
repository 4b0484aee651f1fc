//! Messages that could not be handled, kept for a person to look at: a bounded ring in memory.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::{Header, Kind, Message, Rejection};

/// A message that could not be handled.
pub struct DeadLetter {
    /// Its header; `attempt` tells how often it had been tried before.
    pub header: Header,
    /// Why it is here.
    pub rejection: Rejection,
    /// The stage that gave it up.
    pub stage: Box<str>,
    /// What its body is.
    pub kind: Kind,
    /// Its body (downcast it to the message type), or `None` where the handler had taken it.
    pub body: Option<Box<dyn Any + Send>>,
    /// Bytes it counts for in the ring's bound.
    pub weight: usize,
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("stage", &self.stage)
            .field("rejection", &self.rejection)
            .field("kind", &self.kind.name)
            .field("header", &self.header)
            .field(
                "body",
                &if self.body.is_some() {
                    "present"
                } else {
                    "moved"
                },
            )
            .finish_non_exhaustive()
    }
}

/// The bound of a ring of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterLimits {
    /// At most this many.
    pub messages: usize,
    /// At most this many bytes, by weight.
    pub bytes: usize,
}

impl Default for DeadLetterLimits {
    /// 1,000 messages, 16 MiB.
    fn default() -> Self {
        Self {
            messages: 1000,
            bytes: 16 << 20,
        }
    }
}

type Hook = Arc<dyn Fn(&DeadLetter) + Send + Sync>;

struct Ring {
    letters: VecDeque<DeadLetter>,
    bytes: usize,
    added: u64,
    shed: u64,
}

struct Shared {
    ring: Mutex<Ring>,
    limits: DeadLetterLimits,
    hook: Option<Hook>,
}

/// The dead letters of a topology. Clones share one ring. When it is full the oldest is dropped and counted
/// `shed(dead_letter_full)`.
#[derive(Clone)]
pub struct DeadLetters {
    shared: Arc<Shared>,
}

impl DeadLetters {
    /// An empty ring. `hook` sees each letter before it is kept, on the thread of the stage: it must not block.
    #[must_use]
    pub fn new(limits: DeadLetterLimits, hook: Option<Hook>) -> Self {
        let ring = Ring {
            letters: VecDeque::new(),
            bytes: 0,
            added: 0,
            shed: 0,
        };
        Self {
            shared: Arc::new(Shared {
                ring: Mutex::new(ring),
                limits,
                hook,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.shared
            .ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add<M: Message>(
        &self,
        stage: &str,
        rejection: Rejection,
        header: Header,
        body: Option<M>,
    ) {
        let weight = header.weight() + body.as_ref().map_or(0, Message::weight);
        let letter = DeadLetter {
            header,
            rejection,
            stage: stage.into(),
            kind: M::KIND,
            body: body.map(|body| Box::new(body) as Box<dyn Any + Send>),
            weight,
        };
        if let Some(hook) = &self.shared.hook {
            hook(&letter);
        }
        let mut dropped = Vec::new();
        {
            let mut ring = self.lock();
            ring.added += 1;
            ring.bytes += letter.weight;
            ring.letters.push_back(letter);
            while ring.letters.len() > self.shared.limits.messages
                || ring.bytes > self.shared.limits.bytes
            {
                let Some(oldest) = ring.letters.pop_front() else {
                    break;
                };
                ring.bytes -= oldest.weight;
                ring.shed += 1;
                dropped.push(oldest);
            }
        }
    }

    /// How many are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().letters.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were ever added, and how many of them the ring dropped because it was full.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let ring = self.lock();
        (ring.added, ring.shed)
    }

    /// Looks at each, oldest first. Looking changes nothing.
    pub fn for_each(&self, mut look: impl FnMut(&DeadLetter)) {
        self.lock().letters.iter().for_each(&mut look);
    }

    /// Takes all of them out, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<DeadLetter> {
        let mut ring = self.lock();
        ring.bytes = 0;
        ring.letters.drain(..).collect()
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Reason;

    #[test]
    fn the_oldest_goes_when_the_ring_is_full_and_is_counted() {
        let letters = DeadLetters::new(
            DeadLetterLimits {
                messages: 2,
                bytes: 1 << 20,
            },
            None,
        );
        for number in 0..5u64 {
            letters.add("s", Reason::Decode.into(), Header::new(), Some(number));
        }
        assert_eq!((letters.len(), letters.totals()), (2, (5, 3)));
        let kept: Vec<u64> = letters
            .take()
            .into_iter()
            .filter_map(|letter| letter.body?.downcast::<u64>().ok().map(|body| *body))
            .collect();
        assert_eq!(kept, [3, 4]);
    }

    #[test]
    fn bytes_bound_the_ring_too() {
        let letters = DeadLetters::new(
            DeadLetterLimits {
                messages: 100,
                bytes: 1000,
            },
            None,
        );
        for _ in 0..10 {
            letters.add(
                "s",
                Reason::Panic.into(),
                Header::new(),
                Some(vec![0u8; 400]),
            );
        }
        assert_eq!(letters.len(), 2);
    }
}
