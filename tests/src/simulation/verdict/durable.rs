//! What durable subscriptions are promised.

use super::{Name, Named, copies, takes};
use crate::simulation::client::{Sent, Subscribed};
use crate::simulation::scenario::Scenario;
use crate::simulation::script::{Level, Reaction};
use mcpbus::Failure;
use mcpbus_actors::Time;
use std::collections::{BTreeMap, BTreeSet};

/// A durable subscription, by its name: whoever has taken it, one after the other.
struct Durable<'a> {
    takers: Vec<&'a Named<'a>>,
}

impl Durable<'_> {
    /// Whether it was there when the message was published, and stayed.
    fn stays(&self, at: Time) -> bool {
        let known = |known: &Subscribed| known.ready.is_some_and(|ready| ready <= at);
        self.takers
            .iter()
            .any(|(_, _, subscribed)| known(subscribed))
            && !self.is_deleted()
    }

    fn is_deleted(&self) -> bool {
        let mut takers = self.takers.iter();
        takers.any(|(_, _, subscribed)| subscribed.ended.is_some())
    }

    /// Whether one who took it died, or left what it had to another.
    fn is_torn(&self, scenario: &Scenario) -> bool {
        let clients = &scenario.world.clients;
        let died = |client: usize| clients[client].restarts + clients[client].resets > 0;
        self.takers.len() > 1 || self.takers.iter().any(|(client, ..)| died(*client))
    }

    fn came(&self, name: Name) -> usize {
        let takers = self.takers.iter();
        takers
            .map(|(_, _, known)| copies(known, name).count())
            .sum()
    }

    /// When it was first settled.
    fn settled(&self, name: Name) -> Option<Time> {
        let takers = self.takers.iter();
        let settled = takers.flat_map(|(_, _, known)| copies(known, name));
        settled.filter_map(|delivery| delivery.settled).min()
    }

    fn place(&self) -> (usize, usize) {
        let (client, number, _) = self.takers[0];
        (*client, *number)
    }
}

/// What was acknowledged as stored reaches every durable subscription that was there; nothing is doubled without a cause.
pub(super) fn kept(
    scenario: &Scenario,
    subscriptions: &[Named<'_>],
    messages: &[(Name, &Sent)],
    wrong: &mut Vec<String>,
) {
    let mut durable: BTreeMap<&str, Durable<'_>> = BTreeMap::new();
    for named in subscriptions {
        if let Some(name) = &named.2.wanted.durable {
            let takers = Vec::new();
            let known = durable.entry(name).or_insert(Durable { takers });
            known.takers.push(named);
        }
    }
    let crashed = super::has_crashed(scenario);
    let mut missing = Vec::new();
    for (name, sent) in messages {
        let Some((result_at, result)) = sent.result else {
            wrong.push(format!("message {name:?} has no result"));
            continue;
        };
        let publication = &sent.publication;
        let refused = scenario.shape.disk_faults || scenario.shape.small_spools;
        let excused = refused && matches!(result, Err(Failure::SpoolFull | Failure::NoSpool));
        let takers: Vec<&Durable<'_>> = durable
            .values()
            .filter(|known| takes(&known.takers[0].2.wanted.pattern, &publication.subject))
            .collect();
        let stored = publication.level == Level::Stored && result == Ok(());
        let known = takers.iter().any(|known| known.stays(sent.at));
        if known && publication.level == Level::Stored && result.is_err() && !excused {
            wrong.push(format!("message {name:?} was refused with {result:?}"));
        }
        for taker in takers {
            let (client, number) = taker.place();
            let came = taker.came(*name);
            // A node that was cut off when the subscription was made could not know of it.
            let cut_off = scenario.shape.lives && scenario.node_links_cut > 1;
            // Without a crash what was accepted is as safe as what was stored.
            let owed = stored
                || !crashed
                    && publication.level != Level::None
                    && matches!(result, Ok(()) | Err(Failure::Rejected));
            // Of several failures the first is told: one subscriber refused it, and the peer behind which another is was given up.
            let told_first = scenario.shape.short_hold
                && publication.level == Level::Processed
                && result == Err(Failure::Rejected);
            if owed && taker.stays(sent.at) && came == 0 && !cut_off && !told_first {
                let what = format!(
                    "durable {client}/{number} missed {name:?}, {:?}, which was {result:?}",
                    publication.level
                );
                missing.push((*name, what));
            }
            if cut_off && came == 0 {
                continue;
            }
            // A peer that is away for too long is given up; what it had not answered is sent anew.
            let torn = taker.is_torn(scenario) || scenario.shape.short_hold;
            let settled = taker.settled(*name);
            if came > 0 && settled.is_none() && !taker.is_deleted() {
                let what = format!(
                    "durable {client}/{number} never settled {name:?}, which came {came} times"
                );
                missing.push((*name, what));
            }
            if came > 1 && !crashed && !torn {
                wrong.push(format!(
                    "durable {client}/{number} got {name:?} {came} times"
                ));
            }
            let processed = publication.level == Level::Processed && result == Ok(());
            let early = settled.is_none_or(|settled| settled > result_at);
            if processed && !crashed && !torn && taker.stays(sent.at) && early {
                wrong.push(format!(
                    "message {name:?} was processed before durable {client}/{number} settled it"
                ));
            }
        }
    }
    damaged(scenario, &missing, wrong);
    refused_after_failed_sync(scenario, messages, wrong);
    dead_letters(scenario, durable.values(), crashed, wrong);
    for known in durable.values() {
        let present = known.takers.iter();
        let present = present.filter(|(_, _, subscribed)| subscribed.taken.is_none());
        if present.count() > 1 {
            let (client, number) = known.place();
            wrong.push(format!(
                "durable {client}/{number} has several takers at once"
            ));
        }
    }
}

/// Nothing is missing but what was damaged on a disk, and that is counted.
fn damaged(scenario: &Scenario, missing: &[(Name, String)], wrong: &mut Vec<String>) {
    let cores = scenario.world.nodes.iter().filter_map(|place| {
        let ledger = place.core.as_ref()?.spool_ledger()?;
        ledger.dead.get(Failure::Corrupt.name()).copied()
    });
    let counted: u64 = cores.sum();
    let disks = scenario.world.nodes.iter();
    let damaged: u64 = disks
        .filter_map(|place| Some(place.disk.as_ref()?.damaged))
        .sum();
    // What is kept for another node is kept once for all of its subscriptions.
    let names: BTreeSet<Name> = missing.iter().map(|(name, _)| *name).collect();
    if damaged == 0 || names.len() as u64 > counted {
        wrong.extend(missing.iter().map(|(_, what)| what.clone()));
    }
    if damaged == 0 && counted > 0 {
        wrong.push(format!("{counted} messages count as damaged, none was"));
    }
}

/// Between a failed sync and the next start of its node nothing is answered as stored.
fn refused_after_failed_sync(
    scenario: &Scenario,
    messages: &[(Name, &Sent)],
    wrong: &mut Vec<String>,
) {
    for (name, sent) in messages {
        let disk = &scenario.world.nodes[scenario.homes[name.0]].disk;
        let Some((at, Ok(()))) = sent.result else {
            continue;
        };
        let failed = disk.iter().flat_map(|disk| &disk.failed);
        let stored = sent.publication.level == Level::Stored;
        let mut failed = failed.filter(|(from, until)| sent.at > *from && at < *until);
        if stored && failed.next().is_some() {
            wrong.push(format!("message {name:?} was stored after a failed sync"));
        }
    }
}

/// What a durable subscription has rejected is kept, once, where no node died.
fn dead_letters<'a>(
    scenario: &Scenario,
    durable: impl Iterator<Item = &'a Durable<'a>>,
    crashed: bool,
    wrong: &mut Vec<String>,
) {
    let mut rejected = 0;
    let mut torn = crashed || scenario.shape.short_hold;
    for known in durable {
        for (_, _, subscribed) in &known.takers {
            let deliveries = subscribed.deliveries.iter();
            let settled = deliveries.filter(|delivery| delivery.settled.is_some());
            let names: BTreeSet<Name> = settled.map(|delivery| delivery.message).collect();
            if subscribed.wanted.reaction == Reaction::Reject {
                rejected += names.len() as u64;
                torn |= known.is_torn(scenario) || known.is_deleted();
            }
        }
    }
    let now = scenario.world.now;
    let cores = scenario.world.nodes.iter();
    let reports = cores.filter_map(|place| place.core.as_ref()?.report(now).spool);
    let kept: u64 = reports.map(|report| report.dead_letters).sum();
    // Around a death a message may be rejected and not be known as such; a repeat may be rejected too.
    if kept != rejected && !torn || kept > 0 && rejected == 0 && !crashed {
        wrong.push(format!(
            "{rejected} messages were rejected, {kept} dead letters are kept"
        ));
    }
}
