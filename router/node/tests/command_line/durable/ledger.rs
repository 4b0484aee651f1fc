//! What was printed against what was acknowledged, and chance by a seed.

use super::publisher::KEYS;

/// How often the printed lines repeat one that was printed before. Panics if one of the first `lines` is missing, or if the
/// first occurrences of a key are out of order.
pub(super) fn duplicates(printed: &[u64], lines: u64) -> u64 {
    let mut seen = vec![false; usize::try_from(lines).unwrap_or(usize::MAX)];
    let mut last = [None; KEYS as usize];
    let mut duplicates = 0;
    for number in printed {
        let first = seen
            .get_mut(*number as usize)
            .unwrap_or_else(|| panic!("line {number} was never published"));
        if std::mem::replace(first, true) {
            duplicates += 1;
            continue;
        }
        let key = (number % KEYS) as usize;
        assert!(
            last[key] < Some(*number),
            "key {key}: line {number} came first after line {:?}",
            last[key]
        );
        last[key] = Some(*number);
    }
    let missing: Vec<usize> = (0..seen.len()).filter(|at| !seen[*at]).collect();
    assert!(
        missing.is_empty(),
        "{} acknowledged lines are missing: {:?}",
        missing.len(),
        &missing[..missing.len().min(20)]
    );
    duplicates
}

/// Numbers that follow from a seed.
pub(super) struct Chance(u64);

impl Chance {
    /// By `MCPBUS_SEED`, or 1. It is printed, so that a failure can be repeated as far as processes repeat anything.
    pub(super) fn from_environment() -> Self {
        let given = std::env::var("MCPBUS_SEED").ok();
        let seed = given.and_then(|text| text.parse().ok()).unwrap_or(1);
        println!("MCPBUS_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // splitmix64: any spread will do.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// A number from the environment, for longer runs.
pub(super) fn number_of(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn the_ledger_counts_repeats() {
    assert_eq!(duplicates(&[0, 1, 0, 2, 1], 3), 2);
}

#[test]
#[should_panic(expected = "1 acknowledged lines are missing: [1]")]
fn the_ledger_finds_what_is_missing() {
    duplicates(&[0, 2], 3);
}

#[test]
#[should_panic(expected = "key 1: line 1 came first after line Some(8)")]
fn the_ledger_finds_what_is_out_of_order() {
    duplicates(&[0, 8, 1], 9);
}
