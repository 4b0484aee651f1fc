//! What must be true when a run is over.

use super::client::{Answer, Delivery, Sent, Subscribed};
use super::scenario::Scenario;
use super::script::{Level, Reaction};
use mcpbus::Failure;
use mcpbus::node::NodeLedger;
use mcpbus_actors::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One message of the run: publisher and number.
type Name = (usize, usize);

/// A subscription of the run: client, number, and what came of it.
type Named<'a> = (usize, usize, &'a Subscribed);

mod durable;

/// Everything that was promised and did not come true; empty if all is well.
pub fn judge(scenario: &Scenario) -> Vec<String> {
    let mut wrong = Vec::new();
    for client in &scenario.world.clients {
        wrong.extend(client.violations.iter().cloned());
    }
    let subscriptions: Vec<Named<'_>> = scenario
        .world
        .clients
        .iter()
        .enumerate()
        .flat_map(|(client, state)| {
            state
                .subscriptions
                .iter()
                .enumerate()
                .map(move |(number, subscribed)| (client, number, subscribed))
        })
        .collect();
    let messages: Vec<(Name, &Sent)> = scenario
        .world
        .clients
        .iter()
        .enumerate()
        .flat_map(|(client, state)| {
            state
                .sent
                .iter()
                .enumerate()
                .map(move |(number, sent)| ((client, number), sent))
        })
        .collect();
    let sent: BTreeMap<Name, &Sent> = messages.iter().copied().collect();
    let crashed = has_crashed(scenario);
    for subscription in &subscriptions {
        // What a member of a group leaves behind goes to another, behind what that one has already.
        let moves = subscription.2.wanted.group.is_some() && (crashed || scenario.shape.churn);
        // A consumer that died without a durable subscription is another one afterwards.
        let reborn = subscription.2.wanted.durable.is_none()
            && scenario.world.clients[subscription.0].restarts > 0;
        // Around a node that died another way may be shorter than what the dead node had already passed on.
        let overtaken = crashed && scenario.shape.links.len() >= scenario.shape.nodes;
        // What was damaged on a disk comes again from its owner, if that still has it: behind what was not.
        let damaged = scenario.shape.corrupt;
        if !moves && !overtaken && !reborn && !damaged {
            order(subscription, &sent, crashed, &mut wrong);
        }
    }
    if scenario.shape.durable {
        durable::kept(scenario, &subscriptions, &messages, &mut wrong);
    } else if crashed {
        bounded_loss(scenario, &subscriptions, &messages, &mut wrong);
    } else {
        let mut untold = Vec::new();
        for (name, sent) in &messages {
            let mut missed = Vec::new();
            conserved(scenario, *name, sent, &subscriptions, &mut missed);
            // What the guards of a route refuse once the node has taken it over is counted, and its publisher not told.
            let level = sent.publication.level;
            let taken_over = matches!(level, Level::None | Level::Accepted);
            if scenario.shape.routes && taken_over && !missed.is_empty() {
                untold.push(missed);
            } else {
                wrong.append(&mut missed);
            }
        }
        if untold.len() as u64 > refused_untold(scenario, &messages) {
            wrong.extend(untold.into_iter().flatten());
        }
    }
    if scenario.shape.cancels {
        cancelled(scenario, &subscriptions, &messages, &mut wrong);
    }
    ledgers(scenario, crashed, &mut wrong);
    wrong
}

/// Whether a node has died.
fn has_crashed(scenario: &Scenario) -> bool {
    let mut places = scenario.world.nodes.iter();
    scenario.shape.crash.is_some() || places.any(|place| !place.former.is_empty())
}

/// Whether a pattern takes a subject; written a second time, so that the router's own cannot hide its mistake.
pub fn takes(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

fn copies(subscribed: &Subscribed, name: Name) -> impl Iterator<Item = &Delivery> {
    subscribed
        .deliveries
        .iter()
        .filter(move |delivery| delivery.message == name)
}

/// Messages of one publisher, subject and key come in the order in which they were sent; a repeat may come later.
fn order(
    subscription: &Named<'_>,
    sent: &BTreeMap<Name, &Sent>,
    crashed: bool,
    wrong: &mut Vec<String>,
) {
    let (client, number, subscribed) = subscription;
    let mut last: BTreeMap<(usize, &str, Option<u64>, bool), usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for delivery in &subscribed.deliveries {
        let name = delivery.message;
        let Some(message) = sent.get(&name) else {
            wrong.push(format!(
                "subscription {client}/{number} got {name:?}, which nobody sent"
            ));
            continue;
        };
        if !takes(&subscribed.wanted.pattern, &message.publication.subject) {
            wrong.push(format!(
                "subscription {client}/{number} got {name:?} on {}",
                message.publication.subject
            ));
        }
        // What was published before it subscribed, or had to subscribe anew, comes to it only where a publisher repeats
        // what a dead node had.
        let since = subscribed.confirmed.filter(|at| *at <= delivery.at);
        let is_repeat = crashed && since.is_none_or(|since| message.at < since);
        if !seen.insert(name) || is_repeat {
            continue;
        }
        let stream = (
            name.0,
            message.publication.subject.as_str(),
            message.publication.key,
            // What is settled late goes its own way to a durable subscription; a publisher has one ack level.
            subscribed.wanted.durable.is_some() && message.publication.level == Level::Processed,
        );
        if let Some(earlier) = last.insert(stream, name.1)
            && earlier > name.1
        {
            wrong.push(format!(
                "subscription {client}/{number} ({:?}) got {name:?} ({:?}) behind message {earlier} of its key",
                subscribed.wanted.durable, message.publication.level
            ));
        }
    }
}

/// A subscription that was there when the message was published, and stayed.
fn stays(subscribed: &Subscribed, at: Time) -> bool {
    subscribed.ready.is_some_and(|ready| ready <= at)
        && subscribed.ended.is_none()
        && subscribed.taken.is_none()
}

/// Who may take part in sharing a message: groups of one route are one party.
fn party(scenario: &Scenario, group: &str) -> String {
    if scenario.shape.routes {
        "route".into()
    } else {
        group.to_owned()
    }
}

fn conserved(
    scenario: &Scenario,
    name: Name,
    sent: &Sent,
    subscriptions: &[Named<'_>],
    wrong: &mut Vec<String>,
) {
    let publication = &sent.publication;
    let Some((result_at, result)) = sent.result else {
        return wrong.push(format!("message {name:?} has no result"));
    };
    let takers: Vec<&Named<'_>> = subscriptions
        .iter()
        .filter(|(_, _, known)| takes(&known.wanted.pattern, &publication.subject))
        .collect();
    if takers.is_empty() {
        let refused = publication.level == Level::None && !publication.request
            || result == Err(Failure::NoRoute)
            || sent.cancelled.is_some() && result == Err(Failure::Cancelled);
        if !refused && publication.time_to_live.is_none() {
            wrong.push(format!("message {name:?} went to nobody with {result:?}"));
        }
        return;
    }
    // A rejected message was delivered; an expired one may not have been.
    let owed = sent.cancelled.is_none()
        && publication.time_to_live.is_none()
        && matches!(result, Ok(()) | Err(Failure::Rejected));
    if !owed
        && sent.cancelled.is_none()
        && publication.time_to_live.is_none()
        && !scenario.shape.churn
        && !scenario.shape.routes
    {
        wrong.push(format!(
            "message {name:?} failed with {result:?} although it has takers"
        ));
    }
    // A refusal is told at once, before others have settled their copies.
    let processed = owed && publication.level == Level::Processed && result.is_ok();
    let refuses = |known: &Subscribed| {
        known.wanted.reaction == Reaction::Reject && copies(known, name).next().is_some()
    };
    // What is refused by one who has left is not told.
    let told = processed && !scenario.shape.churn;
    if told && takers.iter().any(|(_, _, known)| refuses(known)) {
        wrong.push(format!(
            "message {name:?} was processed although it was rejected"
        ));
    }
    let mut parties: BTreeMap<String, (usize, bool, bool)> = BTreeMap::new();
    for (client, number, subscribed) in &takers {
        let came: Vec<&Delivery> = copies(subscribed, name).collect();
        let settled = came
            .iter()
            .any(|delivery| delivery.settled.is_some_and(|at| at <= result_at));
        if let Some(group) = &subscribed.wanted.group {
            let party = parties
                .entry(party(scenario, group))
                .or_insert((0, false, true));
            party.0 += came.len();
            party.1 |= stays(subscribed, sent.at);
            party.2 &= came.is_empty() || settled;
            continue;
        }
        if came.len() > 1 {
            wrong.push(format!(
                "subscription {client}/{number} got {name:?} {} times",
                came.len()
            ));
        }
        if owed && stays(subscribed, sent.at) {
            if came.is_empty() {
                wrong.push(format!(
                    "subscription {client}/{number} missed {name:?}, which was {result:?}"
                ));
            } else if processed && !settled {
                wrong.push(format!(
                    "message {name:?} was processed before {client}/{number} settled it"
                ));
            }
        }
    }
    for (party, (count, stays, settled)) in parties {
        // When a member leaves, what it was sent may come again to another.
        if count > 1 && !scenario.shape.churn {
            wrong.push(format!("group {party} got {name:?} {count} times"));
        }
        let due = owed && stays && (processed || !scenario.shape.churn);
        if due && count == 0 {
            wrong.push(format!(
                "group {party} missed {name:?}, which was {result:?}"
            ));
        }
        if processed && !settled && !scenario.shape.churn {
            wrong.push(format!(
                "message {name:?} was processed before group {party} settled it"
            ));
        }
    }
    if publication.request && result.is_ok() {
        let replies = sent
            .answers
            .iter()
            .filter(|answer| **answer == Answer::Reply)
            .count();
        if replies > 1 || replies == 0 && sent.cancelled.is_none() {
            wrong.push(format!("request {name:?} was answered {replies} times"));
        }
    }
}

/// Longest time that a cancel is under way.
const CANCEL_WAY: Duration = Duration::from_secs(1);

/// What was given up is not handed to anybody once everybody knows, and leaves nothing behind.
fn cancelled(
    scenario: &Scenario,
    subscriptions: &[Named<'_>],
    messages: &[(Name, &Sent)],
    wrong: &mut Vec<String>,
) {
    for (name, sent) in messages {
        let Some(at) = sent.cancelled else { continue };
        for (client, number, subscribed) in subscriptions {
            if copies(subscribed, *name).any(|delivery| delivery.at > at + CANCEL_WAY) {
                wrong.push(format!(
                    "subscription {client}/{number} got {name:?} long after it was cancelled"
                ));
            }
        }
    }
    for place in &scenario.world.nodes {
        let Some(core) = &place.core else { continue };
        let left = core.report(scenario.world.now).requests;
        if left > 0 {
            wrong.push(format!(
                "{} still follows {left} requests",
                place.config.name
            ));
        }
    }
}

/// How many messages guards refused whose publishers were not told, by the ledgers of the nodes.
fn refused_untold(scenario: &Scenario, messages: &[(Name, &Sent)]) -> u64 {
    let name = Failure::Limited { retry_after: 0 }.name();
    let ledgers = scenario
        .world
        .nodes
        .iter()
        .filter_map(|place| Some(place.core.as_ref()?.ledger()));
    let refused: u64 = ledgers
        .filter_map(|ledger| ledger.dead.get(name).copied())
        .sum();
    let is_told = |sent: &Sent| matches!(sent.result, Some((_, Err(Failure::Limited { .. }))));
    let told = messages.iter().filter(|(_, sent)| is_told(sent)).count();
    refused.saturating_sub(told as u64)
}

/// What counts towards a loss.
fn missing_counted(ledger: &NodeLedger) -> u64 {
    ledger.lost
        + ledger.dead.values().sum::<u64>()
        + ledger.shed.values().sum::<u64>()
        + ledger.expired
}

/// With a crash: what a subscription misses was counted somewhere, and a processed message is never among it.
fn bounded_loss(
    scenario: &Scenario,
    subscriptions: &[Named<'_>],
    messages: &[(Name, &Sent)],
    wrong: &mut Vec<String>,
) {
    let places = &scenario.world.nodes;
    let ledgers = places.iter().flat_map(|place| {
        place
            .former
            .iter()
            .cloned()
            .chain(place.core.as_ref().map(mcpbus::node::NodeCore::ledger))
    });
    let counted: u64 = ledgers.map(|ledger| missing_counted(&ledger)).sum::<u64>()
        + scenario
            .world
            .clients
            .iter()
            .map(|client| client.lost)
            .sum::<u64>();
    let crashed: Vec<usize> = (0..places.len())
        .filter(|node| !places[*node].former.is_empty())
        .collect();
    for (client, number, subscribed) in subscriptions {
        // A subscriber of the node that died is none until it has subscribed again.
        if subscribed.wanted.group.is_some() || crashed.contains(&scenario.homes[*client]) {
            continue;
        }
        let came: BTreeSet<Name> = subscribed
            .deliveries
            .iter()
            .map(|delivery| delivery.message)
            .collect();
        let mut missing = 0;
        for (name, sent) in messages {
            let due = takes(&subscribed.wanted.pattern, &sent.publication.subject)
                && stays(subscribed, sent.at)
                && sent.publication.time_to_live.is_none();
            let Some((_, result)) = sent.result else {
                wrong.push(format!("message {name:?} has no result"));
                continue;
            };
            if !due || came.contains(name) || !matches!(result, Ok(()) | Err(Failure::Rejected)) {
                continue;
            }
            missing += 1;
            let away = crashed.contains(&scenario.homes[name.0]);
            if sent.publication.level == Level::Processed && result.is_ok() && !away {
                wrong.push(format!(
                    "subscription {client}/{number} missed {name:?}, which was processed"
                ));
            }
        }
        if missing > counted {
            wrong.push(format!(
                "subscription {client}/{number} misses {missing} messages, {counted} are counted"
            ));
        }
    }
}

fn ledgers(scenario: &Scenario, crashed: bool, wrong: &mut Vec<String>) {
    for place in &scenario.world.nodes {
        let Some(core) = &place.core else { continue };
        let ledger = core.ledger();
        if ledger.held != 0 {
            wrong.push(format!("{} still holds {}", place.config.name, ledger.held));
        }
        let restarted = scenario
            .world
            .clients
            .iter()
            .any(|client| client.restarts > 0);
        // A peer that is given up may have what nobody knows of.
        let given_up = scenario.shape.short_hold;
        if ledger.lost != 0 && !crashed && !restarted && !given_up {
            wrong.push(format!(
                "{} lost {} although nobody died",
                place.config.name, ledger.lost
            ));
        }
    }
}
