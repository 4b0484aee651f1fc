//! Relays UDP to a server and impairs it, so that processes can be tested through a bad network.
//!
//! ```text
//! udp_relay LISTEN SERVER [NAME=VALUE ...]
//!
//! delay, jitter, reorder_by   in milliseconds, each way
//! loss, duplicate, corrupt, reorder   probabilities from 0 to 1
//! rate, queue                 bytes per second, and bytes that wait for it
//! seed                        where chance begins (default 1)
//! ```
//!
//! Prints `listens on ADDRESS`. Commands on its input: `cut MILLISECONDS`, `counts`. Ends with its input.

use mcpbus_tests::relay::{RelayImpairment, UdpRelay};
use mcpbus_transport::link::impairment::{ImpairmentConfig, RateLimit};
use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

const NAMES: [&str; 10] = [
    "delay",
    "jitter",
    "reorder_by",
    "loss",
    "duplicate",
    "corrupt",
    "reorder",
    "rate",
    "queue",
    "seed",
];

type Settings = BTreeMap<String, String>;

fn setting<T: FromStr>(settings: &Settings, name: &str, otherwise: T) -> Result<T, String> {
    match settings.get(name) {
        None => Ok(otherwise),
        Some(value) => value
            .parse()
            .map_err(|_| format!("{name}={value} is no number")),
    }
}

fn impairment(settings: &Settings) -> Result<RelayImpairment, String> {
    let millis = |name| Ok::<_, String>(Duration::from_millis(setting(settings, name, 0)?));
    let bytes_per_second = setting(settings, "rate", 0)?;
    let config = ImpairmentConfig {
        delay: millis("delay")?,
        jitter: millis("jitter")?,
        loss: setting(settings, "loss", 0.0)?,
        bursts: None,
        reorder: setting(settings, "reorder", 0.0)?,
        reorder_by: millis("reorder_by")?,
        duplicate: setting(settings, "duplicate", 0.0)?,
        corrupt: setting(settings, "corrupt", 0.0)?,
        rate: (bytes_per_second > 0).then_some(RateLimit {
            bytes_per_second,
            queue_bytes: setting(settings, "queue", 256 * 1024)?,
        }),
    };
    Ok(RelayImpairment {
        to_server: config.clone(),
        to_clients: config,
        seed: setting(settings, "seed", 1)?,
    })
}

fn start(arguments: &[String]) -> Result<UdpRelay, String> {
    let [listen, server, rest @ ..] = arguments else {
        return Err(String::from(
            "usage: udp_relay LISTEN SERVER [NAME=VALUE ...]",
        ));
    };
    let mut settings = Settings::new();
    for argument in rest {
        let pair = argument
            .split_once('=')
            .filter(|(name, _)| NAMES.contains(name));
        let (name, value) =
            pair.ok_or_else(|| format!("{argument}: expected NAME=VALUE with one of {NAMES:?}"))?;
        settings.insert(name.to_owned(), value.to_owned());
    }
    let address = |text: &String| text.parse().map_err(|_| format!("{text} is no address"));
    UdpRelay::start(address(listen)?, address(server)?, impairment(&settings)?)
        .map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let relay = match start(&arguments) {
        Ok(relay) => relay,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!("listens on {}", relay.address());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["cut", millis] if millis.parse::<u64>().is_ok() => {
                relay.cut(Duration::from_millis(millis.parse().unwrap_or_default()));
            }
            ["counts"] => {
                let (there, back) = relay.counts();
                println!("to server {there:?}\nto clients {back:?}");
            }
            _ => eprintln!("{line}: expected cut MILLISECONDS or counts"),
        }
    }
    ExitCode::SUCCESS
}
