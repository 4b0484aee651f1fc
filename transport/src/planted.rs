//! Mistakes on purpose: so that tests can show that each of them would be seen.
//!
//! A mistake is made only in a build with the feature `planted-faults`, in the thread that has planted it. In
//! any other build `planted` is `false` when compiled, and nothing of this is left. What each of them is and how it is
//! found stands in `docs/src/simulation.md`.

/// A mistake that can be made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// Some grants of credit are not heard.
    LostGrant,
    /// A peer of a new life is taken for the one that is known.
    NoEpochCheck,
    /// After a cut more is acknowledged than was received.
    AckOfUnreceived,
    /// After a cut the last message that was received is sent again.
    ResumeOffByOne,
    /// Failures that were on their way in a cut are not sent again.
    FailureLost,
    /// Control messages that were on their way in a cut are not sent again.
    SignalLost,
    /// What was settled does not give its credit back.
    WindowNotReturned,
    /// A message in the middle of a batch is forgotten.
    BatchSplitForgets,
    /// One copy that ends counts as two.
    CopyCountedTwice,
    /// When the way changes the new one is used at once.
    OrderOnWayChange,
    /// A way is taken for empty when the next node has passed on what was on it.
    DrainedEarly,
    /// A route that is replaced is forgotten with what is under way for it.
    ReplacedForgotten,
    /// Another node decides now, and what the former one has is not waited for.
    DeciderChangeIsNoChange,
    /// What remains of a peer's earlier life does not go first.
    OrphanOrder,
    /// Only the first of several flows is woken when there is credit.
    StarvedFlow,
    /// Two members of a group are chosen.
    GroupTwice,
    /// What comes back from a peer that is gone counts as delivered.
    TakeBackForgets,
    /// Interest is confirmed before it is passed on.
    ConfirmedEarly,
    /// A cancel does not go after a request that was handed on.
    CancelStays,
    /// A cancel that comes before its request is forgotten.
    EarlyCancelForgotten,
    /// Commits are not synced.
    AckBeforeSync,
    /// A stored message is settled when it is handed out.
    SettledAtHandOut,
    /// A repeat is looked for under the number before its own.
    RepeatOffByOne,
    /// A message that comes back by a detour is taken for a repeat.
    DetourIsRepeat,
    /// A commit that failed is taken for one that was carried out.
    CommitFailureIsSuccess,
    /// Of what is read from a queue the first message is left out.
    ReadSkipsOne,
    /// A stored message that cannot be read ends the reading of its queue.
    CorruptStopsQueue,
    /// The durable interest of other nodes is not kept on the disk.
    InterestNotKept,
    /// The durable interest of a node that is out of reach is forgotten.
    InterestForgotten,
    /// A durable subscription is said to be ready before it is on the disk.
    ReadyBeforeKept,
    /// What is to be delivered again comes behind what waits.
    RedeliveryAtTheEnd,
    /// A dead letter is lost when its commit fails.
    DeadLetterLost,
    /// Who takes a durable subscription over does not end the one before.
    TwoTakers,
    /// A message is answered as processed when it is stored.
    ProcessedWhenStored,
}

impl Fault {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::LostGrant,
        Self::NoEpochCheck,
        Self::AckOfUnreceived,
        Self::ResumeOffByOne,
        Self::FailureLost,
        Self::SignalLost,
        Self::WindowNotReturned,
        Self::BatchSplitForgets,
        Self::CopyCountedTwice,
        Self::OrderOnWayChange,
        Self::DrainedEarly,
        Self::ReplacedForgotten,
        Self::DeciderChangeIsNoChange,
        Self::OrphanOrder,
        Self::StarvedFlow,
        Self::GroupTwice,
        Self::TakeBackForgets,
        Self::ConfirmedEarly,
        Self::CancelStays,
        Self::EarlyCancelForgotten,
        Self::AckBeforeSync,
        Self::SettledAtHandOut,
        Self::RepeatOffByOne,
        Self::DetourIsRepeat,
        Self::CommitFailureIsSuccess,
        Self::ReadSkipsOne,
        Self::CorruptStopsQueue,
        Self::InterestNotKept,
        Self::InterestForgotten,
        Self::ReadyBeforeKept,
        Self::RedeliveryAtTheEnd,
        Self::DeadLetterLost,
        Self::TwoTakers,
        Self::ProcessedWhenStored,
    ];
}

#[cfg(feature = "planted-faults")]
thread_local! {
    static PLANTED: std::cell::Cell<(Option<Fault>, u64)> = const { std::cell::Cell::new((None, 0)) };
}

/// Lets this thread make a mistake from now on, or none.
#[cfg(feature = "planted-faults")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.set((fault, 0));
}

/// How often this thread came to where the planted mistake is made.
#[cfg(feature = "planted-faults")]
pub fn made() -> u64 {
    PLANTED.get().1
}

/// Whether this mistake is to be made here.
#[cfg(feature = "planted-faults")]
pub fn planted(fault: Fault) -> bool {
    let (planted, made) = PLANTED.get();
    let here = planted == Some(fault);
    if here {
        PLANTED.set((planted, made + 1));
    }
    here
}

/// Whether this mistake is to be made here: never in this build.
#[cfg(not(feature = "planted-faults"))]
#[inline(always)]
pub const fn planted(_: Fault) -> bool {
    false
}
