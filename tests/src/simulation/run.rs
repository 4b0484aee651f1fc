//! One seed, many seeds, and the command that replays one.

use super::client::Client;
use super::scenario::{Fault, Scenario, draw};
use super::shapes::{SHAPES, Shape};
use super::verdict::judge;
use super::world::World;
use mcpbus_actors::Time;
use std::time::Duration;

/// What a run came to, where all was well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of everything that happened.
    pub trace: u64,
    /// Events.
    pub steps: u64,
    /// Messages published.
    pub messages: u64,
}

/// Runs one seed. An error says all that went wrong.
pub fn run(shape: &Shape, seed: u64) -> Result<Outcome, String> {
    let mut scenario = draw(shape, seed);
    play(&mut scenario)?;
    let wrong = judge(&scenario);
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    end(&mut scenario)?;
    let world = &scenario.world;
    let messages = world
        .clients
        .iter()
        .map(|client| client.sent.len() as u64)
        .sum();
    Ok(Outcome {
        trace: world.trace,
        steps: world.steps,
        messages,
    })
}

/// Lets the faults happen, then waits until all is done.
fn play(scenario: &mut Scenario) -> Result<(), String> {
    for (at, fault) in std::mem::take(&mut scenario.faults) {
        scenario.world.run_until(at)?;
        match fault {
            Fault::Cut(edge) => scenario.world.cut(edge),
            Fault::Crash(node, away) => scenario.world.crash(node, away),
            Fault::Restart(client) => scenario.world.restart_client(client),
            Fault::Disk(node, faults) => scenario.world.set_disk_faults(node, faults),
            Fault::Routes(node, routes) => scenario.world.set_routes(node, routes)?,
            Fault::Corrupt(node) => scenario.world.corrupt(node),
        }
    }
    scenario.world.run_until(scenario.calm_at)?;
    for client in 0..scenario.world.clients.len() {
        scenario
            .world
            .with_client(client, |client, now| client.heal(now));
    }
    wait(scenario, scenario.done_by, is_done)?;
    // Disks finish what does not hold anybody up.
    scenario
        .world
        .run_until(scenario.world.now + Duration::from_secs(1))
}

fn is_done(scenario: &Scenario) -> bool {
    let world = &scenario.world;
    // What a dead node held is counted when it is met again.
    let met = world.is_whole()
        && world
            .nodes
            .iter()
            .filter_map(|place| place.core.as_ref())
            .all(|core| {
                let report = core.report(world.now);
                report.peers.iter().all(|peer| peer.live || !peer.node)
            });
    let settled = world.nodes.iter().all(|place| {
        place
            .core
            .as_ref()
            .is_some_and(|core| core.ledger().held == 0 && World::is_delivered(core))
    });
    // An answer is not acknowledged end to end: its requester waits for it.
    let answered = world
        .clients
        .iter()
        .flat_map(|client| &client.sent)
        .all(|sent| {
            let refused = sent.result.is_some_and(|(_, end)| end.is_err());
            let awaited = sent.publication.request && sent.cancelled.is_none();
            !awaited || !sent.answers.is_empty() || refused
        });
    met && settled && answered && world.clients.iter().all(Client::is_done)
}

fn wait(
    scenario: &mut Scenario,
    until: Time,
    done: impl Fn(&Scenario) -> bool,
) -> Result<(), String> {
    while !done(scenario) {
        if scenario.world.now >= until {
            let clients: Vec<String> = scenario
                .world
                .clients
                .iter()
                .map(Client::describe)
                .collect();
            let nodes: Vec<String> = scenario
                .world
                .nodes
                .iter()
                .map(|place| match &place.core {
                    Some(core) => format!("{:?}", core.report(until)),
                    None => format!("{} is down", place.config.name),
                })
                .collect();
            return Err(format!(
                "not done in time\n{}\n{}",
                clients.join("\n"),
                nodes.join("\n")
            ));
        }
        scenario
            .world
            .run_until(scenario.world.now + Duration::from_millis(50))?;
    }
    Ok(())
}

/// Everybody leaves: nothing of anybody remains.
fn end(scenario: &mut Scenario) -> Result<(), String> {
    for client in 0..scenario.world.clients.len() {
        scenario
            .world
            .with_client(client, |client, _| client.leave());
    }
    let until = scenario.world.now + Duration::from_secs(10);
    wait(scenario, until, |scenario| {
        let peers = scenario
            .world
            .nodes
            .iter()
            .filter_map(|place| place.core.as_ref())
            .map(|core| core.report(until));
        peers
            .into_iter()
            .all(|report| report.peers.iter().all(|peer| peer.node))
    })?;
    scenario.world.over = true;
    for node in 0..scenario.world.nodes.len() {
        scenario
            .world
            .with_node(node, |node, _| node.leave("the run is over"));
    }
    // What was said goodbye to without being heard is given up when the hold is over.
    let until = scenario.world.now + Duration::from_secs(40);
    let budget = scenario.budget;
    wait(scenario, until, |scenario| {
        let cores = scenario
            .world
            .nodes
            .iter()
            .filter_map(|place| place.core.as_ref());
        cores
            .into_iter()
            .all(|core| core.report(until).credit_left == budget)
    })
    .map_err(|error| format!("{error}\nnot all of {budget:?} came back when all had left"))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs one seed; a panic is an error too.
pub fn attempt(shape: &Shape, seed: u64) -> Result<Outcome, String> {
    std::panic::catch_unwind(|| run(shape, seed)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text
            .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
            .unwrap_or_default())
    })
}

/// Runs many seeds of a scenario: as many as the variable `MCPBUS_SEEDS` says, `ordinary` without it, or only the one
/// that `MCPBUS_SEED` names. Panics with the seed and the command that replays it.
pub fn sweep(name: &str, ordinary: u64) {
    let Some(shape) = SHAPES.iter().find(|shape| shape.name == name) else {
        panic!("no scenario {name}")
    };
    let seeds = match number("MCPBUS_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("MCPBUS_FIRST_SEED").unwrap_or(1);
            first..first + number("MCPBUS_SEEDS").unwrap_or(ordinary)
        }
    };
    let (mut failed, mut first, total) = (0, None, seeds.end - seeds.start);
    let mut more = Vec::new();
    for seed in seeds {
        if let Err(wrong) = attempt(shape, seed) {
            failed += 1;
            if more.len() < 20 {
                more.push(seed);
            }
            first.get_or_insert((seed, wrong));
        }
    }
    if let Some((seed, wrong)) = first {
        panic!(
            "scenario {name}: {failed} of {total} seeds failed, {more:?}; seed {seed}:\n{wrong}\nreplay: MCPBUS_SEED={seed} \
             cargo nextest run -p mcpbus-tests simulation::tests::{name}\n"
        );
    }
}
