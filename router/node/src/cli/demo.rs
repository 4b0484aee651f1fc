//! `mcpbus demo`: the bank case in one process.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use mcpbus::identity::StateDirectory;

use super::output::ReportFormat;
use super::{Exit, output, session};
use crate::demo::report::{Report, peak_resident_bytes};
use crate::demo::run::{DemoError, DemoOptions, DemoOutcome, run as run_demo};

/// Run the bank case in one process: three nodes on loopback, linked over QUIC with mutual TLS.
///
/// An ingest node makes payments, a router node routes them by account 80/20 to two versions of a risk rule, and an
/// aggregator joins their results into totals per account. It ends with a summary and the ledger: what became of
/// every payment. Ctrl-C stops the source; what is under way is still handled.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Payments to make.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// The same seed gives the same payments.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Split message by message instead of account by account: exactly 80/20, but without order per account.
    #[arg(long)]
    no_sticky: bool,
    /// Read payments from the bank's transaction file instead; - is standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// What to print at the end.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let options = DemoOptions {
        messages: arguments.messages,
        seed: arguments.seed,
        sticky: !arguments.no_sticky,
        input: arguments.input.clone(),
        picture: std::io::stderr().is_terminal(),
    };
    session::block_on_threads(async move {
        let authority = StateDirectory::from_environment()
            .map(|state| state.local_authority(SystemTime::now()));
        let authority = match authority {
            Ok(Ok(authority)) => authority,
            Ok(Err(error)) => {
                eprintln!("{error}");
                return Exit::NotPermitted;
            }
            Err(error) => {
                eprintln!("{error}");
                return Exit::NotPermitted;
            }
        };
        match run_demo(&options, &authority, session::interrupted()).await {
            Ok(outcome) => finish(&outcome, arguments.format),
            Err(error) => {
                eprintln!("{error}");
                match error {
                    DemoError::Input(_) => Exit::Usage,
                    DemoError::Authority(_) | DemoError::Issue(_) => Exit::NotPermitted,
                    _ => Exit::Unavailable,
                }
            }
        }
    })
}

fn finish(outcome: &DemoOutcome, format: ReportFormat) -> Exit {
    let report = Report {
        ledger: outcome.ledger.clone(),
        totals: &outcome.totals,
        seconds: outcome.seconds,
        peak_rss_bytes: peak_resident_bytes(),
    };
    let printed = output::print(&match format {
        ReportFormat::Text => report.to_text(),
        ReportFormat::Json => format!("{}\n", report.to_json()),
    });
    if let Some(failure) = &outcome.failure {
        eprintln!("{failure}");
        return Exit::Failure;
    }
    if outcome.ledger.residual() != 0 {
        eprintln!(
            "the ledger has a residual: {} messages are not accounted for",
            outcome.ledger.residual()
        );
        return Exit::Failure;
    }
    printed
}
