//! The routes of a node: which groups share the messages of a subject, and by which policy.

use super::guards::RouteGuards;
use super::pattern::Pattern;
use super::route_error::RouteError;
use super::subject::Subject;
use super::table::SubjectTable;
use crate::policy::{Destination, PolicyFactory, destination_id};

/// A rule for the subjects that a pattern matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The subjects it decides about.
    pub pattern: Pattern,
    /// How it chooses among its destinations. A sticky route uses `hash` in place of it.
    pub policy: PolicyFactory,
    /// What it chooses among, in the order given.
    pub destinations: Vec<RouteDestination>,
    /// Whether subscribers outside the route's groups get no copy.
    pub exclusive: bool,
    /// Whether all messages of a key go to one destination.
    pub sticky: bool,
    /// Who gets a copy of some messages, besides where they go.
    pub mirror: Option<RouteMirror>,
    /// What keeps it and its destinations within what they can do.
    pub guards: RouteGuards,
}

/// A group that a route sends to, with its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDestination {
    /// The group's name.
    pub group: String,
    /// Its share among the weights of the route; 0 drains it.
    pub weight: u32,
    /// Which level of a failover it belongs to: 0 is used first.
    pub priority: u8,
}

/// A group that gets copies of some of a route's messages. A copy goes with its message at once or is dropped: nobody waits for
/// it, and what becomes of it changes nothing for the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMirror {
    /// The group's name; none of the route's destinations.
    pub group: String,
    /// The share of messages that are copied, in millionths.
    pub share: u32,
}

impl Route {
    /// A route without destinations, neither exclusive nor sticky.
    #[must_use]
    pub fn new(pattern: Pattern, policy: PolicyFactory) -> Self {
        Self {
            pattern,
            policy,
            destinations: Vec::new(),
            exclusive: false,
            sticky: false,
            mirror: None,
            guards: RouteGuards::default(),
        }
    }

    /// Adds a destination.
    #[must_use]
    pub fn to(mut self, group: &str, weight: u32) -> Self {
        self.destinations.push(RouteDestination {
            group: group.to_string(),
            weight,
            priority: 0,
        });
        self
    }

    /// The level of a failover that the destination added last belongs to; 0 is used first.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        if let Some(last) = self.destinations.last_mut() {
            last.priority = priority;
        }
        self
    }

    /// Copies this share of the messages to a group, between 0 and 1.
    #[must_use]
    pub fn mirror(mut self, group: &str, share: f64) -> Self {
        self.mirror = Some(RouteMirror {
            group: group.to_string(),
            share: (share.clamp(0.0, 1.0) * 1e6).round() as u32,
        });
        self
    }

    /// With these guards.
    #[must_use]
    pub fn guards(mut self, guards: RouteGuards) -> Self {
        self.guards = guards;
        self
    }

    /// Whether subscribers outside the route's groups get no copy.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Whether all messages of a key go to one destination.
    #[must_use]
    pub fn sticky(mut self, sticky: bool) -> Self {
        self.sticky = sticky;
        self
    }

    /// The groups it concerns: its destinations in their order, then its mirror, then its fallback.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let destinations = self.destinations.iter().map(|to| to.group.as_str());
        destinations
            .chain(self.mirror.iter().map(|mirror| mirror.group.as_str()))
            .chain(self.guards.fallback.as_deref())
    }

    /// The policy that chooses: `hash` when the route is sticky under `weighted`, else the one it names; with copies to the
    /// mirror if there is one.
    #[must_use]
    pub fn effective_policy(&self) -> PolicyFactory {
        let policy = match PolicyFactory::named("hash") {
            Ok(hash) if self.sticky && self.policy.name() != "subset" => hash,
            _ => self.policy.clone(),
        };
        if self.mirror.is_some() {
            policy.mirrored()
        } else {
            policy
        }
    }

    /// The destinations as a policy sees them, and behind them the mirror and the fallback, which it does not choose, all ready and
    /// without members: the caller fills in both.
    pub fn policy_destinations(&self) -> impl Iterator<Item = Destination> {
        let destinations = self.destinations.iter().map(|destination| Destination {
            members: 0,
            priority: destination.priority,
            ..Destination::new(destination_id(&destination.group), destination.weight)
        });
        let destinations = destinations.chain(self.mirror.iter().map(|mirror| Destination {
            members: 0,
            mirror: mirror.share,
            ..Destination::new(destination_id(&mirror.group), 0)
        }));
        let fallback = self.guards.fallback.iter().map(|group| Destination {
            members: 0,
            ..Destination::new(destination_id(group), 0)
        });
        destinations.chain(fallback)
    }

    fn check(&self) -> Result<(), RouteError> {
        let pattern = || self.pattern.clone();
        if self.destinations.is_empty() {
            return Err(RouteError::NoDestination { pattern: pattern() });
        }
        for (index, destination) in self.destinations.iter().enumerate() {
            if destination.group.is_empty() {
                return Err(RouteError::EmptyGroup {
                    pattern: pattern(),
                    index,
                });
            }
            if self.destinations[..index]
                .iter()
                .any(|earlier| earlier.group == destination.group)
            {
                return Err(RouteError::GroupTwice {
                    pattern: pattern(),
                    group: destination.group.clone(),
                });
            }
        }
        if self
            .destinations
            .iter()
            .all(|destination| destination.weight == 0)
        {
            return Err(RouteError::NoWeight { pattern: pattern() });
        }
        if self.sticky && self.policy.name() == "broadcast" {
            return Err(RouteError::StickyBroadcast { pattern: pattern() });
        }
        self.guards.check(self)?;
        if let Some(mirror) = &self.mirror {
            let problem = if mirror.group.is_empty() {
                "its group is empty: name it"
            } else if self.destinations.iter().any(|to| to.group == mirror.group) {
                "its group is a destination too: a copy would come to who has the message"
            } else if self.policy.name() == "broadcast" {
                "broadcast sends to all: make it a destination"
            } else if mirror.share == 0 || mirror.share > 1_000_000 {
                "its share is not above 0 and at most 1"
            } else {
                return Ok(());
            };
            return Err(RouteError::Mirror {
                pattern: pattern(),
                problem,
            });
        }
        Ok(())
    }
}

/// All routes of a node. Built once per configuration; a clone is a snapshot.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    index: SubjectTable<usize>,
}

impl RouteTable {
    /// Checks the routes and builds the table.
    ///
    /// # Errors
    ///
    /// [`RouteError`] names the first route at fault by its pattern; whoever configured it corrects it.
    pub fn new(routes: Vec<Route>) -> Result<Self, RouteError> {
        let mut index = SubjectTable::new();
        for (at, route) in routes.iter().enumerate() {
            route.check()?;
            if routes[..at]
                .iter()
                .any(|earlier| earlier.pattern == route.pattern)
            {
                return Err(RouteError::PatternTwice {
                    pattern: route.pattern.clone(),
                });
            }
            index.insert(&route.pattern, at);
        }
        Ok(Self { routes, index })
    }

    /// The most specific route for `subject`, with its index in [`routes`](Self::routes).
    #[must_use]
    pub fn find(&self, subject: &Subject) -> Option<(usize, &Route)> {
        let mut best: Option<(usize, &Route)> = None;
        self.index.for_each_match(subject, |at| {
            let route = &self.routes[*at];
            if best.is_none_or(|(_, held)| route.pattern > held.pattern) {
                best = Some((*at, route));
            }
        });
        best
    }

    /// The routes in the order given.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Whether a guard of one of them goes by when a message came.
    #[must_use]
    pub fn need_arrivals(&self) -> bool {
        self.routes.iter().any(|route| route.guards.need_arrivals())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn route(pattern: &str) -> Route {
        Route::new(
            pattern.parse().unwrap(),
            PolicyFactory::named("weighted").unwrap(),
        )
    }

    #[test]
    fn the_most_specific_route_decides() {
        let patterns = [
            ">",
            "bank.>",
            "bank.*.1",
            "bank.tx.*",
            "bank.tx.1",
            "*.tx.2",
        ];
        let table =
            RouteTable::new(patterns.iter().map(|p| route(p).to("g", 1)).collect()).unwrap();
        let found = |subject: &str| {
            table
                .find(&subject.parse().unwrap())
                .map(|(at, _)| patterns[at])
        };
        assert_eq!(found("bank.tx.1"), Some("bank.tx.1"));
        assert_eq!(found("bank.tx.2"), Some("bank.tx.*"));
        assert_eq!(found("bank.rx.1"), Some("bank.*.1"));
        assert_eq!(found("bank.rx.2"), Some("bank.>"));
        assert_eq!(found("web.tx.2"), Some("*.tx.2"));
        assert_eq!(found("web"), Some(">"));
        assert!(
            RouteTable::default()
                .find(&"web".parse().unwrap())
                .is_none()
        );
    }

    #[test]
    fn sticky_turns_weighted_into_hash() {
        assert_eq!(route("a").effective_policy().name(), "weighted");
        assert_eq!(
            route("a").sticky(true).effective_policy().build().name(),
            "hash"
        );
        let subset = Route::new(
            "a".parse().unwrap(),
            PolicyFactory::named("subset").unwrap(),
        );
        assert_eq!(subset.sticky(true).effective_policy().name(), "subset");
    }

    #[test]
    fn a_mirror_stands_behind_the_destinations_and_is_copied_to() {
        let route = route("a").to("g", 1).mirror("shadow", 0.25);
        assert_eq!(route.groups().collect::<Vec<_>>(), ["g", "shadow"]);
        let list: Vec<_> = route.policy_destinations().collect();
        assert_eq!((list[1].weight, list[1].mirror), (0, 250_000));
        assert_eq!(route.effective_policy().build().name(), "mirror");
    }

    #[test]
    fn routes_that_cannot_work_are_refused() {
        let refused = |routes: Vec<Route>| RouteTable::new(routes).unwrap_err();
        let pattern: Pattern = "a.*".parse().unwrap();
        assert_eq!(
            refused(vec![route("a.*")]),
            RouteError::NoDestination {
                pattern: pattern.clone()
            }
        );
        assert_eq!(
            refused(vec![route("a.*").to("g", 0).to("h", 0)]),
            RouteError::NoWeight {
                pattern: pattern.clone()
            }
        );
        assert_eq!(
            refused(vec![route("a.*").to("g", 1).to("g", 2)]),
            RouteError::GroupTwice {
                pattern: pattern.clone(),
                group: "g".to_string()
            }
        );
        assert_eq!(
            refused(vec![
                route("a.*").to("g", 1),
                route("b").to("g", 1),
                route("a.*").to("h", 1)
            ]),
            RouteError::PatternTwice {
                pattern: pattern.clone()
            }
        );
        let broadcast = Route::new(pattern.clone(), PolicyFactory::named("broadcast").unwrap())
            .to("g", 1)
            .sticky(true);
        assert_eq!(
            refused(vec![broadcast]),
            RouteError::StickyBroadcast {
                pattern: pattern.clone()
            }
        );
        for (mirror, problem) in [
            (route("a").to("g", 1).mirror("g", 0.5), "destination too"),
            (route("a").to("g", 1).mirror("h", 0.0), "share"),
            (route("a").to("g", 1).mirror("", 0.5), "empty"),
        ] {
            let error = refused(vec![mirror]).to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(
            refused(vec![route("a").to("", 1)])
                .to_string()
                .contains("entry 1")
        );
    }
}
