#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

fn subject(text: &str) -> Subject {
    text.parse().unwrap()
}

fn found(table: &SubjectTable<u32>, subject: &Subject) -> Vec<u32> {
    let mut values = Vec::new();
    table.for_each_match(subject, |value| values.push(*value));
    values.sort_unstable();
    values
}

#[test]
fn all_matching_patterns_are_found() {
    let mut table = SubjectTable::new();
    for (value, text) in [
        "bank.tx.1",
        "bank.*.1",
        "bank.>",
        ">",
        "*.*",
        "bank.tx.2",
        "bank.tx",
    ]
    .iter()
    .enumerate()
    {
        assert!(table.insert(&pattern(text), value as u32));
    }
    assert_eq!(found(&table, &subject("bank.tx.1")), [0, 1, 2, 3]);
    assert_eq!(found(&table, &subject("bank.tx")), [2, 3, 4, 6]);
    assert_eq!(found(&table, &subject("bank")), [3]);
    assert!(!table.insert(&pattern("bank.>"), 2));
    assert!(!table.remove(&pattern("bank.>"), &9));
    assert!(table.remove(&pattern("bank.>"), &2));
    assert_eq!(found(&table, &subject("bank.tx.1")), [0, 1, 3]);
    assert_eq!(table.len(), 6);
}

#[test]
fn one_pattern_holds_many_values() {
    let mut table = SubjectTable::new();
    for value in 0..1000 {
        table.insert(&pattern("a.b"), value);
    }
    let snapshot = table.clone();
    for value in 0..997 {
        assert!(table.remove(&pattern("a.b"), &value));
    }
    assert_eq!(found(&table, &subject("a.b")), [997, 998, 999]);
    assert_eq!(found(&snapshot, &subject("a.b")).len(), 1000);
}

#[test]
fn a_branch_keeps_its_version_while_others_change() {
    let mut table = SubjectTable::new();
    table.insert(&pattern("a.b"), 1);
    table.insert(&pattern("a.c"), 1);
    let before = table.branch_version(&subject("a.b"));
    table.insert(&pattern("a.d"), 1);
    table.insert(&pattern("x.>"), 1);
    assert_eq!(table.branch_version(&subject("a.b")), before);
    table.insert(&pattern("*.b"), 2);
    assert_ne!(table.branch_version(&subject("a.b")), before);
}

fn token() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("a"), 4 => Just("b"), 2 => Just("c"), 1 => Just("d")]
}

fn any_subject() -> impl Strategy<Value = Subject> {
    proptest::collection::vec(token(), 1..5).prop_map(|tokens| subject(&tokens.join(".")))
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let token = prop_oneof![4 => token(), 2 => Just("*")];
    (proptest::collection::vec(token, 0..4), 0u8..4).prop_map(|(mut tokens, rest)| {
        if rest == 0 || tokens.is_empty() {
            tokens.push(">");
        }
        pattern(&tokens.join("."))
    })
}

proptest! {
    #[test]
    fn answers_as_a_plain_list_of_patterns_does(
        steps in proptest::collection::vec((any_pattern(), 0u32..40, 0u8..8), 1..200),
        subjects in proptest::collection::vec(any_subject(), 1..12),
    ) {
        let mut table = SubjectTable::new();
        let mut list: Vec<(Pattern, u32)> = Vec::new();
        let mut snapshots = Vec::new();
        let naive = |list: &[(Pattern, u32)], subject: &Subject| {
            let mut values: Vec<u32> = list.iter().filter(|(p, _)| p.matches(subject)).map(|(_, v)| *v).collect();
            values.sort_unstable();
            values
        };
        for (pattern, value, action) in steps {
            let before: Vec<_> = subjects.iter().map(|s| (table.branch_version(s), found(&table, s))).collect();
            let pair = (pattern.clone(), value);
            // Each removal aims at a pair that exists, half of the time.
            match action {
                0..=2 => {
                    let target = list.get(value as usize).cloned().unwrap_or(pair);
                    let existed = list.contains(&target);
                    prop_assert_eq!(table.remove(&target.0, &target.1), existed);
                    list.retain(|held| *held != target);
                }
                3 => snapshots.push((table.clone(), list.clone())),
                _ => {
                    let absent = !list.contains(&pair);
                    prop_assert_eq!(table.insert(&pattern, value), absent);
                    if absent {
                        list.push(pair);
                    }
                }
            }
            prop_assert_eq!(table.len(), list.len());
            for (subject, (version, values)) in subjects.iter().zip(before) {
                let now = found(&table, subject);
                prop_assert_eq!(&now, &naive(&list, subject));
                if now != values {
                    prop_assert!(table.branch_version(subject) > version);
                }
            }
        }
        for (table, list) in &snapshots {
            for subject in &subjects {
                prop_assert_eq!(found(table, subject), naive(list, subject));
            }
        }
        for (pattern, value) in list {
            prop_assert!(table.remove(&pattern, &value));
        }
        prop_assert!(table.is_empty() && table.root.is_empty());
    }
}
