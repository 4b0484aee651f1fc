//! What goes wrong in the world: links that are cut, nodes that die and come back.

use super::world::{End, What, World};
use mcpbus::node::NodeCore;
use mcpbus::routing::RouteTable;
use mcpbus_transport::bridge::LinkHandle;
use mcpbus_transport::link::LaneId;
use std::time::Duration;

impl World {
    /// Cuts the newest link of an edge at some byte.
    pub fn cut(&mut self, edge: usize) {
        if let Some(id) = self.current[edge] {
            self.cut_link(id);
        }
    }

    fn cut_link(&mut self, id: u64) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        if link.cut {
            return;
        }
        let ends = link.ends;
        let now = self.now;
        for side in 0..2 {
            let reader = ends[1 - side];
            let lanes = self.links.get(&id).map_or(0, |link| link.pipes[side].len());
            for lane in 0..lanes {
                let most = if self.random.one_in(2) {
                    self.random.between(0, 300)
                } else {
                    0
                };
                let Some(link) = self.links.get_mut(&id) else {
                    return;
                };
                let rest = link.pipes[side][lane].cut(most as usize);
                let Some(lane_id) = LaneId::new(lane as u8) else {
                    continue;
                };
                let handle = LinkHandle(id);
                if let Some(bytes) = rest
                    && let Some(owner) = self.owner(reader)
                    && (lane == 0 || owner.reads_data(handle))
                {
                    owner.receive(handle, lane_id, bytes, now);
                }
            }
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.cut = true;
        }
        self.note(id << 16);
        for (side, end) in ends.into_iter().enumerate() {
            let late = self.weather.silent && self.random.one_in(8);
            let after = if late {
                Duration::from_secs(4)
            } else {
                self.random.micros(0, 50_000)
            };
            self.schedule(after, What::Down { link: id, side });
            self.pump(end);
        }
    }

    /// A node gets other routes.
    ///
    /// # Errors
    ///
    /// It does not take them.
    pub fn set_routes(&mut self, node: usize, routes: RouteTable) -> Result<(), String> {
        // One that starts again later has them from then on.
        self.nodes[node].config.routes = routes.clone();
        let mut result = Ok(());
        self.with_node(node, |core, now| {
            result = core.set_routes(routes, now).map(|_| ());
        });
        self.note(node as u64 | 1 << 51);
        result.map_err(|error| error.to_string())
    }

    /// A node dies with all it holds, and comes back after a while.
    pub fn crash(&mut self, node: usize, away: Duration) {
        let Some(core) = self.nodes[node].core.take() else {
            return;
        };
        self.nodes[node].former.push(core.ledger());
        self.note(node as u64 | 1 << 50);
        self.timers.remove(&End::Node(node));
        self.lose_power(node);
        let links: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| link.ends.contains(&End::Node(node)))
            .map(|(id, _)| *id)
            .collect();
        for id in links {
            self.cut_link(id);
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            for side in 0..2 {
                if link.ends[side] == End::Node(node) {
                    link.attached[side] = false;
                    let edge = link.edge;
                    if side == 0 && self.current[edge] == Some(id) {
                        self.current[edge] = None;
                    }
                }
            }
        }
        self.links.retain(|_, link| link.attached != [false, false]);
        self.schedule(away, What::Start { node });
    }

    pub(super) fn start(&mut self, node: usize) {
        let seed = self.random.number();
        let place = &mut self.nodes[node];
        place.config.epoch += 1;
        place.config.seed = seed;
        place.core = Some(NodeCore::new(place.config.clone()));
        self.open_store(node);
        for edge in 0..self.edges.len() {
            if self.edges[edge].dialer == End::Node(node) {
                let after = self.random.micros(0, 50_000);
                self.schedule(after, What::Dial { edge });
            }
        }
        self.pump(End::Node(node));
    }
}
