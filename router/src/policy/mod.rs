//! Where a message goes: the choice among the destinations of a route.
//!
//! A policy sees headers only and is plain code. [`Policy`] states the laws; one file holds each policy; a new one
//! needs its file and one line in the function `named` here. A route names its policy through a [`PolicyFactory`], which may
//! also wrap a policy of the user's own.

pub mod contract;

mod broadcast;
mod hash;
mod member;
mod round_robin;
mod weighted;

use std::fmt;
use std::sync::Arc;

pub use self::broadcast::Broadcast;
pub use self::contract::{Choice, Destination, Meta, Policy, Scope};
pub use self::hash::{Hash, destination_id, rendezvous};
pub use self::member::MemberChooser;
pub use self::round_robin::RoundRobin;
pub use self::weighted::Weighted;

/// The names of the policies that [`PolicyFactory::named`] knows.
pub const NAMES: [&str; 4] = ["round-robin", "weighted", "hash", "broadcast"];

fn named(name: &str) -> Option<Make> {
    Some(match name {
        "round-robin" => Arc::new(|| Box::new(RoundRobin::new())),
        "weighted" => Arc::new(|| Box::new(Weighted::new())),
        "hash" => Arc::new(|| Box::new(Hash::new())),
        "broadcast" => Arc::new(|| Box::new(Broadcast::new())),
        _ => return None,
    })
}

type Make = Arc<dyn Fn() -> Box<dyn Policy> + Send + Sync>;

/// Makes a fresh policy for each route and shard that needs one. A clone shares the recipe.
#[derive(Clone)]
pub struct PolicyFactory {
    name: Arc<str>,
    make: Make,
}

impl PolicyFactory {
    /// The policy of this name, one of [`NAMES`].
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
            make,
        })
    }

    /// A policy of the user's own. `make` is called once per route and shard.
    pub fn own(name: &str, make: impl Fn() -> Box<dyn Policy> + Send + Sync + 'static) -> Self {
        Self {
            name: Arc::from(name),
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
