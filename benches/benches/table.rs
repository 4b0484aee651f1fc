//! Who asked for this subject: the subject table with 1,000 and 100,000 subjects.
//!
//! Beside the standard hash map, which only knows whole subjects and no wildcards.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mcpbus::routing::{Pattern, Subject, SubjectTable};
use mcpbus_benches::clock::{Clock, criterion};
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

/// Lookups per measured run.
const LOOKUPS: usize = 1024;
/// Subjects that a warm run looks up in turn.
const WARM: usize = 16;

fn subjects(count: usize) -> Vec<Subject> {
    (0..count)
        .map(|account| Subject::new(&format!("bank.tx.{account}")).expect("a subject"))
        .collect()
}

fn pattern(text: &str) -> Pattern {
    text.parse().expect("a pattern")
}

/// One value for each subject.
fn literal(subjects: &[Subject]) -> SubjectTable<u32> {
    let mut table = SubjectTable::new();
    for (value, subject) in (0..).zip(subjects) {
        table.insert(&pattern(subject.as_str()), value);
    }
    table
}

/// As [`literal`], and patterns with wildcards of every form: each lookup finds two of them, each hundredth four.
fn with_wildcards(subjects: &[Subject]) -> SubjectTable<u32> {
    let mut table = literal(subjects);
    table.insert(&pattern("bank.>"), 1_000_000);
    table.insert(&pattern("*.tx.*"), 1_000_001);
    for account in (0..subjects.len()).step_by(100) {
        table.insert(&pattern(&format!("bank.*.{account}")), 1_000_002);
        table.insert(&pattern(&format!("*.tx.{account}")), 1_000_003);
    }
    table
}

/// `LOOKUPS` indices below `count` in an order without pattern, other ones at each call.
struct Shuffle {
    state: u64,
    count: usize,
}

impl Shuffle {
    fn fill(&mut self, order: &mut Vec<usize>) {
        order.clear();
        for _ in 0..LOOKUPS {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            order.push((self.state % self.count as u64) as usize);
        }
    }
}

fn lookups(criterion: &mut Criterion<Clock>) {
    for (count, name) in [(1_000, "table/1k"), (100_000, "table/100k")] {
        let subjects = subjects(count);
        let tables = [
            ("mcpbus", literal(&subjects)),
            ("mcpbus, with wildcards", with_wildcards(&subjects)),
        ];
        let map: HashMap<String, u32> = subjects.iter().map(Subject::to_string).zip(0..).collect();
        let mut group = criterion.benchmark_group(name);
        group
            .throughput(Throughput::Elements(LOOKUPS as u64))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        for (heat, range) in [("warm", WARM), ("cold", count)] {
            let shuffle = || Shuffle {
                state: 0x9e37_79b9_7f4a_7c15,
                count: range,
            };
            for (contender, table) in &tables {
                group.bench_function(BenchmarkId::new(*contender, heat), |bencher| {
                    let (mut shuffle, mut order) = (shuffle(), Vec::new());
                    bencher.iter(|| {
                        shuffle.fill(&mut order);
                        let mut found = 0_u64;
                        for &index in &order {
                            table.for_each_match(&subjects[index], |value| {
                                found += u64::from(black_box(*value));
                            });
                        }
                        found
                    });
                });
            }
            group.bench_function(
                BenchmarkId::new("hash map, no wildcards", heat),
                |bencher| {
                    let (mut shuffle, mut order) = (shuffle(), Vec::new());
                    bencher.iter(|| {
                        shuffle.fill(&mut order);
                        let mut found = 0_u64;
                        for &index in &order {
                            if let Some(value) = map.get(subjects[index].as_str()) {
                                found += u64::from(black_box(*value));
                            }
                        }
                        found
                    });
                },
            );
        }
        group.finish();
    }
}

criterion_group!(name = benches; config = criterion(); targets = lookups);
criterion_main!(benches);
