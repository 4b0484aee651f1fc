//! Statistics against the configuration, laws for any configuration.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use mcpbus_actors::Time;
use proptest::prelude::*;

use super::*;

const MANY: u64 = 100_000;

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

/// A datagram that says its number twice, so that a changed bit always shows.
fn datagram(number: u64, length: usize) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend_from_slice(&number.wrapping_mul(0x9e37_79b9).to_le_bytes());
    bytes.resize(length.max(8), 7);
    bytes.into()
}

fn number(bytes: &Bytes) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// Sends datagrams at this interval: what arrives when, in the order of arrival, and the counts.
fn run(
    config: ImpairmentConfig,
    seed: u64,
    count: u64,
    every: Duration,
) -> (Vec<(Time, Bytes)>, ImpairmentCounts) {
    let mut impairment = Impairment::new(config, seed).unwrap();
    let mut arrived = Vec::new();
    for sent in 0..count {
        let now = Time::ZERO + every * u32::try_from(sent).unwrap();
        impairment.decide(now, datagram(sent, 100), |at, bytes| {
            arrived.push((at, bytes))
        });
    }
    arrived.sort_by_key(|(at, _)| *at);
    (arrived, impairment.counts())
}

fn near(found: u64, wanted: f64) -> bool {
    let found = found as f64 / MANY as f64;
    (found - wanted).abs() <= 0.1 * wanted + 0.0005
}

#[test]
fn nothing_happens_by_default() {
    let (arrived, counts) = run(ImpairmentConfig::default(), 1, 100, Duration::ZERO);
    let numbers: Vec<u64> = arrived.iter().map(|(_, bytes)| number(bytes)).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert!(arrived.iter().all(|(at, _)| *at == Time::ZERO));
    assert_eq!((counts.offered, counts.passed), (100, 100));
}

#[test]
fn shares_are_those_of_the_configuration() {
    let config = ImpairmentConfig {
        delay: Duration::from_millis(50),
        loss: 0.05,
        duplicate: 0.01,
        corrupt: 0.02,
        reorder: 0.03,
        reorder_by: Duration::from_millis(10),
        ..ImpairmentConfig::default()
    };
    let (arrived, counts) = run(config, 7, MANY, Duration::from_millis(1));
    assert!(near(counts.lost, 0.05), "{counts:?}");
    assert!(near(counts.duplicated, 0.01 * 0.95), "{counts:?}");
    assert!(near(counts.corrupted, 0.02 * 0.96), "{counts:?}");
    assert!(near(counts.reordered, 0.03 * 0.95), "{counts:?}");
    let changed = arrived.iter().filter(|(_, bytes)| {
        let sent = number(bytes);
        sent >= MANY || *bytes != datagram(sent, 100)
    });
    assert_eq!(changed.count() as u64, counts.corrupted);
    let overtaken = arrived
        .windows(2)
        .filter(|pair| number(&pair[0].1) > number(&pair[1].1))
        .count() as u64;
    assert!(overtaken > counts.reordered / 2, "{overtaken} {counts:?}");
}

#[test]
fn bursts_have_their_length_and_share() {
    let bursts = BurstLoss {
        begins: 0.005,
        ends: 0.1,
        loss: 1.0,
        longest: Duration::MAX,
    };
    let config = ImpairmentConfig {
        bursts: Some(bursts),
        ..ImpairmentConfig::default()
    };
    let (arrived, counts) = run(config, 3, MANY, Duration::ZERO);
    assert!(
        near(counts.lost_in_bursts, bursts.mean_loss()),
        "{counts:?}"
    );
    let gaps = arrived
        .windows(2)
        .map(|pair| number(&pair[1].1) - number(&pair[0].1) - 1)
        .filter(|gap| *gap > 0);
    let (bursts, lost) = gaps.fold((0, 0), |(bursts, lost), gap| (bursts + 1, lost + gap));
    let mean = lost as f64 / f64::from(bursts);
    assert!((9.0..11.0).contains(&mean), "{mean}");
}

#[test]
fn a_burst_on_a_quiet_path_ends_by_time() {
    let config = ImpairmentConfig {
        bursts: Some(BurstLoss {
            begins: 1.0,
            ends: 0.0,
            loss: 1.0,
            longest: Duration::from_millis(25),
        }),
        ..ImpairmentConfig::default()
    };
    let mut impairment = Impairment::new(config, 1).unwrap();
    let mut arrived = 0;
    impairment.decide(at(0), datagram(0, 16), |_, _| arrived += 1);
    impairment.decide(at(24), datagram(1, 16), |_, _| arrived += 1);
    assert_eq!(
        (arrived, impairment.bad_for(at(24))),
        (0, Some(Duration::from_millis(24)))
    );
    // Over at 25; this path then begins the next at once.
    impairment.decide(at(30), datagram(2, 16), |_, _| arrived += 1);
    assert_eq!(impairment.bad_for(at(30)), Some(Duration::ZERO));
}

#[test]
fn the_delay_has_its_range_and_keeps_the_order() {
    let config = ImpairmentConfig {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(20),
        ..ImpairmentConfig::default()
    };
    let every = Duration::from_millis(100);
    let (arrived, _) = run(config.clone(), 5, 10_000, every);
    let delays: Vec<f64> = arrived
        .iter()
        .zip(0_u32..)
        .map(|((at, _), sent)| {
            at.saturating_since(Time::ZERO + every * sent).as_secs_f64() * 1000.0
        })
        .collect();
    assert!(delays.iter().all(|delay| (30.0..=70.0).contains(delay)));
    let mean = delays.iter().sum::<f64>() / delays.len() as f64;
    assert!((49.0..51.0).contains(&mean), "{mean}");
    let (dense, _) = run(config, 5, 10_000, Duration::from_millis(1));
    assert!(dense.is_sorted_by_key(|(_, bytes)| number(bytes)));
}

#[test]
fn a_rate_spreads_what_comes_at_once_and_its_queue_is_bounded() {
    let config = ImpairmentConfig {
        rate: Some(RateLimit {
            bytes_per_second: 100_000,
            queue_bytes: 1_000,
        }),
        ..ImpairmentConfig::default()
    };
    let (arrived, counts) = run(config, 1, 50, Duration::ZERO);
    let times: Vec<Time> = arrived.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, (1..=10).map(at).collect::<Vec<_>>());
    assert_eq!((counts.passed, counts.queue_full), (10, 40));
    // One datagram that is larger than the queue still leaves.
    let small = ImpairmentConfig {
        rate: Some(RateLimit {
            bytes_per_second: 100_000,
            queue_bytes: 10,
        }),
        ..ImpairmentConfig::default()
    };
    let (arrived, _) = run(small, 1, 3, Duration::from_millis(1));
    assert_eq!(arrived.len(), 3);
}

#[test]
fn a_cut_drops_what_leaves_and_what_arrives_in_it() {
    let config = ImpairmentConfig {
        delay: Duration::from_millis(10),
        ..ImpairmentConfig::default()
    };
    let mut path = ImpairedPath::new(Impairment::new(config, 1).unwrap());
    for number in 0..50 {
        if number == 20 {
            // The one that left at 5 arrives at 15, before; those from 10 on would arrive in it.
            path.cut(at(20), at(30));
        }
        path.send(at(number), (), datagram(number, 8));
    }
    let mut arrived = Vec::new();
    while let Some(((), bytes)) = path.receive(at(1000)) {
        arrived.push(number(&bytes));
    }
    let wanted: Vec<u64> = (0..10).chain(30..50).collect();
    assert_eq!(arrived, wanted);
    assert_eq!((path.counts().cut, path.counts().passed), (20, 30));
}

#[test]
fn what_is_under_way_is_bounded() {
    let config = ImpairmentConfig {
        delay: Duration::from_secs(1),
        ..ImpairmentConfig::default()
    };
    let mut path = ImpairedPath::new(Impairment::new(config, 1).unwrap());
    let large = Bytes::from(vec![0; UNDER_WAY_BYTES / 4]);
    for _ in 0..6 {
        path.send(Time::ZERO, (), large.clone());
    }
    assert_eq!((path.under_way(), path.counts().queue_full), (4, 2));
    assert!(path.receive(at(999)).is_none());
    assert!(path.receive(at(1000)).is_some());
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let default = ImpairmentConfig::default;
    let wrong = [
        (
            "loss",
            ImpairmentConfig {
                loss: 1.5,
                ..default()
            },
        ),
        (
            "corrupt",
            ImpairmentConfig {
                corrupt: f64::NAN,
                ..default()
            },
        ),
        (
            "jitter",
            ImpairmentConfig {
                jitter: Duration::from_millis(1),
                ..default()
            },
        ),
        (
            "rate",
            ImpairmentConfig {
                rate: Some(RateLimit {
                    bytes_per_second: 0,
                    queue_bytes: 1,
                }),
                ..default()
            },
        ),
    ];
    for (field, config) in wrong {
        let error = Impairment::new(config, 1).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

prop_compose! {
    fn any_config()(
        delay in 0_u64..100,
        jitter in 0.0..1.0_f64,
        shares in prop::array::uniform4(0.0..0.5_f64),
        bursts in prop::option::of((0.0..0.2_f64, 0.05..1.0_f64, 0.0..=1.0_f64)),
        by in 0_u64..50,
        rate in prop::option::of((1_000_u64..1_000_000, 0_u64..20_000)),
    ) -> ImpairmentConfig {
        let delay = Duration::from_millis(delay);
        ImpairmentConfig {
            delay,
            jitter: delay.mul_f64(jitter),
            loss: shares[0],
            bursts: bursts.map(|(begins, ends, loss)| BurstLoss { longest: Duration::from_millis(3), begins, ends, loss }),
            reorder: shares[1],
            reorder_by: Duration::from_millis(by),
            duplicate: shares[2],
            corrupt: shares[3],
            rate: rate.map(|(bytes_per_second, queue_bytes)| RateLimit { bytes_per_second, queue_bytes }),
        }
    }
}

proptest! {
    #[test]
    fn one_seed_is_one_run_and_every_copy_is_counted(
        config in any_config(),
        seed: u64,
        sends in prop::collection::vec((0_u64..5, 8_usize..1500), 1..200),
        cut in (0_u64..500, 0_u64..200),
    ) {
        let play = || {
            let mut path = ImpairedPath::new(Impairment::new(config.clone(), seed).unwrap());
            path.cut(at(cut.0), at(cut.0 + cut.1));
            let (mut now, mut arrived) = (0, Vec::new());
            for (sent, (pause, length)) in sends.iter().enumerate() {
                now += pause;
                path.send(at(now), (), datagram(sent as u64, *length));
                while let Some(((), bytes)) = path.receive(at(now)) {
                    arrived.push((now, bytes));
                }
            }
            let under_way = path.under_way() as u64;
            (arrived, under_way, path.counts())
        };
        let (arrived, under_way, counts) = play();
        prop_assert_eq!(counts.passed, arrived.len() as u64 + under_way);
        prop_assert_eq!(counts.offered, sends.len() as u64);
        let fates = counts.passed + counts.lost + counts.lost_in_bursts + counts.cut + counts.queue_full;
        prop_assert_eq!(counts.offered + counts.duplicated, fates);
        prop_assert_eq!(play(), (arrived, under_way, counts));
    }
}
