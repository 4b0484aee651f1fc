//! Carries the messages of one edge over the bus: encodes on one side, decodes on the other.

use super::running::{EdgeState, Progress};
use super::schema::Schema;
use super::{receiver, schema_subject, sender};
use crate::client::{Client, Delivery, Publication, RequestError, Subscription};
use crate::codec::{BincodeCodec, Codec, WireMessage};
use mcpbus_actors::{Batch, Envelope, Key};
use mcpbus_transport::wire::AckLevel;
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Messages taken from an edge at once.
const BATCH: usize = 256;
/// Largest body, in bytes.
const BODY_MAX: usize = 1 << 20;
/// How long an edge may wait for the node that receives it.
const RECEIVER_WAIT: Duration = Duration::from_secs(60);
/// How long the receiver of an edge may take to say what its type is.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The kind that marks the end of an edge.
const END: u64 = u64::MAX;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How messages of one type are carried.
#[derive(Clone, Copy)]
pub(super) struct Carrier {
    pub(super) egress: fn(Egress, Client, Arc<Progress>) -> Task,
    pub(super) ingress: fn(Ingress, Arc<Progress>) -> Task,
}

/// The subject of each message that leaves by an open port.
pub(super) struct SubjectOf<M>(
    #[allow(clippy::type_complexity)]
    pub(super)  Box<dyn Fn(&M, Option<Key>) -> String + Send + Sync>,
);

/// Where messages of an edge go.
#[derive(Clone)]
pub(super) enum Route {
    /// To the other end of the edge, on this subject.
    Edge(Arc<str>),
    /// To the subject that a [`SubjectOf`] names.
    Open(Arc<dyn Any + Send + Sync>),
}

/// An edge that leaves the process.
pub(super) struct Egress {
    pub(super) edge: String,
    pub(super) route: Route,
    pub(super) receiver: Box<dyn Any + Send>,
}

/// An edge that enters the process.
pub(super) struct Ingress {
    pub(super) edge: String,
    pub(super) subscription: Subscription,
    /// Where the other end asks about the type, if it does.
    pub(super) questions: Option<Subscription>,
    pub(super) sender: Box<dyn Any + Send>,
    /// Whether the other end says when the edge is over.
    pub(super) ends: bool,
}

impl Egress {
    /// Whether it leads to another part of the same topology.
    pub(super) fn is_edge(&self) -> bool {
        matches!(self.route, Route::Edge(_))
    }
}

impl Carrier {
    pub(super) fn of<M: WireMessage>() -> Self {
        Self {
            egress: |egress, client, progress| Box::pin(carry_out::<M>(egress, client, progress)),
            ingress: |ingress, progress| Box::pin(carry_in::<M>(ingress, progress)),
        }
    }
}

async fn carry_out<M: WireMessage>(egress: Egress, client: Client, progress: Arc<Progress>) {
    let Egress {
        edge,
        route,
        receiver: end,
    } = egress;
    let Some(mut receiver) = receiver::<M>(end) else {
        return;
    };
    let fingerprint = M::KIND.fingerprint;
    let publisher = client.publisher_of_kind(AckLevel::Accepted, fingerprint);
    let subject_of = match &route {
        Route::Edge(subject) => {
            if !wait_for_receiver(&client, subject).await {
                tracing::error!(
                    edge,
                    "no node receives this edge; what it carries is refused"
                );
                progress.set(&edge, EdgeState::Alone);
            } else if let Err(reason) = agree::<M>(&client, subject).await {
                tracing::error!(edge, reason, "this edge does not come up");
                return progress.set(&edge, EdgeState::Refused(reason));
            } else {
                progress.set(&edge, EdgeState::Up);
            }
            None
        }
        Route::Open(subject) => subject.downcast_ref::<SubjectOf<M>>(),
    };
    let mut batch = Batch::new();
    let mut buffer = Vec::new();
    while receiver.recv_batch(&mut batch, BATCH).await.is_some() {
        for envelope in batch.drain() {
            let Envelope { header, body } = envelope;
            buffer.clear();
            if let Err(error) = BincodeCodec.encode(&body, BODY_MAX, &mut buffer) {
                tracing::warn!(edge, %error, "a message cannot be encoded");
                progress.undeliverable();
                continue;
            }
            let subject = match (&route, subject_of) {
                (Route::Edge(subject), _) => subject.to_string(),
                (Route::Open(_), Some(subject)) => (subject.0)(&body, header.key()),
                (Route::Open(_), None) => return,
            };
            let message = Publication {
                subject,
                key: header.key(),
                body: bytes::Bytes::copy_from_slice(&buffer),
                time_to_live: None,
                event_time: header.event_time(),
                ..Publication::default()
            };
            match publisher.publish(message).await {
                Ok(()) => progress.carried(),
                Err(error) => {
                    tracing::warn!(edge, %error, "a message cannot be published");
                    progress.undeliverable();
                }
            }
        }
    }
    if let Route::Edge(subject) = &route {
        // Behind the last message, on the same flow, so that it arrives after it.
        let end = publisher.of_kind(END);
        if let Err(error) = end.publish(Publication::new(subject.to_string(), "")).await {
            tracing::warn!(edge, %error, "the end of the edge cannot be published");
        }
    }
}

async fn wait_for_receiver(client: &Client, subject: &str) -> bool {
    let found = tokio::time::timeout(RECEIVER_WAIT, async {
        loop {
            match client.count_subscribers(subject, RECEIVER_WAIT).await {
                Ok(0) => tokio::time::sleep(Duration::from_millis(10)).await,
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    });
    found.await.unwrap_or(false)
}

/// Asks the receiving end whether it means the same type. An error says what differs.
async fn agree<M: WireMessage>(client: &Client, subject: &str) -> Result<(), String> {
    let subject = schema_subject(subject);
    let question = Schema::from(M::KIND).encode();
    let asked = tokio::time::timeout(RECEIVER_WAIT, async {
        loop {
            let answer = client.request(&subject, None, question.clone(), ANSWER_WAIT);
            match answer.await {
                Ok(_) => return Ok(()),
                Err(RequestError::Failed { reason }) => return Err(reason),
                Err(RequestError::Closed) => return Err(RequestError::Closed.to_string()),
                // It may be on its way up.
                Err(error) => {
                    tracing::debug!(subject, %error, "the type of an edge is asked about again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    let nobody = || Err(format!("nobody has answered within {RECEIVER_WAIT:?}"));
    asked.await.unwrap_or_else(|_| nobody())
}

/// Answers the other end's question about the type.
fn answer<M: WireMessage>(question: Delivery, edge: &str, progress: &Progress) {
    let differs = match Schema::decode(question.body()) {
        Ok(sent) => sent.differs_from(&M::KIND.into()),
        Err(reason) => Some(reason),
    };
    let answered = match differs {
        None => {
            progress.set(edge, EdgeState::Up);
            question.reply(b"")
        }
        Some(reason) => {
            tracing::error!(edge, reason, "this edge does not come up");
            let answered = question.reply_failed(&reason);
            progress.set(edge, EdgeState::Refused(reason));
            answered
        }
    };
    if let Err(error) = answered {
        tracing::debug!(edge, %error, "a question about the type is not answered");
    }
}

async fn carry_in<M: WireMessage>(mut ingress: Ingress, progress: Arc<Progress>) {
    let edge = ingress.edge.clone();
    let questions = ingress.questions.take();
    let answers = async {
        let mut questions = questions;
        while let Some(subscription) = &mut questions {
            match subscription.next().await {
                Some(question) => answer::<M>(question, &edge, &progress),
                None => questions = None,
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        () = answers => {}
        () = take_in::<M>(ingress, &progress) => {}
    }
}

async fn take_in<M: WireMessage>(ingress: Ingress, progress: &Progress) {
    let Ingress {
        edge,
        mut subscription,
        sender: end,
        ends,
        ..
    } = ingress;
    let Some(sender) = sender::<M>(end) else {
        return;
    };
    loop {
        let delivery = tokio::select! {
            biased;
            delivery = subscription.next() => delivery,
            () = progress.stopped() => return,
        };
        let Some(delivery) = delivery else { return };
        if delivery.kind() == END && ends {
            delivery.ack();
            return;
        }
        match decode::<M>(&delivery) {
            Ok(body) => {
                let mut envelope = Envelope::new(body);
                envelope.header.set_key(delivery.key());
                envelope.header.set_event_time(delivery.event_time());
                if sender.send_envelope(envelope).await.is_err() {
                    delivery.reject();
                    return;
                }
                progress.carried();
                delivery.ack();
            }
            Err(reason) => {
                tracing::warn!(edge, reason, "a message cannot be decoded");
                progress.undeliverable();
                delivery.reject();
            }
        }
    }
}

fn decode<M: WireMessage>(delivery: &Delivery) -> Result<M, String> {
    let expected = M::KIND;
    if delivery.kind() != expected.fingerprint {
        return Err(format!(
            "its type has the fingerprint {:016x}, `{}` version {} has {:016x}; build both ends from the same type",
            delivery.kind(),
            expected.name,
            expected.version,
            expected.fingerprint
        ));
    }
    BincodeCodec
        .decode(delivery.body(), BODY_MAX)
        .map_err(|error| error.to_string())
}
