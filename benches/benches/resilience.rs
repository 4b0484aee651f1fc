//! What guards cost a message: each alone, and the usual chain around a policy.
//!
//! Messages are handled in batches as a node does: the time is read once for each batch, then each message of it is
//! asked about and settled. A figure is that of one message.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mcpbus::actors::{Key, Time};
use mcpbus::policy::{Choice, Destination, Hash, Meta, Policy, RoundRobin, Weighted};
use mcpbus::resilience::{
    Adaptive, AdaptiveConfig, Admission, Breaker, BreakerConfig, Bulkhead, BulkheadConfig, Canary,
    CanaryConfig, Deadline, DeadlineConfig, DestinationGuards, DestinationGuardsConfig, Ended,
    Headers, Hedge, HedgeConfig, KeyedLimits, KeyedLimitsConfig, LeakyBucket, LeakyBucketConfig,
    MessageGuard, MessageGuards, OutlierConfig, OutlierDetection, Retry, RetryConfig, RouteGuard,
    Shed, ShedConfig, TokenBucket, TokenBucketConfig, Version, WhenFull, WhenLimited,
};
use mcpbus_benches::clock::{Clock, criterion};
use std::hint::black_box;
use std::time::Duration;

/// Messages of a run; whole batches of each size.
const MESSAGES: u64 = 16_384;
/// Subjects that messages come on.
const SUBJECTS: u64 = 10_240;
/// Virtual time between two messages.
const PACE: Duration = Duration::from_nanos(200);

/// Virtual time and the numbers of messages, from run to run.
struct Source {
    now: Time,
    sequence: u64,
    state: u64,
}

impl Source {
    fn new() -> Self {
        Self {
            now: Time::ZERO + Duration::from_secs(1),
            sequence: 0,
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// A subject in an order without pattern.
    fn subject(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % SUBJECTS
    }

    /// Calls `each` for the messages of a run, in batches. Gives what passed.
    fn run(&mut self, batch: u64, mut each: impl FnMut(&Headers, u64, Time) -> bool) -> u64 {
        let mut passed = 0;
        for _ in 0..MESSAGES / batch {
            self.now += PACE * batch as u32;
            let now = self.now;
            let arrived = now.saturating_sub(Duration::from_micros(300));
            let deadline = now + Duration::from_secs(2);
            for _ in 0..batch {
                self.sequence += 1;
                let subject = self.subject();
                let headers = Headers::new(arrived).deadline(deadline).limit_key(subject);
                passed += u64::from(each(black_box(&headers), subject, now));
            }
        }
        passed
    }
}

fn tokens(rate: f64) -> TokenBucketConfig {
    TokenBucketConfig::new(rate, 4096, WhenLimited::Reject).expect("a rate")
}

fn message_guards() -> Vec<(&'static str, Box<dyn MessageGuard>)> {
    let delay = WhenLimited::Delay {
        max: Duration::from_secs(1),
    };
    let leaky = LeakyBucketConfig::new(1e8, delay).expect("a rate");
    let keyed = KeyedLimitsConfig::new(tokens(1e5), SUBJECTS as usize, WhenFull::Refuse);
    vec![
        ("deadline", Box::new(Deadline::new(ttl(10)).expect("times"))),
        ("token bucket", Box::new(TokenBucket::new(tokens(1e8)))),
        (
            "token bucket, three in four refused",
            Box::new(TokenBucket::new(tokens(1.25e6))),
        ),
        ("leaky bucket", Box::new(LeakyBucket::new(leaky))),
        (
            "keyed limits, 10,240 keys",
            Box::new(KeyedLimits::new(keyed.expect("keys"))),
        ),
        (
            "shed",
            Box::new(Shed::new(&ShedConfig::default()).expect("times")),
        ),
    ]
}

fn route_guards() -> Vec<(&'static str, Box<dyn RouteGuard>)> {
    let slow = BreakerConfig {
        slow_call_duration: Some(Duration::from_secs(1)),
        ..BreakerConfig::default()
    };
    let room = BulkheadConfig::new(1000, 0, Duration::ZERO).expect("a bound");
    let adaptive = Adaptive::new(AdaptiveConfig::default()).expect("bounds");
    let all = DestinationGuardsConfig {
        breaker: Some(slow),
        bulkhead: Some(room),
        adaptive: Some(AdaptiveConfig::default()),
    };
    vec![
        ("breaker", Box::new(Breaker::new(&slow, 1).expect("limits"))),
        ("bulkhead", Box::new(Bulkhead::new(room))),
        ("adaptive", Box::new(adaptive)),
        (
            "bulkhead, adaptive and breaker",
            Box::new(DestinationGuards::new(&all, 1).expect("limits")),
        ),
    ]
}

fn ttl(seconds: u64) -> DeadlineConfig {
    DeadlineConfig {
        default_ttl: Some(Duration::from_secs(seconds)),
        max_ttl: Some(Duration::from_secs(60)),
        min_remaining: Duration::from_millis(1),
    }
}

const DONE: Ended = Ended::success(Duration::from_micros(300));

fn alone(criterion: &mut Criterion<Clock>) {
    let mut group = criterion.benchmark_group("resilience/alone");
    group
        .throughput(Throughput::Elements(MESSAGES))
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    let mut source = Source::new();
    group.bench_function("the bench itself", |bencher| {
        bencher.iter(|| source.run(256, |headers, _, now| headers.deadline > Some(now)));
    });
    for (name, mut guard) in message_guards() {
        let mut source = Source::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                source.run(256, |headers, _, now| {
                    matches!(
                        guard.admit(headers, now),
                        Admission::Pass | Admission::Until(_)
                    )
                })
            });
        });
    }
    for (name, mut guard) in route_guards() {
        let mut source = Source::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                source.run(256, |_, _, now| {
                    let Ok(permit) = guard.admit(now) else {
                        return false;
                    };
                    guard.ended(black_box(permit), DONE, now);
                    true
                })
            });
        });
    }
    let ids: Vec<u64> = (0..4).collect();
    let mut outlier = OutlierDetection::new(OutlierConfig::default(), &ids).expect("limits");
    let mut source = Source::new();
    group.bench_function("outlier detection, 4 destinations", |bencher| {
        bencher.iter(|| {
            source.run(256, |_, subject, now| {
                let index = (subject % 4) as usize;
                outlier.check(index, now).is_ok() && !outlier.ended(index, DONE, now)
            })
        });
    });
    let mut retry = Retry::new(&RetryConfig::default()).expect("limits");
    let mut source = Source::new();
    group.bench_function("retry, nothing fails", |bencher| {
        bencher.iter(|| {
            source.run(256, |_, _, _| {
                retry.first_attempt();
                true
            })
        });
    });
    let mut hedge = Hedge::new(&HedgeConfig::default()).expect("limits");
    let mut source = Source::new();
    group.bench_function("hedge", |bencher| {
        bencher.iter(|| {
            source.run(256, |_, _, now| {
                hedge.ended(DONE, now);
                hedge.sent().is_some()
            })
        });
    });
    let mut canary = Canary::new(CanaryConfig::default(), Time::ZERO).expect("limits");
    let mut source = Source::new();
    group.bench_function("canary", |bencher| {
        bencher.iter(|| {
            source.run(256, |_, subject, now| {
                let version = if subject.is_multiple_of(20) {
                    Version::Canary
                } else {
                    Version::Stable
                };
                canary.ended(version, DONE, now).is_none()
            })
        });
    });
    group.finish();
}

/// A route: its guards, its policy, and its destinations with theirs.
struct Route {
    guards: MessageGuards,
    policy: Box<dyn Policy>,
    destinations: Vec<Destination>,
    destination_guards: Vec<DestinationGuards>,
}

impl Route {
    fn new(policy: Box<dyn Policy>, weights: &[u32], rate: f64, breaker: BreakerConfig) -> Self {
        let config = DestinationGuardsConfig {
            breaker: Some(breaker),
            ..DestinationGuardsConfig::default()
        };
        let guards = MessageGuards::new()
            .with_deadline(Deadline::new(ttl(rate as u64 % 50 + 1)).expect("times"))
            .with(TokenBucket::new(tokens(rate)));
        let destination = |(id, weight): (usize, &u32)| Destination::new(id as u64 + 1, *weight);
        Self {
            guards,
            policy,
            destinations: weights.iter().enumerate().map(destination).collect(),
            destination_guards: (0..weights.len() as u64)
                .map(|seed| DestinationGuards::new(&config, seed).expect("limits"))
                .collect(),
        }
    }

    fn handle(&mut self, headers: &Headers, subject: u64, sequence: u64, now: Time) -> bool {
        if self.guards.admit(headers, now) != Admission::Pass {
            return false;
        }
        let meta = Meta::new(Some(Key(subject)), sequence, 64);
        let Choice::One(index) = self.policy.choose(&meta, &self.destinations) else {
            return false;
        };
        let guard = &mut self.destination_guards[index];
        let Ok(permit) = guard.admit(now) else {
            return false;
        };
        // Some attempts fail, as they do.
        let ended = if sequence.is_multiple_of(100) {
            Ended::failure(mcpbus::resilience::ErrorClass::Timeout, DONE.latency)
        } else {
            DONE
        };
        guard.ended(black_box(permit), ended, now);
        true
    }
}

/// Four routes with the weighted policy, or one route of each policy; in both no two are configured alike.
fn routes(mixed: bool) -> Vec<Route> {
    let breaker = |volume, percentage| BreakerConfig {
        request_volume_threshold: volume,
        error_threshold_percentage: percentage,
        ..BreakerConfig::default()
    };
    let policy = |other: Box<dyn Policy>| -> Box<dyn Policy> {
        if mixed {
            other
        } else {
            Box::new(Weighted::new())
        }
    };
    vec![
        Route::new(Box::new(Weighted::new()), &[80, 20], 1e8, breaker(20, 50.0)),
        Route::new(
            policy(Box::new(RoundRobin::new())),
            &[1, 1, 1],
            9e7,
            breaker(100, 30.0),
        ),
        Route::new(
            policy(Box::new(Hash::new())),
            &[1, 2, 3, 4],
            8e7,
            breaker(50, 40.0),
        ),
        Route::new(Box::new(Weighted::new()), &[95, 5], 7e7, breaker(10, 20.0)),
    ]
}

fn chain(criterion: &mut Criterion<Clock>) {
    let mut group = criterion.benchmark_group("resilience/chain");
    group
        .throughput(Throughput::Elements(MESSAGES))
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    // A session keeps the route of each subject.
    let route_of: Vec<u32> = (0..SUBJECTS)
        .map(|subject| (subject * 7919 % 4) as u32)
        .collect();
    for (name, mixed) in [("weighted", false), ("mixed policies", true)] {
        for batch in [64, 256] {
            let (mut routes, mut source) = (routes(mixed), Source::new());
            let mut sequence = 0;
            let mut passed = 0;
            group.bench_function(BenchmarkId::new(name, batch), |bencher| {
                bencher.iter(|| {
                    passed = source.run(batch, |headers, subject, now| {
                        sequence += 1;
                        let route = route_of[subject as usize] as usize;
                        routes[route].handle(headers, subject, sequence, now)
                    });
                    passed
                });
            });
            // Not asked when a filter leaves the bench out.
            assert!(
                sequence == 0 || passed == MESSAGES,
                "{passed} of {MESSAGES} passed"
            );
        }
    }
    group.finish();
}

criterion_group!(name = benches; config = criterion(); targets = alone, chain);
criterion_main!(benches);
