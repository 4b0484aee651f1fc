//! `mcpbus reply`: answers requests with a child process.

use std::time::Duration;

use clap::Args;
use mcpbus::client::{Delivery, SubscribeOptions, Subscription};
use mcpbus::routing::Pattern;

use super::connection::{ConnectionArguments, connect, duration};
use super::subscribe::pattern;
use super::{Exit, session};
use crate::exec::{Answer, Exec, ExecSpec};

/// Answer requests: each one is a line to a child process, whose line is the reply.
///
/// A child that does not answer in time is killed and replaced. An empty line is an empty reply.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
    /// The subjects to answer: * is one token, > is the rest.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub subject: Pattern,
    /// Share the requests with the other members of this group.
    #[arg(long)]
    pub group: Option<String>,
    /// The command, run by sh -c.
    #[arg(long, value_name = "COMMAND")]
    pub exec: String,
    /// Requests under way in the child, at most.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub window: u32,
    /// How long the child may take for a request.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

impl Arguments {
    /// The child that answers: a request is given to one child only, since its deadline would pass meanwhile.
    pub fn exec_spec(&self, max_answer: usize) -> ExecSpec {
        ExecSpec {
            command: ["sh", "-c", self.exec.as_str()].map(str::to_owned).to_vec(),
            window: self.window as usize,
            timeout: self.timeout,
            max_deliver: 1,
            max_answer,
        }
    }
}

/// The largest answer of the child in bytes; the bus carries replies of up to 64 KiB.
const MAX_ANSWER: usize = 64 << 10;
/// How long the child may take to end after a Ctrl-C.
const END: Duration = Duration::from_secs(3);

/// Answers requests until it is interrupted.
pub(super) fn run(arguments: &Arguments) -> Exit {
    let exec = match Exec::start("reply", arguments.exec_spec(MAX_ANSWER)) {
        Ok(exec) => exec,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    let kill = exec.kill_switch();
    let exit = session::block_on(async move {
        let client = match connect(&arguments.connection, "reply").await {
            Ok(client) => client,
            Err(exit) => return exit,
        };
        let options = SubscribeOptions {
            group: arguments.group.clone(),
            window_messages: Some(u64::from(arguments.window).max(16)),
            ..SubscribeOptions::default()
        };
        let mut subscription = match client.subscribe(arguments.subject.as_str(), options) {
            Ok(subscription) => subscription,
            Err(error) => {
                eprintln!("{error}");
                return Exit::Usage;
            }
        };
        tokio::select! {
            ready = super::subscribe::wait_ready(&mut subscription) => if let Err(exit) = ready { return exit },
            () = session::interrupted() => return Exit::Success,
        }
        eprintln!("ready");
        let (done, mut finished) = tokio::sync::oneshot::channel();
        let spawned = std::thread::Builder::new()
            .name("reply".to_owned())
            .spawn(move || {
                answer_all(subscription, exec);
                let _nobody_asks = done.send(());
            });
        if let Err(error) = spawned {
            eprintln!("cannot start a thread for the child: {error}");
            return Exit::Failure;
        }
        tokio::select! {
            _ = &mut finished => {
                eprintln!("the subscription ended: the node refused it or went away for good");
                return Exit::Failure;
            }
            () = session::interrupted() => {}
        }
        // Closing ends the subscription, and with it the thread and the child.
        client.close(Duration::from_secs(1)).await;
        let _killed_otherwise = tokio::time::timeout(END, finished).await;
        Exit::Success
    });
    kill.kill();
    exit
}

fn answer_all(mut subscription: Subscription, mut exec: Exec<Delivery>) {
    let mut answers = Vec::new();
    while let Some(first) = subscription.next_blocking() {
        let mut next = Some(first);
        while let Some(delivery) = next {
            let body = delivery.body().clone();
            exec.take(delivery, body, &mut answers);
            send(&mut answers);
            next = subscription.try_next();
        }
        exec.settle(&mut answers);
        send(&mut answers);
    }
    exec.finish(&mut answers);
    send(&mut answers);
}

fn send(answers: &mut Vec<Answer<Delivery>>) {
    for answer in answers.drain(..) {
        let sent = match answer {
            Answer::Line { item, line } if item.is_request() => item.reply(&line),
            Answer::Filtered { item } if item.is_request() => item.reply(b""),
            Answer::GivenUp { item, cause } if item.is_request() => {
                item.reply_failed(&cause.to_string())
            }
            // A plain message on a request's subject was handled like one; nobody waits for the answer.
            Answer::Line { item, .. } | Answer::Filtered { item } => {
                item.ack();
                Ok(())
            }
            Answer::GivenUp { item, .. } => {
                item.reject();
                Ok(())
            }
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "a reply was not sent");
        }
    }
}
