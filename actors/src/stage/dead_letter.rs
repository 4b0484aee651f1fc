//! Messages that could not be handled, kept for a person to look at: a bounded ring in memory.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::{Batch, Envelope, Header, Kind, Message, Rejection};

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

/// What the ring keeps.
enum Kept {
    One(DeadLetter),
    /// Messages that were given up together. Letters are made of them when somebody looks.
    Pile {
        messages: Box<dyn Pile>,
        stage: Box<str>,
        rejection: Rejection,
    },
}

impl Kept {
    /// How many letters, and their bytes.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::One(letter) => (1, letter.weight),
            Self::Pile { messages, .. } => messages.size(),
        }
    }

    /// The memory of a pile of this type.
    fn emptied<M: Message>(self) -> Option<Batch<M>> {
        let Self::Pile { messages, .. } = self else {
            return None;
        };
        let mut batch = messages.into_any().downcast::<Batch<M>>().ok()?;
        batch.clear();
        Some(*batch)
    }
}

/// A batch of any type.
trait Pile: Send {
    fn size(&self) -> (usize, usize);
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    /// Takes the first message as a letter.
    fn letter(&mut self, stage: &str, rejection: &Rejection) -> Option<DeadLetter>;
}

impl<M: Message> Pile for Batch<M> {
    fn size(&self) -> (usize, usize) {
        (self.len(), self.bytes())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn letter(&mut self, stage: &str, rejection: &Rejection) -> Option<DeadLetter> {
        let Envelope { header, body } = self.pop()?;
        Some(letter(stage, rejection.clone(), header, Some(body)))
    }
}

fn letter<M: Message>(
    stage: &str,
    rejection: Rejection,
    header: Header,
    body: Option<M>,
) -> DeadLetter {
    DeadLetter {
        weight: header.weight() + body.as_ref().map_or(0, Message::weight),
        header,
        rejection,
        stage: stage.into(),
        kind: M::KIND,
        body: body.map(|body| Box::new(body) as Box<dyn Any + Send>),
    }
}

struct Ring {
    kept: VecDeque<Kept>,
    letters: usize,
    bytes: usize,
    added: u64,
    shed: u64,
}

impl Ring {
    /// Keeps something more; gives what has to go for it, which is dropped once the lock is released.
    fn add(&mut self, kept: Kept, limits: DeadLetterLimits) -> Vec<Kept> {
        let (letters, bytes) = kept.size();
        self.added += letters as u64;
        self.letters += letters;
        self.bytes += bytes;
        self.kept.push_back(kept);
        let mut dropped = Vec::new();
        while self.letters > limits.messages || self.bytes > limits.bytes {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            let (letters, bytes) = oldest.size();
            self.letters -= letters;
            self.bytes -= bytes;
            self.shed += letters as u64;
            dropped.push(oldest);
        }
        dropped
    }

    /// Makes letters of all piles.
    fn spread(&mut self) {
        if !self
            .kept
            .iter()
            .any(|kept| matches!(kept, Kept::Pile { .. }))
        {
            return;
        }
        for kept in std::mem::take(&mut self.kept) {
            match kept {
                Kept::Pile {
                    mut messages,
                    stage,
                    rejection,
                } => {
                    while let Some(letter) = messages.letter(&stage, &rejection) {
                        self.kept.push_back(Kept::One(letter));
                    }
                }
                one => self.kept.push_back(one),
            }
        }
    }
}

struct Shared {
    ring: Mutex<Ring>,
    limits: DeadLetterLimits,
    hook: Option<Hook>,
}

/// The dead letters of a topology. Clones share one ring. When it is full the oldest is dropped and counted
/// `shed(dead_letter_full)`; messages that an edge refused together go together.
#[derive(Clone)]
pub struct DeadLetters {
    shared: Arc<Shared>,
}

impl DeadLetters {
    /// An empty ring. `hook` sees each letter before it is kept, on the thread of the stage: it must not block.
    #[must_use]
    pub fn new(limits: DeadLetterLimits, hook: Option<Hook>) -> Self {
        let ring = Ring {
            kept: VecDeque::new(),
            letters: 0,
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
        let letter = letter(stage, rejection, header, body);
        if let Some(hook) = &self.shared.hook {
            hook(&letter);
        }
        self.keep(Kept::One(letter));
    }

    /// Gives what goes for it: what the user's types do when they are dropped is not done under the lock.
    fn keep(&self, kept: Kept) -> Vec<Kept> {
        self.lock().add(kept, self.shared.limits)
    }

    /// Adds a batch of messages that were given up for one reason, and leaves it empty.
    pub(crate) fn add_all<M: Message>(
        &self,
        stage: &str,
        rejection: &Rejection,
        messages: &mut Batch<M>,
    ) {
        let limits = self.shared.limits;
        let fits = messages.len() <= limits.messages && messages.bytes() <= limits.bytes;
        // Places without a message are in no bound, so a batch that is mostly empty is not kept as it is.
        let is_full = 2 * messages.len() >= messages.room();
        if self.shared.hook.is_some() || !fits || !is_full {
            for Envelope { header, body } in messages.drain() {
                self.add(stage, rejection.clone(), header, Some(body));
            }
        } else if !messages.is_empty() {
            let count = messages.len();
            let dropped = self.keep(Kept::Pile {
                messages: Box::new(std::mem::take(messages)),
                stage: stage.into(),
                rejection: rejection.clone(),
            });
            // As many will be refused the next time, so they get the memory of those that went.
            let mut emptied = dropped.into_iter().filter_map(Kept::emptied::<M>);
            *messages = emptied
                .find(|emptied| emptied.room() >= count)
                .unwrap_or_else(|| Batch::with_capacity(count));
        }
    }

    /// How many are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().letters
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
        let mut ring = self.lock();
        ring.spread();
        for kept in &ring.kept {
            if let Kept::One(letter) = kept {
                look(letter);
            }
        }
    }

    /// Takes all of them out, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<DeadLetter> {
        let mut ring = self.lock();
        ring.spread();
        (ring.letters, ring.bytes) = (0, 0);
        let kept = ring.kept.drain(..);
        kept.filter_map(|kept| match kept {
            Kept::One(letter) => Some(letter),
            Kept::Pile { .. } => None,
        })
        .collect()
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
    fn what_is_given_up_together_reads_as_if_one_by_one() {
        let limits = DeadLetterLimits {
            messages: 7,
            bytes: 1 << 20,
        };
        let refused = Rejection::new(Reason::Quota, "full");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hooked = Arc::clone(&seen);
        let hook: Hook = Arc::new(move |letter| {
            let mut seen = hooked.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(letter.header.sequence());
        });
        let alone = DeadLetters::new(limits, Some(hook));
        let together = DeadLetters::new(limits, None);
        let mut number = 0;
        for count in [3, 1, 2, 1, 9, 4] {
            for letters in [&alone, &together] {
                let mut batch = Batch::new();
                for sequence in number..number + count {
                    let mut header = Header::new();
                    header.set_identity(1, 0, sequence);
                    batch.push(Envelope {
                        header,
                        body: sequence,
                    });
                }
                letters.add_all("s", &refused, &mut batch);
                assert!(batch.is_empty());
            }
            number += count;
            assert_eq!(alone.totals().0, together.totals().0);
            let look = |letters: &DeadLetters| {
                let mut seen = Vec::new();
                letters.for_each(|letter| {
                    let body = letter.body.as_ref().and_then(|body| body.downcast_ref());
                    let text = letter.rejection.to_string();
                    seen.push((letter.header.sequence(), body.copied(), letter.weight, text));
                });
                seen
            };
            let (all, some) = (look(&alone), look(&together));
            assert!(all.ends_with(&some), "{some:?} are the last of {all:?}");
            assert_eq!((some.len(), some.is_empty()), (together.len(), false));
            assert!(
                some.iter()
                    .all(|(sequence, body, ..)| *body == Some(*sequence))
            );
        }
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(seen.iter().copied().eq(0..number));
        let (added, shed) = together.totals();
        assert_eq!(added - shed, together.take().len() as u64);
        assert!(together.is_empty());
    }

    #[test]
    fn places_without_a_message_are_not_kept() {
        let letters = DeadLetters::new(DeadLetterLimits::default(), None);
        let refused = Rejection::from(Reason::Quota);
        let mut batch = Batch::with_capacity(512);
        for number in 0..20u64 {
            batch.push(Envelope::new(number));
            letters.add_all("s", &refused, &mut batch);
            assert!(
                batch.is_empty() && batch.room() >= 512,
                "its memory stays where it is used"
            );
        }
        assert_eq!(letters.len(), 20);
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
