//! Which kind of error each failure on the wire is.

use super::Failure;
use mcpbus_actors::ErrorClass;

impl From<Failure> for ErrorClass {
    fn from(failure: Failure) -> Self {
        match failure {
            // A peer that died and a disk that failed may be back, and another may do instead.
            Failure::NoRoute | Failure::PeerDied | Failure::NoSpool => Self::Unavailable,
            Failure::Rejected | Failure::Decode => Self::Validation,
            Failure::Expired => Self::Expired,
            Failure::MaxDeliver => Self::Exhausted,
            Failure::HopLimit | Failure::Corrupt | Failure::Panic => Self::Internal,
            Failure::Access => Self::Access,
            Failure::Quota => Self::Quota,
            // Its consumer had it and left: whether it was handled nobody knows, so nobody repeats it unasked.
            Failure::Cancelled => Self::Cancelled,
            Failure::Shed | Failure::SpoolFull | Failure::Limited { .. } => Self::Overloaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpbus_actors::{Reason, ShedReason};

    #[test]
    fn every_failure_has_one_class_and_agrees_with_the_reason_of_its_name() {
        let failures: Vec<Failure> = (0..=u8::MAX).filter_map(Failure::from_u8).collect();
        assert_eq!(failures.len(), 16, "a new failure: choose its class here");
        for failure in failures {
            assert_eq!(Failure::from_u8(failure.number()), Some(failure));
            let class = ErrorClass::from(failure);
            if let Some(reason) = Reason::from_name(failure.name()) {
                assert_eq!(class, ErrorClass::from(reason), "{}", failure.name());
            }
            if let Some(same) = ErrorClass::from_name(failure.name()) {
                assert_eq!(class, same, "{}", failure.name());
            }
        }
        assert_eq!(
            ErrorClass::from(Failure::Shed),
            ErrorClass::from(ShedReason::Overflow)
        );
    }
}
