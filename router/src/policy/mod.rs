//! Where a message goes: the choice among the destinations of a route.
//!
//! A policy sees headers only and is plain code. [`Policy`] states the laws; one file holds each policy; a new one
//! needs its file and one line in the function `named` here. A route names its policy through a [`PolicyFactory`], which may
//! also wrap a policy of the user's own.

pub mod contract;

mod bounded_load;
mod broadcast;
mod failover;
mod hash;
mod least_loaded;
mod load;
mod member;
mod mirror;
mod round_robin;
mod seeded;
mod subset;
mod weighted;

use std::fmt;
use std::sync::Arc;

pub use self::bounded_load::{BoundedLoad, LOAD_FACTOR};
pub use self::broadcast::Broadcast;
pub use self::contract::{Choice, Destination, Meta, Policy, Scope};
pub use self::failover::{Failover, PANIC_THRESHOLD};
pub use self::hash::{Hash, destination_id, rendezvous};
pub use self::least_loaded::LeastLoaded;
pub use self::load::Load;
pub use self::member::MemberChooser;
pub use self::mirror::Mirror;
pub use self::round_robin::RoundRobin;
pub use self::subset::{LabelMatch, Subset, SubsetRule};
pub use self::weighted::Weighted;

/// The names of the policies that [`PolicyFactory::named`] knows.
pub const NAMES: [&str; 9] = [
    "round-robin",
    "weighted",
    "hash",
    "broadcast",
    "subset",
    "bounded-load",
    "least-loaded",
    "failover",
    "mirror",
];

fn named(name: &str) -> Option<Make> {
    Some(match name {
        "round-robin" => Arc::new(|| Box::new(RoundRobin::new())),
        "weighted" => Arc::new(|| Box::new(Weighted::new())),
        "hash" => Arc::new(|| Box::new(Hash::new())),
        "broadcast" => Arc::new(|| Box::new(Broadcast::new())),
        "subset" => Arc::new(|| Box::new(Subset::new(Vec::new(), false))),
        "bounded-load" => Arc::new(|| Box::new(BoundedLoad::default())),
        "least-loaded" => Arc::new(|| Box::new(LeastLoaded::new(0))),
        "failover" => Arc::new(|| Box::new(Failover::default())),
        "mirror" => Arc::new(|| Box::new(Mirror::default())),
        _ => return None,
    })
}

type Make = Arc<dyn Fn() -> Box<dyn Policy> + Send + Sync>;

/// Makes a fresh policy for each route and shard that needs one. A clone shares the recipe.
#[derive(Clone)]
pub struct PolicyFactory {
    name: Arc<str>,
    /// What makes it different from others of its name; `None` for a policy of the user's own.
    options: Option<Arc<str>>,
    make: Make,
}

impl PolicyFactory {
    /// The policy of this name, one of [`NAMES`], with its defaults.
    ///
    /// # Errors
    ///
    /// [`UnknownPolicy`] when no policy has this name; whoever wrote it picks one of [`NAMES`].
    pub fn named(name: &str) -> Result<Self, UnknownPolicy> {
        let make = named(name).ok_or_else(|| UnknownPolicy {
            name: name.to_string(),
        })?;
        Ok(Self {
            name: Arc::from(name),
            options: Some(Arc::from("")),
            make,
        })
    }

    /// The policy `subset` with these rules.
    pub fn subset(rules: Vec<SubsetRule>, sticky: bool) -> Self {
        let options = format!("{rules:?} {sticky}");
        Self::own("subset", move || {
            Box::new(Subset::new(rules.clone(), sticky))
        })
        .with_options(options)
    }

    /// The policy `bounded-load` with this load factor, at least 1.
    pub fn bounded_load(factor: f64) -> Self {
        Self::own("bounded-load", move || Box::new(BoundedLoad::new(factor)))
            .with_options(factor.to_string())
    }

    /// The policy `failover` with this panic threshold in percent.
    pub fn failover(panic_threshold: u32) -> Self {
        Self::own("failover", move || Box::new(Failover::new(panic_threshold)))
            .with_options(panic_threshold.to_string())
    }

    /// What this one chooses, with copies to the mirror among the destinations.
    pub fn mirrored(self) -> Self {
        let (name, options) = (self.name.clone(), self.options.clone());
        let mirrored = Self::own(&name, move || Box::new(Mirror::new(self.build(), 0)));
        match options {
            Some(options) => mirrored.with_options(format!("{options} mirrored")),
            None => mirrored,
        }
    }

    fn with_options(self, options: String) -> Self {
        Self {
            options: Some(options.into()),
            ..self
        }
    }

    /// A policy of the user's own. `make` is called once per route and shard.
    pub fn own(name: &str, make: impl Fn() -> Box<dyn Policy> + Send + Sync + 'static) -> Self {
        Self {
            name: Arc::from(name),
            options: None,
            make: Arc::new(make),
        }
    }

    /// The name under which the policy stands in a route.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A fresh policy that has chosen nothing yet.
    #[must_use]
    pub fn build(&self) -> Box<dyn Policy> {
        (self.make)()
    }
}

/// Two are equal if they make the same policy: by name and options, those of the user's own if one is a clone of the other.
impl PartialEq for PolicyFactory {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && match (&self.options, &other.options) {
                (Some(one), Some(other)) => one == other,
                (None, None) => Arc::ptr_eq(&self.make, &other.make),
                _ => false,
            }
    }
}

impl fmt::Debug for PolicyFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyFactory({:?})", self.name)
    }
}

/// No policy has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPolicy {
    /// The name that was asked for.
    pub name: String,
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown policy '{}': use one of {}",
            self.name,
            NAMES.join(", ")
        )
    }
}

impl std::error::Error for UnknownPolicy {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_makes_the_policy_of_that_name_and_it_keeps_the_laws() {
        for name in NAMES {
            let factory = PolicyFactory::named(name).unwrap();
            assert_eq!(factory.build().name(), name);
            contract::check_laws(|| factory.build());
        }
        let error = PolicyFactory::named("wieghted").unwrap_err();
        assert!(error.to_string().contains("weighted"));
    }
}
