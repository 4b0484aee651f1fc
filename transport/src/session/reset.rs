//! Starting anew with a peer that forgot, and giving a peer up.

use super::core::Session;
use super::event::Event;
use super::window::Window;
use crate::wire::Record;

/// What a session still held when it was given up.
#[derive(Debug, Default)]
pub struct Abandoned {
    /// Records the peer never took over, with their tokens, by flow and in order.
    pub records: Vec<(u32, Vec<(Record, u64)>)>,
    /// Messages the peer had taken over without passing them on.
    pub lost: u64,
    /// What this end still holds of what came, by receiving flow.
    pub windows: Vec<(u32, Window)>,
}

impl Session {
    /// The peer has no memory of this session. Receiving flows end, sending flows start again.
    pub(super) fn reset(&mut self, died: bool) {
        let windows = self.take_windows();
        self.signals.reset();
        self.failures.reset();
        let mut lost = Vec::new();
        self.to_open.clear();
        self.to_close.clear();
        for ready in &mut self.ready {
            ready.clear();
        }
        for (&id, flow) in &mut self.send_flows {
            let count = flow.restart(id, &mut self.releases);
            if count > 0 {
                lost.push((id, count));
            }
            self.to_open.push_back(id);
        }
        lost.sort_unstable();
        self.to_open.make_contiguous().sort_unstable();
        self.events.push_back(Event::Reset {
            died,
            lost,
            windows,
        });
    }

    fn take_windows(&mut self) -> Vec<(u32, Window)> {
        self.dirty.clear();
        self.closing.clear();
        let mut windows: Vec<_> = std::mem::take(&mut self.receive_flows)
            .into_iter()
            .map(|(id, flow)| (id, flow.window))
            .collect();
        windows.sort_unstable_by_key(|(id, _)| *id);
        windows
    }

    /// Gives the session up: the peer left, or did not come back. The owner decides what becomes of each record.
    pub fn abandon(&mut self) -> Abandoned {
        let mut abandoned = Abandoned {
            windows: self.take_windows(),
            ..Abandoned::default()
        };
        for (id, flow) in std::mem::take(&mut self.send_flows) {
            let (records, lost) = flow.abandon(id, &mut self.releases);
            abandoned.lost += lost;
            if !records.is_empty() {
                abandoned.records.push((id, records));
            }
        }
        abandoned.records.sort_unstable_by_key(|(id, _)| *id);
        self.to_open.clear();
        self.to_close.clear();
        self.signals.reset();
        self.failures.reset();
        abandoned
    }

    /// Gives one sending flow up, for example because its subscription ended. Returns what the peer never took
    /// over. The peer learns that the flow is closed.
    pub fn abandon_flow(&mut self, flow: u32) -> Abandoned {
        let mut abandoned = Abandoned::default();
        if let Some(send) = self.send_flows.remove(&flow) {
            if send.opened {
                self.to_close
                    .push_back((flow, send.written(), send.begun()));
            }
            self.to_open.retain(|id| *id != flow);
            let (records, lost) = send.abandon(flow, &mut self.releases);
            abandoned.lost = lost;
            abandoned.records.push((flow, records));
        }
        abandoned
    }
}
