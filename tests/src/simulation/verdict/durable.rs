//! What durable subscriptions are promised.

use super::{Name, Named, copies, stays, takes};
use crate::simulation::client::Sent;
use crate::simulation::scenario::Scenario;
use crate::simulation::script::{Level, Reaction};
use mcpbus::Failure;

/// What was acknowledged as stored reaches every durable subscription that was there; nothing is doubled without a cause.
pub(super) fn kept(
    scenario: &Scenario,
    subscriptions: &[Named<'_>],
    messages: &[(Name, &Sent)],
    wrong: &mut Vec<String>,
) {
    let died = |client: usize| {
        scenario.world.clients[client].restarts + scenario.world.clients[client].resets > 0
    };
    let crashed = scenario
        .world
        .nodes
        .iter()
        .any(|place| !place.former.is_empty());
    for (name, sent) in messages {
        let Some((_, result)) = sent.result else {
            wrong.push(format!("message {name:?} has no result"));
            continue;
        };
        let publication = &sent.publication;
        let takers: Vec<_> = subscriptions
            .iter()
            .filter(|(_, _, known)| takes(&known.wanted.pattern, &publication.subject))
            .filter(|(_, _, known)| known.wanted.durable.is_some())
            .collect();
        let stored = publication.level == Level::Stored && result == Ok(());
        let known = takers.iter().any(|(_, _, known)| stays(known, sent.at));
        if known && publication.level == Level::Stored && !matches!(result, Ok(())) {
            wrong.push(format!("message {name:?} was refused with {result:?}"));
        }
        for (client, number, subscribed) in takers {
            let came = copies(subscribed, *name).count();
            // Without a crash what was accepted is as safe as what was stored.
            let owed = stored
                || !crashed
                    && publication.level != Level::None
                    && matches!(result, Ok(()) | Err(Failure::Rejected));
            if owed && stays(subscribed, sent.at) && came == 0 {
                wrong.push(format!(
                    "durable {client}/{number} missed {name:?}, {:?}, which was {result:?}",
                    publication.level
                ));
            }
            let settled = copies(subscribed, *name).any(|delivery| delivery.settled.is_some());
            if came > 0 && !settled {
                wrong.push(format!(
                    "durable {client}/{number} never settled {name:?}, which came {came} times"
                ));
            }
            if came > 1 && !crashed && !died(*client) {
                wrong.push(format!(
                    "durable {client}/{number} got {name:?} {came} times"
                ));
            }
            let refuses = subscribed.wanted.reaction == Reaction::Reject;
            if came > 1 && refuses && !crashed && !died(*client) {
                wrong.push(format!(
                    "durable {client}/{number} got {name:?} again after it refused it"
                ));
            }
        }
    }
}
