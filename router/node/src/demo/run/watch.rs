//! Looking at a run while it goes on, for the live picture.

use std::future::Future;
use std::time::Duration;

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::mcp::Triad;
use mcpbus_actors::topology::Observer;
use mcpbus_actors::{Clock as _, SystemClock, Time};

use super::DemoOptions;
use crate::demo::picture::{
    Bar, Event as PictureEvent, Events as PictureEvents, Progress, Sample, present,
};
use crate::demo::stages::Live;

/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the live picture looks at.
pub(super) struct Watch<'a> {
    pub(super) live: &'a Live,
    pub(super) clock: SystemClock,
    pub(super) risk: Observer,
    pub(super) ingest: Observer,
}

/// There is no value of it: what returns it never returns.
pub(super) enum Never {}

impl Watch<'_> {
    /// Draws until it is dropped, and hears the interruption meanwhile.
    pub(super) async fn watch(
        &self,
        options: &DemoOptions,
        interrupt: impl Future<Output = ()>,
    ) -> Never {
        let total = if options.input.is_some() {
            0
        } else {
            options.messages
        };
        let model = Progress {
            total,
            ..Progress::default()
        };
        let triad = Triad::on_tasks(model, present, Capacity::messages(16))
            .ok()
            .filter(|_| options.picture);
        if let Some(triad) = &triad {
            // Without a picture the run is the same.
            let _no_picture = triad.attach(Bar::new());
        }
        let mut controller = PictureEvents;
        let start = self.clock.now();
        let mut drained = false;
        tokio::pin!(interrupt);
        loop {
            let event = tokio::select! {
                () = &mut interrupt, if !drained => {
                    drained = true;
                    tracing::info!("interrupted: what is under way is still handled");
                    PictureEvent::Interrupted
                }
                () = tokio::time::sleep(LOOK) => PictureEvent::Sampled(self.sample(start)),
            };
            if let Some(triad) = &triad {
                // The model ends only with the triad.
                let _model_is_there = triad.control(&mut controller, event).await;
            }
        }
    }

    fn sample(&self, start: Time) -> Sample {
        use std::sync::atomic::Ordering::Relaxed;
        let reports = [self.ingest.report(), self.risk.report()];
        let queues = reports.iter().flat_map(|report| &report.edges);
        Sample {
            elapsed: self.clock.now().saturating_since(start),
            made: self.live.made.load(Relaxed),
            assessed: [
                self.live.assessed[0].load(Relaxed),
                self.live.assessed[1].load(Relaxed),
            ],
            queues: queues
                .map(|edge| (edge.name.clone(), edge.queued_messages as u64))
                .collect(),
        }
    }
}
