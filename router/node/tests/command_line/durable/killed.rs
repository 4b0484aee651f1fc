//! Processes killed in random order under traffic that is stored.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::time::Instant;

use super::chain::Chain;
use super::ledger::{Chance, duplicates, number_of};
use super::publisher::{IN_FLIGHT, KEYS, Publisher};
use super::subscriber::Subscriber;

/// Messages of a queue that a node has in memory, at most, and as many are a subscriber's window.
const WINDOW: u64 = 1_024;

/// How many lines the publisher may be ahead of the subscriber before the next kill.
const LEAD: u64 = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Publisher,
    NodeA,
    NodeB,
    Subscriber,
}

impl Victim {
    const ALL: [Self; 4] = [Self::Publisher, Self::NodeA, Self::NodeB, Self::Subscriber];

    /// How many messages its death may double.
    ///
    /// - A publisher's lines without a receipt are sent again under another identity.
    /// - A subscriber has printed at most its window without its node knowing that.
    /// - The subscriber's node has handed on at most what was in memory of its queue when the commit under way began,
    ///   and as much again while it was under way, without the disk knowing that it was settled.
    /// - The publisher's node doubles nothing: what it sends again is marked, and the other node looks whether it has it.
    ///
    /// It shows only as a sum, as a kill often comes before an earlier one is over.
    fn in_flight(self) -> u64 {
        match self {
            Self::Publisher => IN_FLIGHT,
            Self::Subscriber => WINDOW,
            Self::NodeB => 2 * WINDOW,
            Self::NodeA => 0,
        }
    }
}

/// Every one in turn, in random order: a deck of cards.
fn deck(kills: u64, chance: &mut Chance) -> Vec<Victim> {
    let mut deck: Vec<Victim> = Victim::ALL
        .into_iter()
        .cycle()
        .take(kills as usize)
        .collect();
    for last in (1..deck.len()).rev() {
        deck.swap(last, chance.below(last as u64 + 1) as usize);
    }
    deck
}

/// Repeats by the last kill before each: only for people, as an earlier kill may be the cause.
fn by_victim(printed: &[u64], killed: &[(usize, Victim)]) -> Vec<(Victim, usize)> {
    let mut seen = HashSet::new();
    let repeats: Vec<usize> = (0..printed.len())
        .filter(|at| !seen.insert(printed[*at]))
        .collect();
    let last = |at: &usize| {
        let kills = killed.partition_point(|(before, _)| before <= at);
        kills.checked_sub(1).map(|kill| killed[kill].1)
    };
    let count = |victim| repeats.iter().filter(|at| last(at) == Some(victim)).count();
    Victim::ALL.map(|victim| (victim, count(victim))).to_vec()
}

#[test]
fn what_is_stored_outlives_every_process() {
    let kills = number_of("MCPBUS_DURABLE_KILLS", 20);
    let mut chance = Chance::from_environment();
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::start(folder.path());
    let mut subscriber = Subscriber::durable(folder.path(), &chain.b.address);
    let mut publisher = Publisher::start(folder.path(), &chain.a.address, "stored");
    let (started, mut in_flight) = (Instant::now(), 0);
    let mut killed = Vec::new();
    for (at, victim) in deck(kills, &mut chance).into_iter().enumerate() {
        // What is published ahead of the subscriber must find room in the spools.
        let behind = publisher.acknowledged().saturating_sub(LEAD);
        if behind > 0 {
            subscriber.wait_for(behind, || chain.said());
        }
        // One of four comes before anything was printed since the last.
        if chance.below(4) > 0 {
            let bytes = 1 + chance.below(20_000);
            subscriber.wait_for_more(bytes, || {
                format!("{}\npub: {}", chain.said(), publisher.said())
            });
        }
        let long = chance.below(3) == 0;
        let (lines, printed) = (publisher.acknowledged(), subscriber.length());
        println!(
            "{at}: {victim:?}, {lines} lines, {printed} bytes printed, {:?}",
            started.elapsed()
        );
        match victim {
            Victim::Publisher => {
                let lines = publisher.kill();
                assert!(lines <= victim.in_flight(), "{lines} in flight");
                publisher.restart();
            }
            Victim::NodeA => {
                chain.a.kill();
                chain.a.restart();
            }
            Victim::NodeB => {
                chain.b.kill();
                if long {
                    publisher.wait_for_more(2 * IN_FLIGHT);
                }
                chain.b.restart();
            }
            Victim::Subscriber => {
                subscriber.kill();
                if long {
                    publisher.wait_for_more(2 * IN_FLIGHT);
                }
                subscriber.restart();
            }
        }
        in_flight += victim.in_flight();
        killed.push((subscriber.lines(), victim));
    }
    let (lines, _) = publisher.finish();
    // Each key keeps its order: everything is there when the last line of each is.
    for number in lines.saturating_sub(KEYS)..lines {
        subscriber.wait_for(number, || chain.said());
    }
    let printed = subscriber.printed();
    let doubled = duplicates(&printed, lines);
    println!(
        "{kills} kills, {lines} lines acknowledged, {doubled} printed again (at most {in_flight}), {:?}",
        started.elapsed()
    );
    println!(
        "printed again, by who was killed last before: {:?}",
        by_victim(&printed, &killed)
    );
    assert!(
        doubled <= in_flight,
        "{doubled} duplicates, {in_flight} in flight"
    );
    subscriber.stop();
    chain.a.stop();
    chain.b.stop();
}
