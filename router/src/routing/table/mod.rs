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
    root: Arc<Node<V>>,
    length: usize,
    version: u64,
    hasher: FixedState,
}

/// A literal token. Short ones, which most are, stand in the map itself: comparing them costs no cache miss.
type Token = SmallVec<[u8; 16]>;

#[derive(Debug, Clone)]
struct Node<V> {
    /// Values of the pattern that ends here.
    exact: Values<V>,
    /// Values of the pattern that ends here with a further `>`.
    rest: Values<V>,
    /// What follows a `*`.
    star: Option<Arc<Node<V>>>,
    /// What follows a literal token.
    children: HashTrie<Token, Arc<Node<V>>>,
    /// The table's version when an answer that involves this node last changed.
    version: u64,
}

impl<V> Node<V> {
    fn new() -> Self {
        Self {
            exact: Values::None,
            rest: Values::None,
            star: None,
            children: HashTrie::new(),
            version: 0,
        }
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
            root: Arc::new(Node::new()),
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
        let mut node = &*self.root;
        for token in pattern.tokens() {
            let next = match token {
                PatternToken::Rest => return node.rest.contains(value, &self.hasher),
                PatternToken::One => node.star.as_ref(),
                PatternToken::Literal(token) => node
                    .children
                    .get(self.hash(token), |held| **held == *token.as_bytes()),
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
        let mut node = Arc::make_mut(&mut self.root);
        for token in pattern.tokens() {
            match token {
                PatternToken::Rest => {
                    node.version = self.version;
                    node.rest.insert(value, hasher);
                    return true;
                }
                PatternToken::One => {
                    node = Arc::make_mut(node.star.get_or_insert_with(|| Arc::new(Node::new())));
                }
                PatternToken::Literal(token) => {
                    let hash = hasher.hash_one(token);
                    let key = Token::from_slice(token.as_bytes());
                    node = Arc::make_mut(node.children.entry(hash, &key, || Arc::new(Node::new())));
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
        change.apply(Arc::make_mut(&mut self.root), &mut pattern.tokens());
        true
    }

    /// Calls `visit` with each value whose pattern matches, once per matching pattern. The order is that of
    /// no promise; equal tables with equal seeds and histories give equal orders.
    pub fn for_each_match(&self, subject: &Subject, mut visit: impl FnMut(&V)) {
        self.walk(subject, &mut |node, matched| match matched {
            Matched::Exact => node.exact.for_each(&mut visit),
            Matched::Rest => node.rest.for_each(&mut visit),
            Matched::Path => {}
        });
    }

    /// A number that changes whenever the answer for `subject` changes. It may also change when the answer
    /// does not, for one when a pattern beside the subject's branch is the last of its token to go.
    #[must_use]
    pub fn branch_version(&self, subject: &Subject) -> u64 {
        let mut version = 0;
        self.walk(subject, &mut |node, _| version = version.max(node.version));
        version
    }

    fn hash(&self, token: &str) -> u64 {
        self.hasher.hash_one(token)
    }

    fn walk(&self, subject: &Subject, visit: &mut impl FnMut(&Node<V>, Matched)) {
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

/// What a walk found at a node.
#[derive(Clone, Copy)]
enum Matched {
    /// The subject goes on below.
    Path,
    /// The subject goes on below, and what ends here with `>` matches.
    Rest,
    /// The subject ends here.
    Exact,
}

fn walk<V>(node: &Node<V>, tokens: &[(&str, u64)], visit: &mut impl FnMut(&Node<V>, Matched)) {
    let Some(((token, hash), below)) = tokens.split_first() else {
        visit(node, Matched::Exact);
        return;
    };
    visit(
        node,
        if matches!(node.rest, Values::None) {
            Matched::Path
        } else {
            Matched::Rest
        },
    );
    if let Some(next) = node.children.get(*hash, |held| **held == *token.as_bytes()) {
        walk(next, below, visit);
    }
    if let Some(next) = &node.star {
        walk(next, below, visit);
    }
}

struct Removal<'a, V> {
    version: u64,
    hasher: &'a FixedState,
    value: &'a V,
}

impl<V: Clone + Eq + Hash> Removal<'_, V> {
    /// Takes the value out below `node` and reports whether `node` is left without content.
    fn apply<'p>(
        &self,
        node: &mut Node<V>,
        tokens: &mut impl Iterator<Item = PatternToken<'p>>,
    ) -> bool {
        match tokens.next() {
            None => {
                node.exact.remove(self.value, self.hasher);
                node.version = self.version;
            }
            Some(PatternToken::Rest) => {
                node.rest.remove(self.value, self.hasher);
                node.version = self.version;
            }
            Some(PatternToken::One) => {
                if let Some(next) = &mut node.star
                    && self.apply(Arc::make_mut(next), tokens)
                {
                    node.star = None;
                    node.version = self.version;
                }
            }
            Some(PatternToken::Literal(token)) => {
                let (hash, key) = (
                    self.hasher.hash_one(token),
                    Token::from_slice(token.as_bytes()),
                );
                if let Some(next) = node.children.get_mut(hash, &key)
                    && self.apply(Arc::make_mut(next), tokens)
                {
                    node.children.remove(hash, &key);
                    // The version of a node that goes is forgotten; its parent's tells that it went.
                    node.version = self.version;
                }
            }
        }
        node.exact.is_empty()
            && node.rest.is_empty()
            && node.star.is_none()
            && node.children.is_empty()
    }
}
