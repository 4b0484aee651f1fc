//! What must be true when a run is over.

use super::draw::{Message, Plan, Work};
use super::traffic::{Done, body};
use mcpbus::client::ClientStats;
use mcpbus::node::NodeLedger;
use mcpbus_tests::simulation::verdict::takes;
use std::collections::BTreeMap;

/// Who gets a message once: a subscriber by its place, or one of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    One(usize),
    Group(&'static str),
}

fn party(plan: &Plan, place: usize) -> Option<(Party, &'static str)> {
    match &plan.clients[place].work {
        Work::Subscribe { pattern, group, .. } => {
            let party = group.map_or(Party::One(place), Party::Group);
            Some((party, pattern))
        }
        Work::Publish { .. } => None,
    }
}

/// All messages of a plan: publisher, number, and what is sent.
fn messages(plan: &Plan) -> impl Iterator<Item = (usize, usize, &Message)> {
    plan.clients.iter().enumerate().flat_map(|(place, client)| {
        let messages = match &client.work {
            Work::Publish { messages, .. } => &messages[..],
            Work::Subscribe { .. } => &[],
        };
        let numbered = messages.iter().enumerate();
        numbered.map(move |(number, message)| (place, number, message))
    })
}

/// To how many a message goes, each once.
fn parties(plan: &Plan, message: &Message) -> BTreeMap<Party, usize> {
    (0..plan.clients.len())
        .filter_map(|place| party(plan, place))
        .filter(|(_, pattern)| takes(pattern, message.subject))
        .map(|(party, _)| (party, 0))
        .collect()
}

/// How many deliveries a plan comes to.
pub(crate) fn expected(plan: &Plan) -> usize {
    messages(plan)
        .map(|(_, _, message)| parties(plan, message).len())
        .sum()
}

/// Everything that was promised and did not come true; empty if all is well.
pub(crate) fn judge(
    plan: &Plan,
    dones: &[Done],
    ledgers: &[NodeLedger],
    stats: &[ClientStats],
) -> Vec<String> {
    let mut wrong: Vec<String> = dones.iter().flat_map(|done| done.wrong.clone()).collect();
    for (place, done) in dones.iter().enumerate() {
        order(plan, place, done, &mut wrong);
    }
    for (publisher, number, message) in messages(plan) {
        let result = dones[publisher].results.get(number).cloned().flatten();
        if result != Some(Ok(())) {
            wrong.push(format!(
                "message {publisher}/{number} ended with {result:?}"
            ));
        }
        let length = body(publisher, number, message.size).len();
        let mut counts = parties(plan, message);
        for (place, done) in dones.iter().enumerate() {
            let Some((party, _)) = party(plan, place) else {
                continue;
            };
            for got in &done.got {
                if (got.publisher, got.number) != (publisher, number) {
                    continue;
                }
                if !got.whole || got.length != length {
                    wrong.push(format!(
                        "{party:?} got message {publisher}/{number} changed"
                    ));
                }
                match counts.get_mut(&party) {
                    Some(count) => *count += 1,
                    None => wrong.push(format!(
                        "{party:?} got {publisher}/{number} of another subject"
                    )),
                }
            }
        }
        for (party, count) in counts.into_iter().filter(|(_, count)| *count != 1) {
            wrong.push(format!(
                "{party:?} got message {publisher}/{number} {count} times"
            ));
        }
    }
    for (node, ledger) in ledgers.iter().enumerate() {
        if ledger.residual() != 0 || ledger.held != 0 || ledger.lost != 0 {
            wrong.push(format!(
                "node {node}: residual {} of {ledger:?}",
                ledger.residual()
            ));
        }
    }
    for stats in stats {
        if stats.resets != 0 || stats.lost != 0 {
            wrong.push(format!(
                "a client was forgotten although no node died: {stats:?}"
            ));
        }
    }
    wrong
}

/// Messages of one publisher, subject and key come in the order in which they were sent.
fn order(plan: &Plan, place: usize, done: &Done, wrong: &mut Vec<String>) {
    let mut last: BTreeMap<(usize, &str, u64), usize> = BTreeMap::new();
    for got in &done.got {
        let sent = plan
            .clients
            .get(got.publisher)
            .and_then(|client| match &client.work {
                Work::Publish { messages, .. } => messages.get(got.number),
                Work::Subscribe { .. } => None,
            });
        let Some(sent) = sent else {
            wrong.push(format!("client {place} got {got:?}, which nobody sent"));
            continue;
        };
        let stream = (got.publisher, sent.subject, sent.key);
        if let Some(earlier) = last.insert(stream, got.number)
            && earlier >= got.number
        {
            let (publisher, number) = (got.publisher, got.number);
            wrong.push(format!(
                "client {place} got {publisher}/{number} behind {earlier} of its subject and key"
            ));
        }
    }
}
