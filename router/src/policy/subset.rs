//! Rules by label and key first, weights among what is left then.

use super::contract::{Choice, Destination, Meta, Policy, Scope};
use super::hash::{Hash, destination_id};
use super::weighted::Weighted;
use mcpbus_actors::Key;

/// What the value of a label must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelMatch {
    /// Exactly this.
    Exact(String),
    /// Anything that begins with this.
    Prefix(String),
    /// Anything, as long as the message has the label.
    Present,
}

impl LabelMatch {
    /// `*` means that the label is there, a `*` at the end a prefix, anything else itself.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some("") => Self::Present,
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exact(wanted) => value == wanted,
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Present => true,
        }
    }
}

/// Which messages may go to which destinations: all conditions must hold. A rule without conditions is for every message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubsetRule {
    labels: Vec<(String, LabelMatch)>,
    keys: Vec<Key>,
    /// Ids of destinations.
    to: Vec<u64>,
}

impl SubsetRule {
    /// A rule that sends to these groups.
    #[must_use]
    pub fn to<'a>(groups: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            to: groups.into_iter().map(destination_id).collect(),
            ..Self::default()
        }
    }

    /// For messages with this label only.
    #[must_use]
    pub fn label(mut self, name: &str, value: LabelMatch) -> Self {
        self.labels.push((name.to_owned(), value));
        self
    }

    /// For messages with one of these keys only.
    #[must_use]
    pub fn keys(mut self, keys: impl IntoIterator<Item = Key>) -> Self {
        self.keys.extend(keys);
        self.keys.sort_unstable();
        self
    }

    fn holds(&self, meta: &Meta<'_>) -> bool {
        let key = || {
            meta.key
                .is_some_and(|key| self.keys.binary_search(&key).is_ok())
        };
        let label = |(name, wanted): &(String, LabelMatch)| {
            meta.label(name).is_some_and(|value| wanted.holds(value))
        };
        (self.keys.is_empty() || key()) && self.labels.iter().all(label)
    }
}

/// The first rule whose conditions hold names the destinations, and those share by weight; without such a rule all
/// destinations do. Each rule splits for itself: exactly, as under [`Weighted`], or sticky, as under [`Hash`](struct@Hash).
///
/// A rule that holds decides, also where all its destinations are drained: then the message waits.
#[derive(Debug, Clone, Default)]
pub struct Subset {
    rules: Vec<SubsetRule>,
    /// One for each rule, and one for messages that no rule is for.
    splits: Vec<Weighted>,
    sticky: bool,
    /// The destinations with weights of 0 outside the subset, kept to use its memory again.
    within: Vec<Destination>,
}

impl Subset {
    /// With these rules, tried in this order.
    #[must_use]
    pub fn new(rules: Vec<SubsetRule>, sticky: bool) -> Self {
        Self {
            splits: vec![Weighted::new(); rules.len() + 1],
            rules,
            sticky,
            within: Vec::new(),
        }
    }
}

impl Policy for Subset {
    fn name(&self) -> &'static str {
        "subset"
    }

    fn choose(&mut self, meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        let rule = self.rules.iter().position(|rule| rule.holds(meta));
        let mut within = std::mem::take(&mut self.within);
        within.clear();
        let to = rule.map(|rule| &self.rules[rule].to);
        within.extend(destinations.iter().map(|destination| Destination {
            weight: match to {
                Some(to) if !to.contains(&destination.id) => 0,
                _ => destination.weight,
            },
            ..*destination
        }));
        let choice = if self.sticky {
            Hash::new().choose(meta, &within)
        } else {
            let split = self.splits.get_mut(rule.unwrap_or(self.rules.len()));
            split.map_or(Choice::None, |split| split.choose(meta, &within))
        };
        self.within = within;
        choice
    }

    /// A label may send messages of one key to different places.
    fn keeps_order(&self) -> bool {
        self.sticky && self.rules.iter().all(|rule| rule.labels.is_empty())
    }

    fn scope(&self) -> Scope {
        if self.sticky {
            Scope::Stateless
        } else {
            Scope::Shard
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::contract::check_laws;
    use super::*;
    use mcpbus_transport::wire::Labels;
    use proptest::prelude::*;

    fn list() -> Vec<Destination> {
        [("v1", 80), ("v2", 20), ("v3", 0), ("v4", 20)]
            .map(|(name, weight)| Destination::new(destination_id(name), weight))
            .to_vec()
    }

    fn rules() -> Vec<SubsetRule> {
        let exact = |value: &str| LabelMatch::parse(value);
        vec![
            SubsetRule::to(["v2"]).label("version", exact("v2")),
            SubsetRule::to(["v3"]).label("version", exact("v3")),
            SubsetRule::to(["v2", "v4"])
                .label("user", exact("test-*"))
                .label("team", exact("*")),
            SubsetRule::to(["v4"]).keys([Key::from("7"), Key::from("3")]),
            SubsetRule::to(["v1", "v2"]),
        ]
    }

    fn counts(sticky: bool, labels: &[(&str, &str)], key: Option<&str>) -> [usize; 4] {
        let mut policy = Subset::new(rules(), sticky);
        let labels = Labels::new(labels.iter().copied()).unwrap();
        let mut counts = [0; 4];
        for _ in 0..1_000 {
            let meta = Meta::new(key.map(Key::from), 0, 0).labelled(&labels);
            if let Choice::One(index) = policy.choose(&meta, &list()) {
                counts[index] += 1;
            }
        }
        counts
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        assert_eq!(counts(false, &[], None), [800, 200, 0, 0]);
        assert_eq!(
            counts(false, &[("version", "v2")], Some("7")),
            [0, 1_000, 0, 0]
        );
        assert_eq!(counts(false, &[("version", "v22")], None), [800, 200, 0, 0]);
        // Drained: it waits, and no later rule takes it.
        assert_eq!(counts(false, &[("version", "v3")], None), [0; 4]);
        let both = [("user", "test-9"), ("team", "")];
        assert_eq!(counts(false, &both, None), [0, 500, 0, 500]);
        assert_eq!(counts(false, &both[..1], None), [800, 200, 0, 0]);
        assert_eq!(counts(false, &[], Some("7")), [0, 0, 0, 1_000]);
        assert_eq!(counts(false, &[], Some("8")), [800, 200, 0, 0]);
    }

    #[test]
    fn rules_split_apart_from_each_other() {
        let mut policy = Subset::new(rules(), false);
        let labels = Labels::new([("user", "test-1"), ("team", "x")]).unwrap();
        let (mut plain, mut labelled) = ([0; 4], [0; 4]);
        for number in 0..1_500 {
            let meta = Meta::default();
            let (meta, counts) = if number % 3 == 0 {
                (meta.labelled(&labels), &mut labelled)
            } else {
                (meta, &mut plain)
            };
            if let Choice::One(index) = policy.choose(&meta, &list()) {
                counts[index] += 1;
            }
        }
        assert_eq!((plain, labelled), ([800, 200, 0, 0], [0, 250, 0, 250]));
    }

    #[test]
    fn with_rules_it_keeps_the_laws_too() {
        let keys = || vec![SubsetRule::to(["v1"]).keys([Key(3), Key(5)])];
        for sticky in [false, true] {
            check_laws(|| Box::new(Subset::new(rules(), sticky)));
            check_laws(|| Box::new(Subset::new(keys(), sticky)));
        }
        assert!(Subset::new(keys(), true).keeps_order());
        assert!(!Subset::new(rules(), true).keeps_order());
    }

    proptest! {
        /// The plain model: the destinations of the rule alone, under the plain policy.
        #[test]
        fn a_rule_is_the_plain_policy_over_its_destinations(
            weights in proptest::collection::vec(0_u32..50, 1..8),
            members in proptest::collection::vec(any::<bool>(), 8),
            sticky in any::<bool>(),
            keys in proptest::collection::vec(any::<u64>(), 100),
        ) {
            let names: Vec<String> = (0..weights.len()).map(|place| format!("group-{place}")).collect();
            let list: Vec<_> = names.iter().zip(&weights)
                .map(|(name, weight)| Destination::new(destination_id(name), *weight)).collect();
            let to: Vec<&str> = names.iter().zip(&members).filter(|(_, is)| **is).map(|(name, _)| name.as_str()).collect();
            let alone: Vec<_> = list.iter().zip(&members).filter(|(_, is)| **is).map(|(d, _)| *d).collect();
            let mut policy = Subset::new(vec![SubsetRule::to(to)], sticky);
            let mut plain: Box<dyn Policy> = if sticky { Box::new(Hash::new()) } else { Box::new(Weighted::new()) };
            for key in keys {
                let meta = Meta::new(Some(Key(key)), 0, 0);
                let id = |choice: Choice, list: &[Destination]| match choice {
                    Choice::One(index) => Some(list[index].id),
                    _ => None,
                };
                prop_assert_eq!(id(policy.choose(&meta, &list), &list), id(plain.choose(&meta, &alone), &alone));
            }
        }
    }
}
