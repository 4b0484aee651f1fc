//! Holds the book's page to the code.

use super::{ErrorClass, RefusalReason};
use mcpbus_actors::{Reason, ShedReason};
use mcpbus_transport::wire::Failure;
use std::collections::BTreeSet;

/// The causes of a class, by their stable names.
fn causes(class: ErrorClass) -> BTreeSet<&'static str> {
    let failures = (0..=u8::MAX).filter_map(Failure::from_u8);
    let all = failures
        .map(|failure| (failure.name(), ErrorClass::from(failure)))
        .chain(Reason::ALL.iter().map(|r| (r.name(), ErrorClass::from(*r))))
        .chain(
            ShedReason::ALL
                .iter()
                .map(|r| (r.name(), ErrorClass::from(*r))),
        )
        .chain(
            RefusalReason::ALL
                .iter()
                .map(|r| (r.name(), ErrorClass::from(*r))),
        );
    all.filter(|(_, of)| *of == class)
        .map(|(name, _)| name)
        .collect()
}

/// The rows of the page's table of error classes.
fn rows() -> Vec<String> {
    let yes = |yes| if yes { "yes" } else { "no" };
    let row = |class: ErrorClass| {
        let handling = class.handling();
        let causes: Vec<String> = causes(class)
            .iter()
            .map(|cause| format!("`{cause}`"))
            .collect();
        let causes = if causes.is_empty() {
            String::from("no answer in time")
        } else {
            causes.join(", ")
        };
        format!(
            "| `{class}` | {causes} | {} | {} | {} | {} | {} |",
            handling.repeat.name(),
            yes(handling.counts),
            handling.severity.name(),
            yes(handling.alert),
            handling.told
        )
    };
    ErrorClass::ALL.into_iter().map(row).collect()
}

#[test]
fn the_page_has_the_table_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/resilience.md");
    let page = std::fs::read_to_string(path).expect("the book is part of the repository");
    let expected = rows();
    let found: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| class |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(
        found,
        expected,
        "the table should be:\n{}",
        expected.join("\n")
    );
    for reason in RefusalReason::ALL {
        assert!(
            page.contains(&format!("`{reason}`")),
            "{reason} is not explained"
        );
    }
}

#[test]
fn what_a_handler_gives_back_is_worth_another_attempt() {
    use mcpbus_actors::RetryClass;
    for (given, class) in [
        (RetryClass::Transient, ErrorClass::Unavailable),
        (RetryClass::Overloaded, ErrorClass::Overloaded),
    ] {
        assert_eq!(ErrorClass::from(given), class);
        assert!(class.may_repeat());
    }
}

#[test]
fn a_cause_that_comes_by_two_ways_has_one_class() {
    let all: Vec<&str> = ErrorClass::ALL.into_iter().flat_map(causes).collect();
    let different: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(all.len(), different.len(), "{all:?}");
}
