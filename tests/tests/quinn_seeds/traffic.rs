//! Publishers and subscribers: real clients on the mesh's own thread.

use super::draw::{Message, Work};
use bytes::Bytes;
use mcpbus::AckLevel;
use mcpbus::client::{Client, Publication, SubscribeOptions};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use xxhash_rust::xxh3::xxh3_64;

/// How long a subscription may take to be known everywhere, in virtual time.
const READY: Duration = Duration::from_secs(120);

/// A message that reached a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) publisher: usize,
    pub(crate) number: usize,
    /// Whether the body is the one that was sent, by the hash it carries.
    pub(crate) whole: bool,
    pub(crate) length: usize,
}

/// What became of a client's work.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Of each message sent, how its ack ended; nothing where it is not known yet.
    pub(crate) results: Vec<Option<Result<(), String>>>,
    pub(crate) got: Vec<Got>,
    /// Subscribed and known everywhere, or connected.
    pub(crate) ready: bool,
    pub(crate) wrong: Vec<String>,
}

impl Done {
    pub(crate) fn is_answered(&self) -> bool {
        self.results.iter().all(Option::is_some)
    }
}

/// The word to begin. Those who wait for it go in the order in which they came; a watch channel wakes them in any order.
#[derive(Default)]
pub(crate) struct Go {
    said: Cell<bool>,
    word: Notify,
}

impl Go {
    pub(crate) fn say(&self) {
        self.said.set(true);
        self.word.notify_waiters();
    }

    async fn given(&self) {
        let word = self.word.notified();
        if !self.said.get() {
            word.await;
        }
    }
}

pub(crate) type Shared = Rc<RefCell<Done>>;

pub(crate) async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep_until(Instant::now() + time).await;
    }
}

/// A body that says who sent it, is different for each message, and carries its own hash.
pub(crate) fn body(publisher: usize, number: usize, size: usize) -> Bytes {
    let mut body = Vec::with_capacity(24 + size);
    body.extend_from_slice(&(publisher as u64).to_le_bytes());
    body.extend_from_slice(&(number as u64).to_le_bytes());
    let first = publisher * 7 + number * 31;
    body.extend((0..size).map(|place| ((first + place) % 251) as u8));
    let hash = xxh3_64(&body);
    body.extend_from_slice(&hash.to_le_bytes());
    body.into()
}

fn read(body: &[u8]) -> Option<Got> {
    let (content, hash) = body.split_at_checked(body.len().checked_sub(8)?)?;
    let part = |at: usize| {
        let bytes = content.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes) as usize)
    };
    Some(Got {
        publisher: part(0)?,
        number: part(8)?,
        whole: xxh3_64(content).to_le_bytes() == *hash,
        length: body.len(),
    })
}

/// Works until the work is done; a subscriber until its client is closed.
pub(crate) async fn work(client: Client, place: usize, work: Work, done: Shared, go: Rc<Go>) {
    match work {
        Work::Publish { level, messages } => {
            publish(client, place, level, messages, done, go).await
        }
        Work::Subscribe {
            pattern,
            group,
            takes,
            window,
        } => {
            let mut options = SubscribeOptions::default().window_messages(window);
            if let Some(group) = group {
                options = options.group(group);
            }
            subscribe(client, pattern, options, takes, done).await;
        }
    }
}

async fn publish(
    client: Client,
    place: usize,
    level: AckLevel,
    messages: Vec<Message>,
    done: Shared,
    go: Rc<Go>,
) {
    done.borrow_mut().results = vec![None; messages.len()];
    done.borrow_mut().ready = true;
    go.given().await;
    let publisher = client.publisher(level);
    for (number, message) in messages.into_iter().enumerate() {
        pause(message.pause).await;
        let body = body(place, number, message.size);
        let publication = Publication::new(message.subject, body).key(message.key);
        match publisher.publish_with_receipt(publication).await {
            Ok(receipt) => {
                let done = done.clone();
                // Receipts are awaited beside the publishing, which goes on.
                tokio::task::spawn_local(async move {
                    let result = receipt.await.map_err(|error| error.to_string());
                    done.borrow_mut().results[number] = Some(result);
                });
            }
            Err(error) => done.borrow_mut().results[number] = Some(Err(error.to_string())),
        }
    }
}

async fn subscribe(
    client: Client,
    pattern: &str,
    options: SubscribeOptions,
    takes: Duration,
    done: Shared,
) {
    let wrong = |done: &Shared, what: String| done.borrow_mut().wrong.push(what);
    let mut subscription = match client.subscribe(pattern, options) {
        Ok(subscription) => subscription,
        Err(error) => return wrong(&done, format!("cannot subscribe: {error}")),
    };
    if let Err(error) = subscription.ready(READY).await {
        return wrong(&done, format!("no subscription: {error}"));
    }
    done.borrow_mut().ready = true;
    while let Some(delivery) = subscription.next().await {
        match read(delivery.body()) {
            Some(got) => done.borrow_mut().got.push(got),
            None => wrong(&done, String::from("a body that nobody sent")),
        }
        pause(takes).await;
        delivery.ack();
    }
}
