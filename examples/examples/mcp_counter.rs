//! Model, Controller, Presenter, View: a counter. The model owns the state; everyone else sees the newest one.

use mcpbus::actors::Message;
use mcpbus::actors::channel::Capacity;
use mcpbus::actors::mcp::{Controller, Model, Triad};

#[derive(Clone, Debug, Message)]
enum Command {
    Add(i64),
    Reset,
}

#[derive(Default)]
struct Counter {
    value: i64,
    changes: u64,
}

impl Model for Counter {
    type Command = Command;
    type State = (i64, u64);

    fn apply(&mut self, command: Command) {
        self.changes += 1;
        match command {
            Command::Add(number) => self.value += number,
            Command::Reset => self.value = 0,
        }
    }

    fn state(&self) -> (i64, u64) {
        (self.value, self.changes)
    }
}

/// Turns typed text into commands.
struct Keys;

impl Controller for Keys {
    type Event = &'static str;
    type Command = Command;

    fn control(&mut self, event: &'static str) -> Vec<Command> {
        match event {
            "+" => vec![Command::Add(1)],
            "-" => vec![Command::Add(-1)],
            "0" => vec![Command::Reset],
            _ => Vec::new(),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let presenter = |(value, changes): &(i64, u64)| format!("{value:+} after {changes} changes");
    let triad = Triad::on_tasks(Counter::default(), presenter, Capacity::messages(16))?;
    triad.attach(|text: String| println!("view: {text}"))?;
    let mut keys = Keys;
    for key in ["+", "+", "+", "-", "?", "0", "+", "+"] {
        triad.control(&mut keys, key).await?;
    }
    while triad.state().1 < 7 {
        tokio::task::yield_now().await;
    }
    println!("now: {}", triad.present());
    assert_eq!(triad.state(), (2, 7));
    Ok(())
}
