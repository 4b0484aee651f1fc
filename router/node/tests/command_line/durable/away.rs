//! A subscriber, a link and everything that is away for a while.
#![allow(clippy::unwrap_used)]

use super::chain::Chain;
use super::ledger::duplicates;
use super::publisher::{KEYS, Publisher};
use super::subscriber::Subscriber;

/// Lines that are published while something is away: more than what any window or queue in memory holds.
const AWAY: u64 = 5_000;

#[test]
fn publishing_goes_on_while_the_subscriber_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::start(folder.path());
    let mut subscriber = Subscriber::durable(folder.path(), &chain.b.address);
    let publisher = Publisher::start(folder.path(), &chain.a.address, "stored");
    subscriber.wait_for(100, || chain.said());
    subscriber.stop();
    let printed = subscriber.printed();
    publisher.wait_for_more(AWAY);
    assert_eq!(subscriber.printed(), printed, "nobody is there to print");
    subscriber.restart();
    let (lines, _) = publisher.finish();
    for number in lines.saturating_sub(KEYS)..lines {
        subscriber.wait_for(number, || chain.said());
    }
    assert_eq!(duplicates(&subscriber.printed(), lines), 0, "nobody died");
    subscriber.stop();
    chain.a.stop();
    chain.b.stop();
}

#[test]
fn publishing_goes_on_while_the_other_node_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::start(folder.path());
    let mut subscriber = Subscriber::durable(folder.path(), &chain.b.address);
    let publisher = Publisher::start(folder.path(), &chain.a.address, "stored");
    subscriber.wait_for(100, || chain.said());
    chain.b.stop();
    publisher.wait_for_more(AWAY);
    chain.b.restart();
    let (lines, _) = publisher.finish();
    for number in lines.saturating_sub(KEYS)..lines {
        subscriber.wait_for(number, || chain.said());
    }
    let doubled = duplicates(&subscriber.printed(), lines);
    println!("{lines} lines, {doubled} printed again");
    subscriber.stop();
    chain.a.stop();
    chain.b.stop();
}

/// Everything ends well, in whichever order, and goes on with exactly what was not printed.
#[test]
fn after_a_restart_of_everything_what_was_not_printed_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::start(folder.path());
    let mut subscriber = Subscriber::durable(folder.path(), &chain.b.address);
    let publisher = Publisher::start(folder.path(), &chain.a.address, "stored");
    subscriber.wait_for(1_000, || chain.said());
    subscriber.stop();
    publisher.wait_for_more(AWAY);
    let (lines, _) = publisher.finish();
    let before = subscriber.printed();
    assert!((before.len() as u64) < lines, "something is left to print");
    chain.a.stop();
    chain.b.stop();
    // A first: it knows whom its messages are for before B is there.
    chain.a.restart();
    chain.b.restart();
    subscriber.restart();
    for number in lines.saturating_sub(KEYS)..lines {
        subscriber.wait_for(number, || chain.said());
    }
    let printed = subscriber.printed();
    let doubled = duplicates(&printed, lines);
    assert_eq!(doubled, 0, "{} before", before.len());
    subscriber.stop();
    chain.a.stop();
    chain.b.stop();
}
