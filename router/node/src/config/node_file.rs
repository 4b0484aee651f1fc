//! The typed node file: who this node is, whom it talks to, where subjects go, and its built-in stages.

use std::net::SocketAddr;
use std::path::PathBuf;

use mcpbus::routing::{self, RouteTable};

use super::document::Document;
use super::limits::Limits;
use super::mistake::{Mistake, Place, Spotted};
use super::reader::{Mistakes, TableReader};
use super::route::{self, Route};
use super::stage::Stage;

/// A verified node file.
#[derive(Clone, Debug)]
pub struct NodeFile {
    /// `node.name`: at most 64 letters, digits, `-` and `_`; the host's name by default.
    pub name: String,
    /// `listen.quic`: where peers may connect; none means that nobody can.
    pub listen: Option<SocketAddr>,
    /// `[[link]]`: other nodes to connect to, and to reconnect to for ever.
    pub links: Vec<Spotted<String>>,
    /// `[[route]]`: decisions about subjects.
    pub routes: Vec<Route>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[tls]`: identity directory and trust file; none means the certificate authority of the user's state directory.
    pub tls: Tls,
    /// `node.data`: the directory of what outlives the node.
    pub data: Option<PathBuf>,
    /// `[spool]`: what is stored on the disk; none means that nothing is.
    pub spool: Option<Spool>,
    /// `[[stage]]`: built-in stages, in the order of the file.
    pub stages: Vec<Stage>,
}

impl NodeFile {
    /// The routes in the form that the node decides with.
    ///
    /// # Errors
    /// [`RouteTableError`]; a file that was read by [`super::load`] gives none.
    pub fn route_table(&self) -> Result<RouteTable, RouteTableError> {
        let decided = self.routes.iter().map(Route::decided);
        let routes = decided.collect::<Result<_, _>>()?;
        RouteTable::new(routes).map_err(RouteTableError::Route)
    }
}

/// Why the routes of a file cannot be decided with. The person who wrote the file recovers.
#[derive(Debug)]
pub enum RouteTableError {
    /// A subject is no pattern.
    Pattern(routing::PatternError),
    /// A policy is unknown.
    Policy(mcpbus::policy::UnknownPolicy),
    /// A guard cannot be.
    Guards(mcpbus::resilience::ConfigError),
    /// A route leads nowhere, or two are equal.
    Route(routing::RouteError),
}

impl std::fmt::Display for RouteTableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pattern(error) => error.fmt(f),
            Self::Policy(error) => error.fmt(f),
            Self::Guards(error) => error.fmt(f),
            Self::Route(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RouteTableError {}

/// `[spool]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// `size`: what it may hold, in bytes. Default 1 GiB.
    pub size: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self { size: 1 << 30 }
    }
}

impl Spool {
    /// Its file in the node's data directory.
    pub fn file(data: &std::path::Path) -> PathBuf {
        data.join("spool.redb")
    }
}

/// `[tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `identity`: a directory as `mcpbus cert issue` writes it.
    pub identity: Option<PathBuf>,
    /// `trust`: a PEM file with the certificates of the authorities to trust; `trust.pem` of the identity by default.
    pub trust: Option<PathBuf>,
}

/// Reads the tree; what cannot be read is reported and replaced by its default, so that all mistakes are found.
pub(super) fn read(document: &Document, mistakes: &mut Vec<Mistake>) -> NodeFile {
    let found = Mistakes::default();
    let root = TableReader::new(document.root(), Place::Whole, "", &found);
    let mut data = None;
    let name = root.table("node").and_then(|node| {
        data = node.text("data").map(|text| PathBuf::from(text.value));
        let name = node.text("name");
        if let Some(name) = &name
            && let Err(problem) = verify_name(&name.value)
        {
            node.report(Mistake::new(name.place.clone(), "node.name", problem));
        }
        node.finish();
        name.map(|name| name.value)
    });
    let listen = root.table("listen").and_then(|listen| {
        let address =
            listen
                .required_text("quic")
                .and_then(|text| match text.value.parse::<SocketAddr>() {
                    Ok(address) => Some(address),
                    Err(_) => {
                        listen.report(
                            Mistake::new(
                                text.place,
                                "listen.quic",
                                format!("`{}` is not an address with a port", text.value),
                            )
                            .hint("write for example \"127.0.0.1:7400\" or \"[::]:7400\""),
                        );
                        None
                    }
                });
        listen.finish();
        address
    });
    let links = root
        .tables("link")
        .into_iter()
        .filter_map(read_link)
        .collect();
    let routes = root
        .tables("route")
        .into_iter()
        .filter_map(route::read)
        .collect();
    let limits = root
        .table("limits")
        .map_or_else(Limits::default, Limits::read);
    let tls = root.table("tls").map_or_else(Tls::default, |tls| {
        let read = Tls {
            identity: tls.text("identity").map(|text| PathBuf::from(text.value)),
            trust: tls.text("trust").map(|text| PathBuf::from(text.value)),
        };
        if read.identity.is_none() {
            tls.mistake("identity", "`tls.identity` is missing: a node cannot be trusted without an identity of its own");
        }
        tls.finish();
        read
    });
    let spool = root.table("spool").map(|spool| {
        let size = spool
            .size("size", 1 << 20..=1 << 44)
            .unwrap_or(Spool::default().size);
        if data.is_none() {
            spool.mistake(
                "size",
                "`[spool]` needs `node.data`, the directory to keep it in",
            );
        }
        spool.finish();
        Spool { size }
    });
    let stages = root
        .tables("stage")
        .into_iter()
        .filter_map(|reader| Stage::read(reader, &limits))
        .collect();
    root.finish();
    mistakes.append(&mut found.borrow_mut());
    NodeFile {
        name: name.unwrap_or_else(host_name),
        listen,
        links,
        routes,
        limits,
        tls,
        data,
        spool,
        stages,
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '-'
            }
        })
        .take(64)
        .collect();
    if name.is_empty() {
        "node".to_owned()
    } else {
        name
    }
}

/// Checks the name of a node, a stage, an edge or a group.
pub(super) fn verify_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is empty".to_owned());
    }
    if name.len() > 64 {
        return Err(format!("the name `{name}` is longer than 64 bytes"));
    }
    match name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_'))
    {
        Some(c) => Err(format!(
            "the name `{name}` holds `{c}`; use letters, digits, `-` and `_`"
        )),
        None => Ok(()),
    }
}

/// Checks an address of another node: `HOST:PORT`.
pub fn verify_host_port(text: &str) -> Result<(), String> {
    let wrong = || {
        format!(
            "`{text}` is not HOST:PORT; write for example \"127.0.0.1:7500\" or \"node-b:7500\""
        )
    };
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host_fits = !host.is_empty() && !host.contains([':', ' ', '/', '@']);
    match port.parse::<u16>() {
        Ok(port) if port != 0 && host_fits => Ok(()),
        _ => Err(wrong()),
    }
}

fn read_link(reader: TableReader<'_>) -> Option<Spotted<String>> {
    let to = reader.required_text("to");
    if let Some(to) = &to
        && let Err(problem) = verify_host_port(&to.value)
    {
        reader.mistake("to", problem);
    }
    reader.finish();
    to
}
