//! `[[route]]`: which groups share the messages of a subject, and how.

use mcpbus::actors::Key;
use mcpbus::policy::{LOAD_FACTOR, LabelMatch, PANIC_THRESHOLD, PolicyFactory, SubsetRule};
use mcpbus::routing::{self, Pattern};

use self::guards::Guards;
use super::mistake::{Mistake, Place, Spotted};
use super::node_file::{RouteTableError, verify_name};
use super::reader::TableReader;

pub mod guard_settings;
pub mod guards;

/// Names with their values, as in the file.
pub type Pairs = Vec<(String, String)>;

/// `[[route]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `subject`: the pattern that it is for.
    pub subject: Spotted<String>,
    /// `policy`.
    pub policy: Policy,
    /// `to`: the groups among which the policy chooses, at least one.
    pub to: Vec<Destination>,
    /// `rules`: under `subset`, which messages may go to which of the groups.
    pub rules: Vec<Rule>,
    /// `sticky`: with `weighted` and `subset`, a key always goes to the same group. False by default.
    pub sticky: bool,
    /// `load_factor`: under `bounded-load`, how much of its share a group may have. 1.25 by default.
    pub load_factor: f64,
    /// `panic_threshold`: under `failover`, in percent. 50 by default.
    pub panic_threshold: u32,
    /// `mirror`: who gets copies of some messages.
    pub mirror: Option<Mirror>,
    /// `exclusive`: subscribers outside the route's groups get no copy. False by default.
    pub exclusive: bool,
    /// What keeps it and its groups within what they can do, from `deadline` to `fallback`.
    pub guards: Guards,
}

/// How a route chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// One after the other.
    RoundRobin,
    /// In proportion to the weights, smoothly.
    Weighted,
    /// By the message's key, the same on every node.
    Hash,
    /// To all.
    Broadcast,
    /// Rules by label and key first, then weights.
    Subset,
    /// By the message's key, as long as nobody has much more than its share.
    BoundedLoad,
    /// The less loaded of two.
    LeastLoaded,
    /// One level after the other.
    Failover,
}

/// The words of `policy` and their meanings.
pub const POLICIES: [(&str, Policy); 8] = [
    ("round-robin", Policy::RoundRobin),
    ("weighted", Policy::Weighted),
    ("hash", Policy::Hash),
    ("broadcast", Policy::Broadcast),
    ("subset", Policy::Subset),
    ("bounded-load", Policy::BoundedLoad),
    ("least-loaded", Policy::LeastLoaded),
    ("failover", Policy::Failover),
];

impl Policy {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        POLICIES
            .iter()
            .find(|(_, policy)| *policy == self)
            .map_or("", |(word, _)| word)
    }

    /// Whether weights mean more than 0 or not 0.
    pub fn weighs(self) -> bool {
        !matches!(self, Self::RoundRobin | Self::Broadcast)
    }

    /// Whether `sticky` has a meaning.
    pub fn may_stick(self) -> bool {
        matches!(self, Self::Weighted | Self::Subset)
    }
}

/// One of a route's destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `group`: the queue group.
    pub group: Spotted<String>,
    /// `weight`: its share, 0 to 1,000,000; 1 by default, 0 drains.
    pub weight: u32,
    /// `priority`: under `failover`, its level, 0 to 255; 0 by default and used first.
    pub priority: u8,
    /// `labels`: under `subset`, what rules know it by.
    pub labels: Pairs,
}

/// One of `rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `labels`: what a message must have; `x*` is a prefix, `*` anything.
    pub labels: Pairs,
    /// `keys`: one of these a message must have, if there are any.
    pub keys: Vec<String>,
    /// `subset`: labels that its groups have.
    pub subset: Pairs,
    /// Where it stands.
    pub place: Place,
}

impl Rule {
    /// Whether a group belongs to the rule's subset.
    pub fn takes(&self, destination: &Destination) -> bool {
        self.subset
            .iter()
            .all(|label| destination.labels.contains(label))
    }

    /// Whether it is for every message.
    pub fn is_for_all(&self) -> bool {
        self.labels.is_empty() && self.keys.is_empty()
    }
}

/// `mirror`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// `group`: who gets the copies.
    pub group: Spotted<String>,
    /// `share`: of the messages, above 0 and at most 1. 1 by default.
    pub share: f64,
}

impl Route {
    /// Whether messages of one key may go to different groups.
    pub fn is_unordered(&self) -> bool {
        match self.policy {
            Policy::Hash | Policy::Broadcast => false,
            Policy::Weighted => !self.sticky,
            Policy::Subset => !self.sticky || self.rules.iter().any(|rule| !rule.labels.is_empty()),
            _ => true,
        }
    }

    /// The route in the form that the node decides with.
    ///
    /// # Errors
    /// What is wrong with its subject or policy.
    pub fn decided(&self) -> Result<routing::Route, RouteTableError> {
        let pattern = Pattern::new(&self.subject.value).map_err(RouteTableError::Pattern)?;
        let policy = match self.policy {
            Policy::Subset => PolicyFactory::subset(self.subset_rules(), self.sticky),
            Policy::BoundedLoad => PolicyFactory::bounded_load(self.load_factor),
            Policy::Failover => PolicyFactory::failover(self.panic_threshold),
            other => PolicyFactory::named(other.word()).map_err(RouteTableError::Policy)?,
        };
        let mut decided = routing::Route::new(pattern, policy)
            .guards(self.guards.decided().map_err(RouteTableError::Guards)?)
            .exclusive(self.exclusive)
            .sticky(self.sticky);
        for to in &self.to {
            decided = decided.to(&to.group.value, to.weight).priority(to.priority);
        }
        if let Some(mirror) = &self.mirror {
            decided = decided.mirror(&mirror.group.value, mirror.share);
        }
        Ok(decided)
    }

    fn subset_rules(&self) -> Vec<SubsetRule> {
        let rule = |rule: &Rule| {
            let to = self.to.iter().filter(|to| rule.takes(to));
            let mut made = SubsetRule::to(to.map(|to| to.group.value.as_str()));
            for (name, value) in &rule.labels {
                made = made.label(name, LabelMatch::parse(value));
            }
            made.keys(rule.keys.iter().map(|key| Key::from(key.as_str())))
        };
        self.rules.iter().map(rule).collect()
    }
}

/// Reads one route; mistakes are reported.
pub(super) fn read(reader: TableReader<'_>) -> Option<Route> {
    let subject = reader.required_text("subject");
    if !reader.has("policy") {
        reader.mistake(
            "policy",
            format!("`{}` is missing", reader.path_of("policy")),
        );
    }
    let policy = reader.one_of("policy", &POLICIES);
    let to: Vec<Destination> = reader
        .tables("to")
        .into_iter()
        .filter_map(|destination| read_destination(destination, policy))
        .collect();
    if to.is_empty() {
        reader.mistake(
            "to",
            format!(
                "`{}` names no group: the route leads nowhere",
                reader.path_of("to")
            ),
        );
    } else if to.iter().all(|destination| destination.weight == 0) {
        reader.mistake("to", "all weights are 0: the route leads nowhere");
    }
    let rules: Vec<Rule> = reader.tables("rules").into_iter().map(read_rule).collect();
    verify_rules(&reader, &rules, &to);
    let sticky = reader.boolean("sticky");
    if sticky == Some(true) && policy.is_some_and(|policy| !policy.may_stick()) {
        reader.mistake(
            "sticky",
            "`sticky` belongs to the policies `weighted` and `subset`; `hash` is always sticky",
        );
    }
    let load_factor = reader.number("load_factor", 1.0..=1000.0);
    let panic_threshold = reader.integer("panic_threshold", 0..=100);
    for (key, owner) in [
        ("rules", Policy::Subset),
        ("load_factor", Policy::BoundedLoad),
        ("panic_threshold", Policy::Failover),
    ] {
        belongs_to(&reader, key, owner, policy);
    }
    let mirror = read_mirror(&reader, &to, policy);
    let guards = guards::read(&reader, &to, mirror.as_ref(), policy);
    let exclusive = reader.boolean("exclusive").unwrap_or(false);
    reader.finish();
    Some(Route {
        subject: subject?,
        policy: policy?,
        to,
        rules,
        sticky: sticky.unwrap_or(false),
        load_factor: load_factor.unwrap_or(LOAD_FACTOR),
        panic_threshold: panic_threshold
            .and_then(|percent| u32::try_from(percent).ok())
            .unwrap_or(PANIC_THRESHOLD),
        mirror,
        exclusive,
        guards,
    })
}

/// Reports a key that has a meaning under another policy only.
fn belongs_to(reader: &TableReader<'_>, key: &str, owner: Policy, policy: Option<Policy>) {
    if reader.has(key) && policy.is_some_and(|policy| policy != owner) {
        reader.mistake(
            key,
            format!("`{key}` belongs to the policy `{}`", owner.word()),
        );
    }
}

fn read_destination(reader: TableReader<'_>, policy: Option<Policy>) -> Option<Destination> {
    let group = reader.required_text("group");
    if let Some(Err(problem)) = group.as_ref().map(|group| verify_name(&group.value)) {
        reader.mistake("group", problem);
    }
    let weight = reader
        .integer("weight", 0..=1_000_000)
        .and_then(|weight| u32::try_from(weight).ok());
    if let Some(policy) = policy.filter(|policy| weight.is_some() && !policy.weighs()) {
        reader.mistake(
            "weight",
            format!(
                "`weight` has no meaning under the policy `{}`",
                policy.word()
            ),
        );
    }
    let priority = reader
        .integer("priority", 0..=255)
        .and_then(|priority| u8::try_from(priority).ok());
    belongs_to(&reader, "priority", Policy::Failover, policy);
    let labels = pairs(&reader, "labels");
    belongs_to(&reader, "labels", Policy::Subset, policy);
    reader.finish();
    Some(Destination {
        group: group?,
        weight: weight.unwrap_or(1),
        priority: priority.unwrap_or(0),
        labels,
    })
}

fn read_rule(reader: TableReader<'_>) -> Rule {
    let subset = pairs(&reader, "subset");
    if subset.is_empty() {
        reader.mistake(
            "subset",
            "the rule names no `subset`: say which labels its groups have, as in `subset = { version = \"v2\" }`",
        );
    }
    let rule = Rule {
        labels: pairs(&reader, "labels"),
        keys: reader
            .texts("keys")
            .unwrap_or_default()
            .into_iter()
            .map(|key| key.value)
            .collect(),
        subset,
        place: reader.place().clone(),
    };
    reader.finish();
    rule
}

fn verify_rules(reader: &TableReader<'_>, rules: &[Rule], to: &[Destination]) {
    for (index, rule) in rules.iter().enumerate() {
        let report = |problem: &str| {
            let key = reader.path_of(&format!("rules.{index}"));
            reader.report(Mistake::new(rule.place.clone(), key, problem));
        };
        let mut groups = to.iter().filter(|to| rule.takes(to)).peekable();
        if rule.subset.is_empty() {
            continue;
        }
        if groups.peek().is_none() {
            report("no group of `to` has the labels of its `subset`: the rule leads nowhere");
        } else if groups.all(|to| to.weight == 0) {
            report("the weights of its groups sum to 0: the rule leads nowhere");
        }
        if rules[..index].iter().any(Rule::is_for_all) {
            report(
                "an earlier rule without `labels` and `keys` is for every message: this one is never reached",
            );
        }
    }
}

fn read_mirror(
    reader: &TableReader<'_>,
    to: &[Destination],
    policy: Option<Policy>,
) -> Option<Mirror> {
    let mirror = reader.table("mirror")?;
    let group = mirror.required_text("group");
    if let Some(group) = &group {
        if let Err(problem) = verify_name(&group.value) {
            mirror.mistake("group", problem);
        }
        if to.iter().any(|to| to.group.value == group.value) {
            mirror.mistake(
                "group",
                format!(
                    "the group `{}` is a destination of the route: it has the message already",
                    group.value
                ),
            );
        }
    }
    if policy == Some(Policy::Broadcast) {
        mirror.mistake(
            "group",
            "`broadcast` sends to all: make the mirror a group of `to`",
        );
    }
    let share = mirror.number("share", 0.000_001..=1.0);
    mirror.finish();
    Some(Mirror {
        group: group?,
        share: share.unwrap_or(1.0),
    })
}

fn pairs(reader: &TableReader<'_>, key: &'static str) -> Pairs {
    let pairs = reader.text_map(key).into_iter();
    pairs
        .map(|(name, value)| (name.value, value.value))
        .collect()
}

#[cfg(test)]
mod tests;
