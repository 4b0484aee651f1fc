//! A log played into a fresh node, without network, clock or runtime: the same calls must give the same outputs.

use super::draw::{SHAPES, draw};
use super::log::{Call, Entry, read};
use bytes::BytesMut;
use mcpbus::node::{NodeConfig, NodeCore};
use mcpbus_transport::bridge::Owner as _;

/// What a replay came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// How many calls were played.
    pub(crate) calls: usize,
    /// Where the node's ledger did not balance, and by how much, at the first such call.
    pub(crate) unbalanced: Option<(usize, i64)>,
}

/// Plays a log into a node of this configuration. An error names the first call that gave something else than it had.
pub(crate) fn replay(config: NodeConfig, log: &[Entry]) -> Result<Replayed, String> {
    let mut core = NodeCore::new(config);
    let mut unbalanced = None;
    for (number, Entry { at, call }) in log.iter().enumerate() {
        let now = *at;
        match call {
            Call::Accepted { link, identity } => core.link_accepted(*link, identity, now),
            Call::Dialed {
                link,
                index,
                identity,
            } => core.link_dialed(*link, *index, identity, now),
            Call::RefusedDial { index } => drop(core.take_refused_dial(*index)),
            Call::Received { link, lane, bytes } => core.receive(*link, *lane, bytes.clone(), now),
            Call::Sent {
                link,
                lane,
                budget,
                bytes,
            } => {
                let mut out = BytesMut::new();
                core.transmit(*link, *lane, *budget, now, &mut out);
                if out != *bytes {
                    let same = out
                        .iter()
                        .zip(bytes)
                        .take_while(|(one, other)| one == other);
                    return Err(format!(
                        "call {number} at {now} wrote {} bytes for {lane}, in the log {}; they differ from byte {} on",
                        out.len(),
                        bytes.len(),
                        same.count(),
                    ));
                }
            }
            Call::Touched { link } => {
                let touched = core.poll_touched();
                if touched != Some(*link) {
                    return Err(format!(
                        "call {number} at {now} named {touched:?} as changed, in the log {link:?}"
                    ));
                }
            }
            Call::Down { link, reason } => core.link_down(*link, reason, now),
            Call::Timeout => core.handle_timeout(now),
        }
        let residual = core.ledger().residual();
        if residual != 0 && unbalanced.is_none() {
            unbalanced = Some((number, residual));
        }
    }
    Ok(Replayed {
        calls: log.len(),
        unbalanced,
    })
}

/// Plays the text of a log into the node that its first line names.
pub(crate) fn replay_text(text: &str) -> Result<Replayed, String> {
    let (whose, log) = read(text)?;
    let shape = SHAPES
        .iter()
        .find(|shape| shape.name == whose.shape)
        .ok_or_else(|| format!("no mesh {}", whose.shape))?;
    let plan = draw(shape, whose.seed);
    let config = plan.nodes.into_iter().nth(whose.node);
    replay(config.ok_or("the mesh has no such node")?, &log)
}
