//! What every policy promises, in words and as a test that any implementation can run.

use mcpbus_actors::Key;
use mcpbus_transport::wire::Labels;

/// What a policy may know of a message: its header, never its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Meta<'a> {
    /// The key whose messages belong together; without one all such messages belong together.
    pub key: Option<Key>,
    /// The message's number within its producer's flow.
    pub sequence: u64,
    /// Size of the body in bytes.
    pub bytes: usize,
    /// What its publisher says of it; most messages have none.
    pub labels: Option<&'a Labels>,
}

impl<'a> Meta<'a> {
    /// A message with or without a key, without labels.
    #[must_use]
    pub fn new(key: Option<Key>, sequence: u64, bytes: usize) -> Self {
        Self {
            key,
            sequence,
            bytes,
            labels: None,
        }
    }

    /// The same with labels.
    #[must_use]
    pub fn labelled(mut self, labels: &'a Labels) -> Self {
        self.labels = Some(labels);
        self
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&'a str> {
        self.labels?.get(name)
    }

    /// The number that stands for the key in hashes: 0 without a key, because no key is one key.
    #[must_use]
    pub fn key_number(&self) -> u64 {
        self.key.map_or(0, |key| key.0)
    }
}

/// One of the places a message can go to, as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Stable on every node and across restarts: [`destination_id`](super::destination_id) of the name.
    pub id: u64,
    /// Its share among the weights of all destinations; 0 drains it: nothing new goes there.
    pub weight: u32,
    /// Whether it could take a message now: it has a member.
    pub ready: bool,
    /// How many consumers share the work there.
    pub members: u32,
    /// Which level of a failover it belongs to: 0 is used first.
    pub priority: u8,
    /// The share of messages, in millionths, that it gets a copy of; 0: it is no mirror. A mirror has the weight 0.
    pub mirror: u32,
    /// Whether it can be reached at present, as far as is known. Kept up for policies that
    /// [read the load](Policy::reads_load), otherwise true.
    pub healthy: bool,
    /// Messages that were handed to it and have not ended. Kept up for policies that read the load, otherwise 0.
    pub in_flight: u32,
    /// How long messages took there lately, in nanoseconds; 0 while that is not known. Kept up for policies that read the load.
    pub latency: u64,
}

impl Destination {
    /// A destination that is ready and has one member, and no load.
    #[must_use]
    pub fn new(id: u64, weight: u32) -> Self {
        Self {
            id,
            weight,
            ready: true,
            members: 1,
            priority: 0,
            mirror: 0,
            healthy: true,
            in_flight: 0,
            latency: 0,
        }
    }
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// To the destination at this index. If that one is not ready, the message waits for it.
    One(usize),
    /// To every destination whose weight is not 0; the message waits for those that are not ready.
    All,
    /// To the destination at the first index as with `One`, and a copy to the mirror at the second. The copy goes with
    /// it or not at all: nothing waits for it, and what becomes of it changes nothing for the message.
    Copied {
        /// Where the message goes.
        to: usize,
        /// Where the copy goes.
        copy: usize,
    },
    /// Nowhere at present: ask again when a destination has become ready or the destinations have changed.
    None,
}

impl Choice {
    /// The same without a copy.
    #[must_use]
    pub fn without_copy(self) -> Self {
        match self {
            Self::Copied { to, .. } => Self::One(to),
            choice => choice,
        }
    }
}

/// Whose state the choices of a policy depend on, where a node runs several shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// None: every shard and every node chooses alike.
    Stateless,
    /// Each shard keeps its own, and the promise holds per shard.
    Shard,
}

/// Chooses among the destinations of one route.
///
/// # Laws
///
/// 1. *Headers only, no clock.* The choice depends on the arguments and on earlier calls, on nothing else.
/// 2. *Weight 0 is drained.* It is never chosen by `One` or as `to` of `Copied`. When all weights are 0 or there are no destinations
///    the choice is `None`.
/// 3. *Once per message.* The caller asks once for each message and keeps to the answer: `One`, `All` and `Copied`
///    are final and counted by the policy. `None` is not counted; the caller may ask again for the same message.
/// 4. *Order where it is promised.* If [`keeps_order`](Self::keeps_order) says so, messages of one key go to one
///    destination as long as ids and weights stay the same, whether it is ready or not. Copies are beside this.
/// 5. *Total.* Any list of destinations gives an answer, never a panic; an index lies within the list.
/// 6. *Copies go to mirrors.* `copy` of `Copied` has a share above 0, and is not `to`.
///
/// [`check_laws`] holds an implementation to laws 2, 4, 5 and 6, and to determinism.
pub trait Policy: Send {
    /// The name under which routes ask for the policy.
    fn name(&self) -> &'static str;

    /// Chooses where the message of `meta` goes.
    fn choose(&mut self, meta: &Meta<'_>, destinations: &[Destination]) -> Choice;

    /// Whether messages of one key reach one destination in the order in which they were sent.
    fn keeps_order(&self) -> bool;

    /// What the choices depend on where a node runs several shards.
    fn scope(&self) -> Scope;

    /// Whether the choice depends on health, on messages in flight, or on latency. What is not read is not kept up.
    fn reads_load(&self) -> bool {
        false
    }
}

/// Holds a policy to the laws of [`Policy`]; `make` gives a fresh one. For tests.
///
/// # Panics
///
/// When a law is broken; the message names it.
pub fn check_laws(make: impl Fn() -> Box<dyn Policy>) {
    let metas =
        |count: u64| (0..count).map(|n| Meta::new((n % 3 != 0).then_some(Key(n % 50)), n, 64));
    let lists: Vec<Vec<Destination>> = vec![
        vec![],
        vec![Destination::new(7, 0)],
        vec![Destination::new(7, 1)],
        vec![Destination::new(7, 80), Destination::new(8, 20)],
        vec![
            Destination::new(7, u32::MAX),
            Destination::new(8, u32::MAX),
            Destination::new(9, 0),
        ],
        vec![
            Destination {
                ready: false,
                ..Destination::new(1, 3)
            },
            Destination::new(2, 1),
            Destination::new(3, 1),
        ],
        (0..40)
            .map(|id| Destination {
                ready: id % 3 == 0,
                ..Destination::new(id, id as u32 % 5)
            })
            .collect(),
        (1..6)
            .map(|id| Destination {
                priority: id as u8 / 2,
                healthy: id % 2 == 0,
                in_flight: u32::MAX / id as u32,
                latency: u64::MAX / id,
                ..Destination::new(id, id as u32)
            })
            .collect(),
        vec![
            Destination::new(1, 3),
            Destination {
                mirror: 500_000,
                ..Destination::new(2, 0)
            },
        ],
    ];
    let mut changing = make();
    let mut fresh: Vec<_> = lists.iter().map(|_| (make(), make())).collect();
    for (list, (first, second)) in lists.iter().zip(&mut fresh) {
        let mut by_key = std::collections::BTreeMap::new();
        for meta in metas(500) {
            for policy in [&mut changing, &mut *first] {
                let choice = policy.choose(&meta, list);
                if let Choice::Copied { to, copy } = choice {
                    let mirror = list.get(copy).is_some_and(|mirror| mirror.mirror > 0);
                    assert!(mirror && to != copy, "law 6: a copy to {copy}");
                }
                match choice {
                    Choice::One(index) | Choice::Copied { to: index, .. } => {
                        assert!(index < list.len(), "law 5: index {index} of {}", list.len());
                        assert!(list[index].weight > 0, "law 2: chose a drained destination");
                    }
                    Choice::All => {
                        assert!(list.iter().any(|d| d.weight > 0), "law 2: all of nothing")
                    }
                    Choice::None => {}
                }
            }
            let again = second.choose(&meta, list).without_copy();
            if first.keeps_order() {
                let earlier = *by_key.entry(meta.key_number()).or_insert(again);
                assert_eq!(again, earlier, "law 4: a key changed its destination");
                // Readiness is no reason to leave.
                let stalled: Vec<_> = list
                    .iter()
                    .map(|d| Destination { ready: false, ..*d })
                    .collect();
                assert_eq!(
                    second.choose(&meta, &stalled).without_copy(),
                    earlier,
                    "law 4: a key left a stalled destination"
                );
            }
        }
        let (mut one, mut other) = (make(), make());
        for meta in metas(500) {
            assert_eq!(
                one.choose(&meta, list),
                other.choose(&meta, list),
                "law 1: equal histories chose differently"
            );
        }
    }
}
