//! Who asked for which subjects: a persistent trie over the tokens of patterns.
//!
//! Invariants: a clone of the table is a snapshot that no later change touches; a change copies one path of
//! small nodes at most, however wide or deep the table is; a node without values and children does not exist;
//! a lookup allocates nothing.

mod hash_trie;
mod values;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::quality::FixedState;
use smallvec::SmallVec;

use self::hash_trie::HashTrie;
use self::values::Values;
use super::pattern::{Pattern, PatternToken};
use super::subject::{SUBJECT_TOKENS, Subject};

/// A set of (pattern, value) pairs that finds all values whose pattern matches a subject.
///
/// `V` is best a small handle: it is cloned when the list it stands in is copied.
///
/// A cache of answers stays right by two numbers: while [`version`](Self::version) is unchanged, every answer
/// is; once it has changed, the answer for a subject is unchanged while its
/// [`branch_version`](Self::branch_version) is.
#[derive(Debug, Clone)]
pub struct SubjectTable<V> {
    root: Node<V>,
    length: usize,
    version: u64,
    hasher: FixedState,
}

/// A literal token. Short ones, which most are, stand in the map itself: comparing them costs no cache miss.
type Token = SmallVec<[u8; 16]>;

/// What begins with certain tokens. Most nodes of a large table are the end of a pattern with nothing below:
/// reading such a one costs no further cache miss, copying it no reference count.
#[derive(Debug, Clone)]
struct Node<V> {
    /// Values of the pattern that ends here.
    exact: Values<V>,
    /// The table's version when an answer that involves this node last changed.
    version: u64,
    below: Option<Arc<Below<V>>>,
}

/// What lies below a node; held only while there is something.
#[derive(Debug, Clone)]
struct Below<V> {
    /// Values of the pattern that ends with `>` here.
    rest: Values<V>,
    /// What follows a `*`.
    star: Node<V>,
    /// What follows a literal token.
    children: HashTrie<Token, Node<V>>,
}

impl<V: Clone + Eq + Hash> Node<V> {
    fn empty() -> Self {
        Self {
            exact: Values::None,
            version: 0,
            below: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_none()
    }

    fn child(&self, token: &str, hash: u64) -> Option<&Self> {
        self.below
            .as_ref()?
            .children
            .get(hash, |held| **held == *token.as_bytes())
    }

    fn below_mut(&mut self) -> &mut Below<V> {
        let empty = || Below {
            rest: Values::None,
            star: Self::empty(),
            children: HashTrie::new(),
        };
        Arc::make_mut(self.below.get_or_insert_with(|| Arc::new(empty())))
    }
}

impl<V: Clone + Eq + Hash> Below<V> {
    fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.star.is_empty() && self.children.is_empty()
    }
}

impl<V: Clone + Eq + Hash> Default for SubjectTable<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Clone + Eq + Hash> SubjectTable<V> {
    /// An empty table whose hash function has a fixed seed, for tests and simulation.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// An empty table whose hash function has this seed. A node that peers can subscribe to takes a random
    /// one, so that no peer can choose tokens that collide.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self {
            root: Node::empty(),
            length: 0,
            version: 0,
            hasher: FixedState::with_seed(seed),
        }
    }

    /// How many pairs the table holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the table holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Counts the changes since the table was made; snapshots of equal version hold the same.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether exactly this pair is held.
    #[must_use]
    pub fn contains(&self, pattern: &Pattern, value: &V) -> bool {
        let mut node = &self.root;
        for token in pattern.tokens() {
            let next = match token {
                PatternToken::Rest => {
                    let below = node.below.as_ref();
                    return below.is_some_and(|below| below.rest.contains(value, &self.hasher));
                }
                PatternToken::One => node.below.as_ref().map(|below| &below.star),
                PatternToken::Literal(token) => node.child(token, self.hash(token)),
            };
            match next {
                Some(next) => node = next,
                None => return false,
            }
        }
        node.exact.contains(value, &self.hasher)
    }

    /// Adds a pair; `false` when it was there already.
    pub fn insert(&mut self, pattern: &Pattern, value: V) -> bool {
        if self.contains(pattern, &value) {
            return false;
        }
        self.version += 1;
        self.length += 1;
        let hasher = &self.hasher;
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            match token {
                PatternToken::Rest => {
                    node.version = self.version;
                    node.below_mut().rest.insert(value, hasher);
                    return true;
                }
                PatternToken::One => node = &mut node.below_mut().star,
                PatternToken::Literal(token) => {
                    let key = Token::from_slice(token.as_bytes());
                    node =
                        node.below_mut()
                            .children
                            .entry(hasher.hash_one(token), &key, Node::empty);
                }
            }
        }
        node.version = self.version;
        node.exact.insert(value, hasher);
        true
    }

    /// Takes a pair out; `false` when it was not there.
    pub fn remove(&mut self, pattern: &Pattern, value: &V) -> bool {
        if !self.contains(pattern, value) {
            return false;
        }
        self.version += 1;
        self.length -= 1;
        let change = Removal {
            version: self.version,
            hasher: &self.hasher,
            value,
        };
        change.apply(&mut self.root, &mut pattern.tokens());
        true
    }

    /// Calls `visit` with each value whose pattern matches, once per matching pattern. The order is that of
    /// no promise; equal tables with equal seeds and histories give equal orders.
    pub fn for_each_match(&self, subject: &Subject, mut visit: impl FnMut(&V)) {
        self.walk(subject, &mut |values, _| values.for_each(&mut visit));
    }

    /// A number that changes whenever the answer for `subject` changes. It may also change when the answer
    /// does not, for one when a pattern beside the subject's branch is the last of its token to go.
    #[must_use]
    pub fn branch_version(&self, subject: &Subject) -> u64 {
        let mut version = 0;
        self.walk(subject, &mut |_, changed| version = version.max(changed));
        version
    }

    fn hash(&self, token: &str) -> u64 {
        self.hasher.hash_one(token)
    }

    fn walk(&self, subject: &Subject, visit: &mut impl FnMut(&Values<V>, u64)) {
        // Tokens are hashed once, though a walk that meets wildcards looks each of them up several times.
        let mut tokens: [(&str, u64); SUBJECT_TOKENS] = [("", 0); SUBJECT_TOKENS];
        let mut count = 0;
        for (slot, token) in tokens.iter_mut().zip(subject.tokens()) {
            *slot = (token, self.hash(token));
            count += 1;
        }
        walk(&self.root, &tokens[..count], visit);
    }
}

/// Visits every node on the way of the subject, with the values that match there and its version.
fn walk<V: Clone + Eq + Hash>(
    node: &Node<V>,
    tokens: &[(&str, u64)],
    visit: &mut impl FnMut(&Values<V>, u64),
) {
    let Some(((token, hash), following)) = tokens.split_first() else {
        visit(&node.exact, node.version);
        return;
    };
    let Some(below) = &node.below else {
        visit(&Values::None, node.version);
        return;
    };
    visit(&below.rest, node.version);
    if let Some(next) = node.child(token, *hash) {
        walk(next, following, visit);
    }
    if !below.star.is_empty() {
        walk(&below.star, following, visit);
    }
}

struct Removal<'a, V> {
    version: u64,
    hasher: &'a FixedState,
    value: &'a V,
}

impl<V: Clone + Eq + Hash> Removal<'_, V> {
    /// Takes the value, which is known to be held, out of `node`, and what is left empty with it.
    fn apply<'p>(&self, node: &mut Node<V>, tokens: &mut impl Iterator<Item = PatternToken<'p>>) {
        let Some(token) = tokens.next() else {
            node.exact.remove(self.value, self.hasher);
            node.version = self.version;
            return;
        };
        let below = node.below_mut();
        // The version of a node that goes is forgotten: that of the node above tells that it went.
        let gone = match token {
            PatternToken::Rest => {
                below.rest.remove(self.value, self.hasher);
                true
            }
            PatternToken::One => {
                self.apply(&mut below.star, tokens);
                below.star.is_empty()
            }
            PatternToken::Literal(token) => {
                let (hash, key) = (
                    self.hasher.hash_one(token),
                    Token::from_slice(token.as_bytes()),
                );
                let child = below.children.get_mut(hash, &key);
                let emptied = child.is_some_and(|child| {
                    self.apply(child, tokens);
                    child.is_empty()
                });
                emptied && below.children.remove(hash, &key)
            }
        };
        if below.is_empty() {
            node.below = None;
        }
        if gone {
            node.version = self.version;
        }
    }
}
