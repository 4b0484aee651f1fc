//! The live picture of a demo run as a Model-Controller-Presenter triad.
//!
//! The model keeps what was seen of the run, the controller turns samples and Ctrl-C into its commands, the presenter
//! makes lines of it, and a view draws them. A terminal that is slow misses pictures and holds nothing back.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mcpbus_actors::mcp::{Controller, Model, View};
use mcpbus_actors::{Kind, Message};

/// What is measured of the run at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Time since the start.
    pub elapsed: Duration,
    /// Payments that the source has made.
    pub made: u64,
    /// Payments assessed by version 1 and 2.
    pub assessed: [u64; 2],
    /// Queue depths by name.
    pub queues: Vec<(String, u64)>,
}

/// What the model is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A new measurement.
    Observe(Sample),
    /// The source stops; what is under way is still handled.
    Drain,
}

impl Message for Command {
    const KIND: Kind = Kind::new("demo.command", 1, "observe | drain");

    fn weight(&self) -> usize {
        let queues = match self {
            Self::Observe(sample) => sample.queues.iter().map(|(name, _)| name.len() + 32).sum(),
            Self::Drain => 0,
        };
        size_of::<Self>() + queues
    }
}

/// The model: the newest sample, and the rate since the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Payments to come in all; 0 when that is not known.
    pub total: u64,
    /// The newest sample.
    pub sample: Sample,
    /// Payments assessed per second since the sample before.
    pub rate: f64,
    /// Whether the source was stopped.
    pub draining: bool,
}

impl Model for Progress {
    type Command = Command;
    type State = Self;

    fn apply(&mut self, command: Command) {
        match command {
            Command::Drain => self.draining = true,
            Command::Observe(sample) => {
                let seconds = sample
                    .elapsed
                    .saturating_sub(self.sample.elapsed)
                    .as_secs_f64();
                let before: u64 = self.sample.assessed.iter().sum();
                let now: u64 = sample.assessed.iter().sum();
                if seconds > 0.0 {
                    self.rate = now.saturating_sub(before) as f64 / seconds;
                }
                self.sample = sample;
            }
        }
    }

    fn state(&self) -> Self {
        self.clone()
    }
}

/// What happens outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The run was looked at.
    Sampled(Sample),
    /// Ctrl-C.
    Interrupted,
}

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events;

impl Controller for Events {
    type Event = Event;
    type Command = Command;

    fn control(&mut self, event: Event) -> Vec<Command> {
        vec![match event {
            Event::Sampled(sample) => Command::Observe(sample),
            Event::Interrupted => Command::Drain,
        }]
    }
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Payments done and in all.
    pub position: (u64, u64),
    /// The text beside the bar.
    pub text: String,
}

/// The presenter.
pub fn present(progress: &Progress) -> Picture {
    let sample = &progress.sample;
    let done: u64 = sample.assessed.iter().sum();
    let share = 100.0 * sample.assessed[0] as f64 / done.max(1) as f64;
    let queues: Vec<String> = sample
        .queues
        .iter()
        .map(|(name, depth)| format!("{name} {depth}"))
        .collect();
    let state = if progress.draining { "draining, " } else { "" };
    let text = format!(
        "{state}{:.0}/s, split {share:.1}/{:.1}, queues: {}",
        progress.rate,
        if done == 0 { 0.0 } else { 100.0 - share },
        if queues.is_empty() {
            "none".to_owned()
        } else {
            queues.join(", ")
        }
    );
    Picture {
        position: (done, progress.total.max(sample.made)),
        text,
    }
}

/// The view: a bar on the terminal of standard error.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar; it draws nothing where standard error is no terminal.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{bar:24} {human_pos}/{human_len} {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl View<Picture> for Bar {
    fn render(&mut self, picture: Picture) {
        self.0.set_length(picture.position.1);
        self.0.set_position(picture.position.0);
        self.0.set_message(picture.text);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, one: u64, two: u64) -> Sample {
        Sample {
            elapsed: Duration::from_secs(seconds),
            made: 100,
            assessed: [one, two],
            queues: vec![("totals".to_owned(), 3)],
        }
    }

    #[test]
    fn each_role_can_be_tried_alone() {
        let mut controller = Events;
        let mut model = Progress {
            total: 200,
            ..Progress::default()
        };
        for event in [
            Event::Sampled(sample(1, 8, 2)),
            Event::Sampled(sample(2, 40, 10)),
            Event::Interrupted,
        ] {
            controller
                .control(event)
                .into_iter()
                .for_each(|command| model.apply(command));
        }
        let picture = present(&model.state());
        assert_eq!(picture.position, (50, 200));
        assert_eq!(
            picture.text,
            "draining, 40/s, split 80.0/20.0, queues: totals 3"
        );
    }

    #[test]
    fn an_empty_run_is_presented_too() {
        assert_eq!(
            present(&Progress::default()).text,
            "0/s, split 0.0/0.0, queues: none"
        );
    }
}
