//! Puts the outputs of workers into the order of their inputs.

use std::marker::PhantomData;

use super::part::Part;
use crate::message::{Envelope, Header, Message, Rejection, Time};
use crate::stage::Out;
use crate::stage::merge::{Choice, Front, Merger};

/// Passes outputs on by the numbers of the inputs that caused them. Each worker handles its inputs in the order of their
/// numbers and tells of every one of them, so the number that is due is at the front of an input, or will be.
pub(crate) struct Sequence<O> {
    fronts: Vec<Option<u64>>,
    /// The number that is due.
    next: u64,
    output: PhantomData<fn() -> O>,
}

impl<O> Sequence<O> {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            fronts: vec![None; workers],
            next: 1,
            output: PhantomData,
        }
    }
}

impl<O: Message> Merger for Sequence<O> {
    type Input = Part<O>;
    type Output = O;
    /// What has expired keeps its number; whoever comes next sees that it has.
    const DROPS_EXPIRED: bool = false;

    fn arrived(&mut self, input: usize, _: &Header, part: &Part<O>) -> Result<(), Rejection> {
        self.fronts[input] = Some(part.number);
        Ok(())
    }

    fn choose(&mut self, inputs: &[Front], _: Time) -> Choice {
        let numbers = self.fronts.iter().enumerate();
        let least = numbers
            .filter_map(|(input, number)| Some(((*number)?, input)))
            .min();
        match least {
            // A gap that no worker can fill any more is passed over.
            Some((number, input)) if number <= self.next || !inputs.contains(&Front::Empty) => {
                Choice::Take(input)
            }
            _ => Choice::Wait(None),
        }
    }

    fn gone(&mut self, input: usize) {
        self.fronts[input] = None;
    }

    fn pass(&mut self, input: usize, envelope: Envelope<Part<O>>, out: &mut Out<'_, O>) {
        self.fronts[input] = None;
        let Envelope { header, body } = envelope;
        if body.number > 0 {
            self.next = body.number + u64::from(body.last);
        }
        if let Some(body) = body.output {
            out.emit_envelope(Envelope { header, body });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64) -> Part<u64> {
        Part {
            number,
            last: true,
            output: Some(number),
        }
    }

    #[test]
    fn a_number_waits_for_those_before_it_unless_they_cannot_come() {
        let mut sequence = Sequence::<u64>::new(2);
        assert_eq!(sequence.arrived(0, &Header::new(), &part(2)), Ok(()));
        let (waits, ended) = (
            [Front::Message, Front::Empty],
            [Front::Message, Front::Ended],
        );
        assert_eq!(sequence.choose(&waits, Time::MAX), Choice::Wait(None));
        assert_eq!(sequence.choose(&ended, Time::ZERO), Choice::Take(0));
        // What nothing caused does not wait.
        assert_eq!(sequence.arrived(1, &Header::new(), &part(0)), Ok(()));
        let both = [Front::Message; 2];
        assert_eq!(sequence.choose(&both, Time::ZERO), Choice::Take(1));
        sequence.gone(1);
        assert_eq!(sequence.arrived(1, &Header::new(), &part(1)), Ok(()));
        assert_eq!(sequence.choose(&both, Time::ZERO), Choice::Take(1));
    }
}
