//! What every policy promises, in words and as a test that any implementation can run.

use mcpbus_actors::Key;

/// What a policy may know of a message: its header, never its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Meta {
    /// The key whose messages belong together; without one all such messages belong together.
    pub key: Option<Key>,
    /// The message's number within its producer's flow.
    pub sequence: u64,
    /// Size of the body in bytes.
    pub bytes: usize,
}

impl Meta {
    /// A message with or without a key.
    #[must_use]
    pub fn new(key: Option<Key>, sequence: u64, bytes: usize) -> Self {
        Self {
            key,
            sequence,
            bytes,
        }
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
    /// Whether it could take a message now: it has a member, and that member has credit.
    pub ready: bool,
    /// How many consumers share the work there.
    pub members: u32,
}

impl Destination {
    /// A destination that is ready and has one member.
    #[must_use]
    pub fn new(id: u64, weight: u32) -> Self {
        Self {
            id,
            weight,
            ready: true,
            members: 1,
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
    /// Nowhere at present: ask again when a destination has become ready or the destinations have changed.
    None,
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
/// 2. *Weight 0 is drained.* It is never chosen by `One`. When all weights are 0 or there are no destinations
///    the choice is `None`.
/// 3. *Once per message.* The caller asks once for each message and keeps to the answer: `One` and `All` are
///    final and counted by the policy. `None` is not counted; the caller may ask again for the same message.
/// 4. *Order where it is promised.* If [`keeps_order`](Self::keeps_order) says so, messages of one key go to one
///    destination as long as ids and weights stay the same, whether it is ready or not.
/// 5. *Total.* Any list of destinations gives an answer, never a panic; an index lies within the list.
///
/// [`check_laws`] holds an implementation to laws 2, 4 and 5, and to determinism.
pub trait Policy: Send {
    /// The name under which routes ask for the policy.
    fn name(&self) -> &'static str;

    /// Chooses where the message of `meta` goes.
    fn choose(&mut self, meta: &Meta, destinations: &[Destination]) -> Choice;

    /// Whether messages of one key reach one destination in the order in which they were sent.
    fn keeps_order(&self) -> bool;

    /// What the choices depend on where a node runs several shards.
    fn scope(&self) -> Scope;
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
    ];
    let mut changing = make();
    let mut fresh: Vec<_> = lists.iter().map(|_| (make(), make())).collect();
    for (list, (first, second)) in lists.iter().zip(&mut fresh) {
        let mut by_key = std::collections::BTreeMap::new();
        for meta in metas(500) {
            for policy in [&mut changing, &mut *first] {
                match policy.choose(&meta, list) {
                    Choice::One(index) => {
                        assert!(index < list.len(), "law 5: index {index} of {}", list.len());
                        assert!(list[index].weight > 0, "law 2: chose a drained destination");
                    }
                    Choice::All => {
                        assert!(list.iter().any(|d| d.weight > 0), "law 2: all of nothing")
                    }
                    Choice::None => {}
                }
            }
            let again = second.choose(&meta, list);
            if first.keeps_order() {
                let earlier = *by_key.entry(meta.key_number()).or_insert(again);
                assert_eq!(again, earlier, "law 4: a key changed its destination");
                // Readiness is no reason to leave.
                let stalled: Vec<_> = list
                    .iter()
                    .map(|d| Destination { ready: false, ..*d })
                    .collect();
                assert_eq!(
                    second.choose(&meta, &stalled),
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
