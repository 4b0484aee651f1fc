//! The link between the nodes cut, again and again, while everybody lives.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcpbus_tests::relay::{RelayImpairment, UdpRelay};

use super::chain::{Chain, Stored, file};
use super::ledger::{Chance, duplicates, number_of};
use super::publisher::{KEYS, Publisher};
use super::subscriber::Subscriber;

/// Lines that are published around a cut at most, so that long ones leave no mountain of lines.
const PER_CUT: u64 = 20_000;

/// Cuts of 100 ms to `longest`; everything is printed once.
fn exactly_once_over_cuts(level: &'static str, subscription: &[&str], longest: u64) {
    let cuts = number_of("MCPBUS_DURABLE_CUTS", 10);
    let mut chance = Chance::from_environment();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let b = Stored::start(folder, file(folder, "b", "64MiB", ""));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = UdpRelay::start(
        listen,
        b.address.parse().unwrap(),
        RelayImpairment::default(),
    )
    .unwrap();
    let mut chain = Chain::with_way(folder, b, &relay.address().to_string());
    let mut subscriber = Subscriber::start(folder, &chain.b.address, subscription);
    let publisher = Publisher::start(folder, &chain.a.address, level);
    let (started, mut dark) = (Instant::now(), Duration::ZERO);
    let said = |chain: &Chain| format!("{}\npub: {}", chain.said(), publisher.said());
    for at in 0..cuts {
        publisher.allow(PER_CUT);
        subscriber.wait_for_more(1 + chance.below(10_000), || said(&chain));
        let cut = Duration::from_millis(100 + chance.below(longest - 100));
        dark += cut;
        println!(
            "{at}: {cut:?} after {} lines, {:?}",
            publisher.acknowledged(),
            started.elapsed()
        );
        relay.cut(cut);
        // What was not written when the cut began can be printed only when it is over.
        let behind = publisher.written() + KEYS;
        publisher.allow(PER_CUT);
        subscriber.wait_for(behind, || said(&chain));
    }
    let (lines, _) = publisher.finish();
    for number in lines.saturating_sub(KEYS)..lines {
        subscriber.wait_for(number, || chain.said());
    }
    let doubled = duplicates(&subscriber.printed(), lines);
    let (there, back) = relay.counts();
    println!(
        "{level}: {cuts} cuts, {dark:?} in all, {lines} lines, {doubled} doubled, {} datagrams cut, {:?}",
        there.cut + back.cut,
        started.elapsed()
    );
    assert_eq!(doubled, 0, "nobody died");
    assert!(there.cut > 0 && back.cut > 0, "{there:?} {back:?}");
    subscriber.stop();
    chain.a.stop();
    chain.b.stop();
}

#[test]
fn what_is_stored_is_printed_once_over_cuts() {
    let longest = number_of("MCPBUS_DURABLE_CUT_LONGEST", 3_000);
    exactly_once_over_cuts("stored", &["--subject", "d.*", "--durable", "all"], longest);
}

/// Shorter than 15 s, after which a node gives up messages in memory for a node that is out of reach.
#[test]
fn what_is_accepted_is_printed_once_over_cuts() {
    let longest = number_of("MCPBUS_DURABLE_CUT_LONGEST", 3_000).min(10_000);
    exactly_once_over_cuts("accepted", &["--subject", "d.*"], longest);
}
