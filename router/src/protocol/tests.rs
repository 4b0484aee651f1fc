#![allow(clippy::unwrap_used)]

use super::*;
use bytes::Bytes;
use mcpbus_transport::wire::ReplyAddress;
use proptest::prelude::*;
use std::time::Duration;

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
        Signal::Cancel { requests: vec![] },
        Signal::Cancel {
            requests: vec![
                Cancel {
                    address: ReplyAddress {
                        node: 1,
                        session: 2,
                        correlation: u64::MAX,
                    },
                    left: Duration::ZERO,
                },
                Cancel {
                    address: ReplyAddress {
                        node: u128::MAX,
                        session: 0,
                        correlation: 3,
                    },
                    left: Duration::from_micros(500_000),
                },
            ],
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

/// `docs/src/wire.md` has the fields, and the decoder in `tests/python` reads the same bytes.
#[test]
fn a_cancel_has_these_bytes() {
    let address = ReplyAddress {
        node: 0x0102,
        session: 3,
        correlation: 0x0405,
    };
    let left = Duration::from_micros(300);
    let requests = vec![Cancel { address, left }];
    let mut bytes = vec![11, 1, 2, 1];
    bytes.extend([0; 14]);
    bytes.extend([3, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([5, 4, 0, 0, 0, 0, 0, 0]);
    bytes.extend([0xAC, 0x02]);
    assert_eq!(Signal::Cancel { requests }.encode(), bytes);
    // More than there is, and more than may be.
    let short = Signal::decode(Bytes::from_static(&[11, 2, 0]));
    assert!(short.is_err());
    let many = Signal::decode(Bytes::from_static(&[11, 0x81, 0x08]));
    assert!(many.is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Signal::decode(Bytes::from(bytes.clone()));
        let _ = Definition::decode(Bytes::from(bytes));
    }
}
