//! The log of a node's calls as a file: one line for each, with the time in nanoseconds and bytes in hexadecimal.
//!
//! ```text
//! mesh chain seed 17 node 1
//! 2000000 accepted 1 client-0
//! 2000000 received 1 0 0c01...
//! 2000000 sent 1 0 131072 1a02...
//! ```

use bytes::Bytes;
use mcpbus_actors::Time;
use mcpbus_transport::bridge::LinkHandle;
use mcpbus_transport::link::LaneId;
use std::fmt::Write as _;

/// What was called, and what it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Accepted {
        link: LinkHandle,
        identity: String,
    },
    Dialed {
        link: LinkHandle,
        index: usize,
        identity: String,
    },
    RefusedDial {
        index: usize,
    },
    Received {
        link: LinkHandle,
        lane: LaneId,
        bytes: Bytes,
    },
    Sent {
        link: LinkHandle,
        lane: LaneId,
        budget: usize,
        bytes: Bytes,
    },
    Touched {
        link: LinkHandle,
    },
    Down {
        link: LinkHandle,
        reason: String,
    },
    Timeout,
}

/// A call and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Time,
    pub(crate) call: Call,
}

/// Whose calls a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) shape: String,
    pub(crate) seed: u64,
    pub(crate) node: usize,
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hexadecimal(text: &str) -> Option<Bytes> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

/// The text of a log.
pub(crate) fn write(whose: &Whose, log: &[Entry]) -> String {
    let mut text = format!(
        "mesh {} seed {} node {}\n",
        whose.shape, whose.seed, whose.node
    );
    for Entry { at, call } in log {
        let at = at.as_nanos();
        let _ = match call {
            Call::Accepted { link, identity } => {
                writeln!(text, "{at} accepted {} {identity}", link.0)
            }
            Call::Dialed {
                link,
                index,
                identity,
            } => writeln!(text, "{at} dialed {} {index} {identity}", link.0),
            Call::RefusedDial { index } => writeln!(text, "{at} refused {index}"),
            Call::Received { link, lane, bytes } => {
                let (lane, bytes) = (lane.number(), hexadecimal(bytes));
                writeln!(text, "{at} received {} {lane} {bytes}", link.0)
            }
            Call::Sent {
                link,
                lane,
                budget,
                bytes,
            } => {
                let (lane, bytes) = (lane.number(), hexadecimal(bytes));
                writeln!(text, "{at} sent {} {lane} {budget} {bytes}", link.0)
            }
            Call::Touched { link } => writeln!(text, "{at} touched {}", link.0),
            Call::Down { link, reason } => writeln!(text, "{at} down {} {reason}", link.0),
            Call::Timeout => writeln!(text, "{at} timeout"),
        };
    }
    text
}

/// Reads the text of a log. An error names the line.
pub(crate) fn read(text: &str) -> Result<(Whose, Vec<Entry>), String> {
    let mut lines = text.lines().enumerate();
    let first = lines.next().map(|(_, line)| line).unwrap_or_default();
    let words: Vec<&str> = first.split(' ').collect();
    let whose = match words[..] {
        ["mesh", shape, "seed", seed, "node", node] => Whose {
            shape: shape.to_owned(),
            seed: seed.parse().map_err(|_| format!("no seed: {first}"))?,
            node: node.parse().map_err(|_| format!("no node: {first}"))?,
        },
        _ => return Err(format!("not the beginning of a log: {first}")),
    };
    let entries = lines.map(|(number, line)| {
        entry(line).ok_or_else(|| format!("line {}: cannot be read: {line}", number + 1))
    });
    Ok((whose, entries.collect::<Result<_, _>>()?))
}

fn entry(line: &str) -> Option<Entry> {
    let (at, rest) = line.split_once(' ')?;
    let (what, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut words = rest.split(' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let call = match what {
        "timeout" => Call::Timeout,
        "refused" => Call::RefusedDial {
            index: number()? as usize,
        },
        "touched" => Call::Touched {
            link: LinkHandle(number()?),
        },
        "accepted" => Call::Accepted {
            link: LinkHandle(number()?),
            identity: words.next()?.to_owned(),
        },
        "dialed" => Call::Dialed {
            link: LinkHandle(number()?),
            index: number()? as usize,
            identity: words.next()?.to_owned(),
        },
        "received" => Call::Received {
            link: LinkHandle(number()?),
            lane: LaneId::new(number()? as u8)?,
            bytes: from_hexadecimal(words.next()?)?,
        },
        "sent" => Call::Sent {
            link: LinkHandle(number()?),
            lane: LaneId::new(number()? as u8)?,
            budget: number()? as usize,
            bytes: from_hexadecimal(words.next()?)?,
        },
        "down" => {
            let (link, reason) = rest.split_once(' ')?;
            Call::Down {
                link: LinkHandle(link.parse().ok()?),
                reason: reason.to_owned(),
            }
        }
        _ => return None,
    };
    Some(Entry {
        at: Time::from_nanos(at.parse().ok()?),
        call,
    })
}
