#![allow(clippy::unwrap_used)]

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

#[test]
fn messages_come_out_as_they_went_in() {
    for definition in [
        Definition::Publish,
        Definition::Forward {
            targets: vec![
                Target {
                    origin: 7,
                    entry: 3,
                },
                Target {
                    origin: u128::MAX,
                    entry: 0,
                },
            ],
            receipts: false,
        },
        Definition::Forward {
            targets: vec![Target {
                origin: 7,
                entry: 3,
            }],
            receipts: true,
        },
        Definition::Deliver {
            subscription: u32::MAX,
        },
        Definition::Replies,
    ] {
        assert_eq!(Definition::decode(definition.encode()).unwrap(), definition);
    }
    for signal in [
        Signal::Subscribe {
            subscription: 1,
            pattern: "a.*".into(),
            group: Some("g".into()),
            durable: None,
        },
        Signal::Subscribe {
            subscription: 1,
            pattern: "a.>".into(),
            group: None,
            durable: Some("d".into()),
        },
        Signal::Delete {
            question: 9,
            durable: "d".into(),
        },
        Signal::Unsubscribe { subscription: 2 },
        Signal::Ready { subscription: 3 },
        Signal::Refused {
            subscription: 4,
            refusal: SubscribeRefusal::Limit,
            reason: "full".into(),
        },
        Signal::Count {
            question: 5,
            subject: "a.b".into(),
        },
        Signal::Counted {
            question: 5,
            subscribers: 6,
        },
        Signal::Interest {
            message: Bytes::from_static(b"path"),
        },
        Signal::Drain { flow: 7 },
        Signal::Drained { flow: u32::MAX },
    ] {
        assert_eq!(Signal::decode(signal.encode()).unwrap(), signal);
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Signal::decode(Bytes::from(bytes.clone()));
        let _ = Definition::decode(Bytes::from(bytes));
    }
}
