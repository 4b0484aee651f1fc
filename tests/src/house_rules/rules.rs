//! The rules, each with its reason.

use super::source::Source;
use std::collections::{BTreeMap, BTreeSet};

/// Most lines of a file.
const LINES_MAX: usize = 600;

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The file and line.
    pub place: String,
    /// What is wrong there, and why it matters.
    pub what: String,
}

fn breach(source: &Source, line: usize, what: impl Into<String>) -> Breach {
    Breach {
        place: format!("{}:{line}", source.path),
        what: what.into(),
    }
}

/// An outside package, the words it is used by, and the places that may.
struct Door {
    package: &'static str,
    words: &'static [&'static str],
    places: &'static [&'static str],
}

/// Each outside package has a door, so that it can be replaced there and nowhere else.
const DOORS: &[Door] = &[
    Door {
        package: "bb8",
        words: &["bb8::"],
        places: &["router/src/client/pool"],
    },
    Door {
        package: "actix",
        words: &["actix::", "actix_rt::"],
        places: &["actors/src/supervisor/", "benches/peers/"],
    },
    Door {
        package: "crossbeam-channel",
        words: &["crossbeam_channel::"],
        places: &[
            "actors/src/channel/thread",
            "router/node/src/exec/",
            "benches/",
        ],
    },
    Door {
        package: "quinn",
        words: &["quinn::", "quinn_proto::"],
        places: &["transport/src/link/quic/", "benches/"],
    },
    Door {
        package: "bincode",
        words: &["bincode::"],
        places: &["transport/src/codec/bincode.rs", "benches/"],
    },
    Door {
        package: "dashmap",
        words: &["dashmap::"],
        places: &["router/src/node/registry", "transport/src/registry"],
    },
    Door {
        package: "metrics",
        words: &["metrics::"],
        places: &[
            "actors/src/telemetry",
            "transport/src/telemetry",
            "router/src/telemetry",
            "router/src/node/telemetry",
            "router/src/client/telemetry",
            "router/node/src/telemetry",
        ],
    },
    Door {
        package: "redb",
        words: &["redb::"],
        places: &["transport/src/spool/store/"],
    },
    Door {
        package: "rustls",
        words: &["rustls::", "rcgen::"],
        places: &[
            "transport/src/identity/",
            "transport/src/link/quic/",
            "benches/",
        ],
    },
];

/// Whether a word stands in a line as the beginning of a path, not as the end of another name or of a path of ours.
/// A path that begins with `::` begins there: it always names an outside package.
fn has_word(line: &str, word: &str) -> bool {
    let continues = |char: char| char.is_alphanumeric() || matches!(char, '_' | ':' | '>' | '$');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].strip_suffix("::").unwrap_or(&line[..at]);
        !before.chars().next_back().is_some_and(continues)
    })
}

/// Whether a line imports from the file's own module that has the name of an outside package: the file declares the
/// module, and the import stands at the outermost level, where that name means the module.
fn imports_own_module(source: &Source, line: &str, word: &str) -> bool {
    let declared = |text: &str| {
        let text = text.strip_prefix("pub ").unwrap_or(text);
        text.strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
            == Some(word.trim_end_matches(':'))
    };
    let import = line
        .strip_prefix("pub ")
        .unwrap_or(line)
        .strip_prefix("use ");
    import.is_some_and(|path| path.starts_with(word))
        && source.all().any(|(_, text)| declared(text.trim_end()))
}

/// Outside packages are used behind their doors only.
pub fn doors(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in sources {
        for door in DOORS {
            if door
                .places
                .iter()
                .any(|place| source.path.starts_with(place))
            {
                continue;
            }
            for (line, text) in source.all() {
                let outside =
                    |word: &str| has_word(text, word) && !imports_own_module(source, text, word);
                if door.words.iter().any(|word| outside(word)) {
                    let places = door.places.join(", ");
                    breaches.push(breach(
                        source,
                        line,
                        format!("{} is used behind its door only ({places}), so that it can be replaced", door.package),
                    ));
                }
            }
        }
    }
    breaches
}

/// Nothing points upward: a floor does not know the floors above it, so it can be used and tested alone.
pub fn floors(sources: &[Source]) -> Vec<Breach> {
    let above: [(&str, &[&str]); 3] = [
        ("actors/", &["mcpbus_transport", "mcpbus::", "mcpbus_node"]),
        ("transport/", &["mcpbus::", "mcpbus_node"]),
        ("router/src/", &["mcpbus_node"]),
    ];
    let mut breaches = Vec::new();
    for source in sources {
        // The derive writes paths of the crate that its user has; it depends on none.
        let words = above
            .iter()
            .filter(|(floor, _)| source.path.starts_with(floor) && !source.path.contains("derive"));
        for (floor, words) in words {
            for (line, text) in source.all() {
                if let Some(word) = words.iter().find(|word| has_word(text, word)) {
                    let word = word.trim_end_matches(':');
                    breaches.push(breach(
                        source,
                        line,
                        format!("{floor} must not know {word}: nothing points upward"),
                    ));
                }
            }
        }
    }
    breaches
}

/// The rooms of a crate do not import each other in a circle: each can be understood after those below it.
pub fn circles(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for crate_root in [
        "actors/src/",
        "transport/src/",
        "router/src/",
        "router/node/src/",
    ] {
        let mut imports: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for source in sources {
            let Some(inside) = source.path.strip_prefix(crate_root) else {
                continue;
            };
            let room = inside
                .split('/')
                .next()
                .unwrap_or(inside)
                .trim_end_matches(".rs")
                .to_owned();
            if room == "lib" || room == "main" {
                continue;
            }
            for (line, text) in source.outside_tests() {
                for (at, _) in text.match_indices("crate::") {
                    let rest = &text[at + "crate::".len()..];
                    let names: Vec<String> = match rest.strip_prefix('{') {
                        Some(list) => list.split(',').map(first_name).collect(),
                        None => vec![first_name(rest)],
                    };
                    for name in names
                        .into_iter()
                        .filter(|name| !name.is_empty() && *name != room)
                    {
                        let place = format!("{}:{line}", source.path);
                        imports
                            .entry(room.clone())
                            .or_default()
                            .entry(name)
                            .or_insert(place);
                    }
                }
            }
        }
        let rooms: BTreeSet<String> = imports.keys().cloned().collect();
        for room in &rooms {
            if let Some(path) = way_back(&imports, room) {
                // Told once, by the first room of the circle.
                if path.iter().min() == Some(room) {
                    let place = imports[room][&path[1]].clone();
                    let what = format!(
                        "modules import each other in a circle: {}",
                        path.join(" -> ")
                    );
                    breaches.push(Breach { place, what });
                }
            }
        }
    }
    breaches
}

fn first_name(text: &str) -> String {
    text.trim()
        .chars()
        .take_while(|char| char.is_alphanumeric() || *char == '_')
        .collect()
}

/// The shortest way from a room back to itself.
fn way_back(
    imports: &BTreeMap<String, BTreeMap<String, String>>,
    room: &str,
) -> Option<Vec<String>> {
    let mut ways = std::collections::VecDeque::from([vec![room.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in way
            .last()
            .and_then(|last| imports.get(last))
            .into_iter()
            .flat_map(BTreeMap::keys)
        {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == room {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// What the reader of a lane may wait for.
const READER_AWAITS: [&str; 5] = [
    "reader.read_chunk",
    "open.await",
    "yield_now().await",
    "pending().await",
    "reader.read_chunks",
];

/// A lane's reader waits for its socket only: whatever else it waited for would hold up the credit, acks and
/// heartbeats of every flow of the peer.
pub fn readers(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("transport/src/bridge/"))
    {
        let mut inside = false;
        for (line, text) in source.outside_tests() {
            if text.contains("async fn ") {
                inside = text.contains("async fn read_lane");
            }
            if inside
                && text.contains(".await")
                && !READER_AWAITS.iter().any(|allowed| text.contains(allowed))
            {
                breaches.push(breach(
                    source,
                    line,
                    "the reader of a lane awaits its lane only; what it calls is plain",
                ));
            }
        }
    }
    breaches
}

/// Nothing queues without a number.
pub fn bounds(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in sources {
        let comparison = source.path.starts_with("benches/")
            || source.path.starts_with("tests/src/house_rules/");
        for (line, text) in source.all() {
            if text.contains("do_send(") {
                breaches.push(breach(
                    source,
                    line,
                    "do_send ignores the mailbox's capacity: use try_send or send",
                ));
            }
            let word = [
                "unbounded(",
                "unbounded_channel(",
                "unbounded::<",
                "unbounded_channel::<",
            ];
            if !comparison
                && word
                    .iter()
                    .any(|word| has_word(text, word) || text.contains(&format!("::{word}")))
            {
                breaches.push(breach(
                    source,
                    line,
                    "no queue without a number: use a bounded channel",
                ));
            }
        }
    }
    breaches
}

/// The one place of tests that may pause: `wait_until`, which waits for a condition of another process. Such a
/// condition wakes nobody, so it is looked at again after a short pause, until its deadline.
const PAUSE: &str = "router/node/tests/command_line/wait.rs";

/// A test that sleeps is slow when it passes and wrong when the machine is slow: virtual time or a condition serves.
pub fn sleeps(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let watched = |source: &&Source| {
        source.path != PAUSE && !source.path.starts_with("tests/src/house_rules/")
    };
    for source in sources.iter().filter(watched) {
        for (line, text) in source.in_tests() {
            if text.contains("thread::sleep(") || text.contains("time::sleep(") {
                breaches.push(breach(
                    source,
                    line,
                    "a test does not sleep: wait for a condition, or use virtual time",
                ));
            }
        }
    }
    breaches
}

/// A file has one subject and can be read in one go.
pub fn lengths(sources: &[Source]) -> Vec<Breach> {
    let long = sources.iter().filter(|source| source.length > LINES_MAX);
    long.map(|source| {
        breach(
            source,
            source.length,
            format!("more than {LINES_MAX} lines: split it by subject"),
        )
    })
    .collect()
}

/// The files that may use `unsafe`, each small and of one subject: the test command's `memory` step runs their tests
/// under an interpreter or a sanitizer that sees what they do wrong.
const UNSAFE: &[&str] = &[
    "actors/src/message/buffer/mod.rs",
    "benches/benches/growth/allocations.rs",
];

/// What the compiler cannot check stands in few, named places.
pub fn unchecked(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in sources {
        if UNSAFE.contains(&source.path.as_str()) {
            continue;
        }
        for (line, text) in source.all() {
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.clone().any(|word| word == "unsafe") {
                breaches.push(breach(
                    source,
                    line,
                    "`unsafe` stands in the files named for it",
                ));
            }
        }
    }
    breaches
}

/// A rule: from the sources to the places where it is broken.
pub type Rule = fn(&[Source]) -> Vec<Breach>;

/// All rules with their names.
pub const RULES: &[(&str, Rule)] = &[
    ("doors", doors),
    ("floors", floors),
    ("circles", circles),
    ("readers", readers),
    ("bounds", bounds),
    ("sleeps", sleeps),
    ("lengths", lengths),
    ("unchecked", unchecked),
];

/// Breaches that are known and to be mended: rule, and how the file's path begins. The list only ever gets shorter; an
/// entry that nothing breaks any more is an error too.
pub const DEBTS: &[(&str, &str)] = &[];
