//! Typed topologies over several nodes: the same topology function runs on one thread, on threads, or as several
//! processes; only the placement differs.
//!
//! Each process builds the whole topology, says which stages lie where, and starts its own part
//! ([`Placement::start`]). An edge whose ends lie on different nodes becomes an internal subject of its own; an open
//! port is bound to a user's subject. Stages never see a subject.
//!
//! Invariants:
//! - only what leaves the process is encoded, and only its type needs [`WireMessage`];
//! - messages of one edge arrive in the order in which they were sent;
//! - a part drains when the parts before it have: the end of an edge travels behind its last message;
//! - an edge whose ends do not mean the same type never comes up, and says which type differs and how;
//! - bodies of another type than the receiver expects never reach a stage: they are rejected and counted.

mod carrier;
mod error;
mod running;
mod schema;

pub use error::PlacementError;
pub use running::{Bridged, EdgeState, PlacedReport, PlacedRunning};

use crate::client::{Client, SubscribeOptions};
use crate::codec::WireMessage;
use carrier::{Carrier, Egress, Ingress, Route};
use mcpbus_actors::Key;
use mcpbus_actors::channel::{Receiver, Sender};
use mcpbus_actors::topology::{Direction, Topology};
use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// First token of the subjects of edges between nodes.
const INTERNAL: &str = "$edge";

/// Says which stages of a topology lie on which node.
pub struct Placement {
    topology: Topology,
    nodes: BTreeMap<String, String>,
    home: Option<String>,
    carriers: HashMap<TypeId, Carrier>,
    outputs: BTreeMap<String, Route>,
    inputs: BTreeMap<String, (String, SubscribeOptions)>,
}

impl std::fmt::Debug for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placement")
            .field("nodes", &self.nodes)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

impl Placement {
    /// A placement of this topology, with no stage placed yet.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            nodes: BTreeMap::new(),
            home: None,
            carriers: HashMap::new(),
            outputs: BTreeMap::new(),
            inputs: BTreeMap::new(),
        }
    }

    /// Messages of type `M` may leave the process.
    #[must_use]
    pub fn wire<M: WireMessage>(mut self) -> Self {
        self.carriers.insert(TypeId::of::<M>(), Carrier::of::<M>());
        self
    }

    /// This stage lies on this node.
    #[must_use]
    pub fn place(mut self, stage: &str, node: &str) -> Self {
        self.nodes.insert(stage.to_owned(), node.to_owned());
        self
    }

    /// Stages that are not placed lie on this node.
    #[must_use]
    pub fn home(mut self, node: &str) -> Self {
        self.home = Some(node.to_owned());
        self
    }

    /// What leaves by an open port is published; `subject` names the subject of each message.
    #[must_use]
    pub fn publish_to<M: WireMessage>(
        self,
        port: &str,
        subject: impl Fn(&M, Option<Key>) -> String + Send + Sync + 'static,
    ) -> Self {
        let mut placement = self.wire::<M>();
        let subject: Box<dyn std::any::Any + Send + Sync> =
            Box::new(carrier::SubjectOf::<M>(Box::new(subject)));
        placement
            .outputs
            .insert(port.to_owned(), Route::Open(Arc::from(subject)));
        placement
    }

    /// What comes in by an open port is what is published on the subjects of a pattern.
    #[must_use]
    pub fn subscribe_from<M: WireMessage>(
        self,
        port: &str,
        pattern: &str,
        options: SubscribeOptions,
    ) -> Self {
        let mut placement = self.wire::<M>();
        placement
            .inputs
            .insert(port.to_owned(), (pattern.to_owned(), options));
        placement
    }

    /// Starts the stages that lie on `node`, in the present tokio runtime. Edges to other nodes go by way of `client`.
    ///
    /// # Errors
    ///
    /// [`PlacementError`]; nothing runs then.
    pub async fn start(self, node: &str, client: &Client) -> Result<PlacedRunning, PlacementError> {
        let plan = self.topology.plan();
        for stage in self.nodes.keys() {
            if plan.stage(stage).is_none() {
                return Err(PlacementError::NoSuchStage {
                    stage: stage.clone(),
                });
            }
        }
        let mut here = BTreeSet::new();
        for stage in &plan.stages {
            match self.nodes.get(&stage.name).or(self.home.as_ref()) {
                Some(place) if place == node => {
                    here.insert(stage.name.clone());
                }
                Some(_) => {}
                None => {
                    return Err(PlacementError::NotPlaced {
                        stage: stage.name.clone(),
                    });
                }
            }
        }
        let Self {
            topology,
            carriers,
            outputs,
            inputs,
            ..
        } = self;
        let name = plan.name.clone();
        let (running, boundaries) = topology
            .start_part(|stage| here.contains(stage))
            .map_err(|error| PlacementError::Start(error.to_string()))?;
        let mut placed = PlacedRunning::new(running, client.clone());
        for boundary in boundaries {
            let edge = boundary.edge.clone();
            let carrier =
                *carriers
                    .get(&boundary.type_id)
                    .ok_or_else(|| PlacementError::NotWired {
                        edge: edge.clone(),
                        kind: boundary.kind.name,
                    })?;
            match boundary.direction {
                Direction::Out => {
                    let route = match outputs.get(&edge) {
                        Some(route) => route.clone(),
                        None if boundary.open => {
                            return Err(PlacementError::Unbound { port: edge });
                        }
                        None => Route::Edge(Arc::from(internal_subject(&name, &edge))),
                    };
                    placed.add_egress(
                        carrier,
                        Egress {
                            edge,
                            route,
                            receiver: boundary.end,
                        },
                    );
                }
                Direction::In => {
                    let (pattern, options, ends) = match inputs.get(&edge) {
                        Some((pattern, options)) => (pattern.clone(), options.clone(), false),
                        None if boundary.open => {
                            return Err(PlacementError::Unbound { port: edge });
                        }
                        None => (
                            internal_subject(&name, &edge),
                            SubscribeOptions::default().group(node),
                            true,
                        ),
                    };
                    let refused = |error| PlacementError::Subscribe {
                        edge: edge.clone(),
                        error,
                    };
                    // Ready before the edge is: who finds its receiver can ask it.
                    let questions = ends
                        .then(|| client.subscribe(&schema_subject(&pattern), options.clone()))
                        .transpose()
                        .map_err(refused)?;
                    let subscription = client.subscribe(&pattern, options).map_err(refused)?;
                    placed.add_ingress(
                        carrier,
                        Ingress {
                            edge,
                            subscription,
                            questions,
                            sender: boundary.end,
                            ends,
                        },
                    );
                }
            }
        }
        Ok(placed)
    }
}

/// The subject of an edge between nodes: equal in all processes that build the same topology.
fn internal_subject(topology: &str, edge: &str) -> String {
    let hash = |text: &str| Key::from_bytes(text.as_bytes()).value();
    format!("{INTERNAL}.{:016x}.{:016x}", hash(topology), hash(edge))
}

/// The subject on which the sending end of an edge asks about its type.
fn schema_subject(edge: &str) -> String {
    format!("{edge}.schema")
}

/// The receiving end of a boundary.
fn receiver<M: WireMessage>(end: Box<dyn std::any::Any + Send>) -> Option<Receiver<M>> {
    end.downcast().ok().map(|end| *end)
}

/// The sending end of a boundary.
fn sender<M: WireMessage>(end: Box<dyn std::any::Any + Send>) -> Option<Sender<M>> {
    end.downcast().ok().map(|end| *end)
}
