//! bincode 2, compact and quick, for messages between our own processes.
//!
//! The configuration is `bincode::config::standard()`: little endian, integers of variable length. A sequence of elements
//! that take no bytes, such as `Vec<()>`, is counted by its claimed length alone: messages must not contain one.

use bincode::config;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contract::{
    BoundedAppend, Codec, CodecId, DecodeError, EncodeError, MAX_BODY_BYTES, check_size,
};

/// bincode 2 in its standard configuration, through serde.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BincodeCodec;

impl<M: Serialize + DeserializeOwned> Codec<M> for BincodeCodec {
    const ID: CodecId = CodecId::BINCODE;

    fn encode(&self, message: &M, limit: usize, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut append = BoundedAppend::new(buffer, limit);
        let result =
            bincode::serde::encode_into_std_write(message, &mut append, config::standard());
        append.settle(CodecId::BINCODE, result.map(|_| ()))
    }

    fn decode(&self, body: &[u8], limit: usize) -> Result<M, DecodeError> {
        check_size(body, limit)?;
        // bincode reserves what a length claims, up to its limit, before it reads, so the limit follows the body's size.
        // It counts an integer by its size in memory, which is up to 16 times its size on the wire.
        let decoded = match body.len() {
            0..=0x400 => decode::<M, 0x4000>(body),
            0x401..=0x1_0000 => decode::<M, 0x10_0000>(body),
            0x1_0001..=0x10_0000 => decode::<M, 0x100_0000>(body),
            _ => decode::<M, { 16 * MAX_BODY_BYTES }>(body),
        };
        let (message, used) = decoded.map_err(|error| DecodeError::Malformed {
            codec: CodecId::BINCODE,
            problem: error.to_string(),
        })?;
        match body.len() - used {
            0 => Ok(message),
            bytes => Err(DecodeError::LeftOver {
                codec: CodecId::BINCODE,
                bytes,
            }),
        }
    }
}

fn decode<M: DeserializeOwned, const LIMIT: usize>(
    body: &[u8],
) -> Result<(M, usize), bincode::error::DecodeError> {
    bincode::serde::decode_from_slice(body, config::standard().with_limit::<LIMIT>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::super::contract::uphold;
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Empty,
        Named { account: u64, tags: Vec<String> },
        Numbers(Vec<i64>, Option<f64>),
    }

    #[test]
    fn upholds_the_laws_of_codecs() {
        let named = Shape::Named {
            account: u64::MAX,
            tags: vec!["a".into(), "long ".repeat(50)],
        };
        uphold(&BincodeCodec, &named, true);
        uphold(
            &BincodeCodec,
            &Shape::Numbers(vec![0, -1, i64::MAX], Some(0.5)),
            true,
        );
        uphold(&BincodeCodec, &(Shape::Empty, 7_u8), true);
    }

    #[test]
    fn integers_take_more_memory_than_bytes_and_still_decode_at_every_size() {
        for length in [
            100, 900, 1_023, 5_000, 65_000, 200_000, 1_100_000, 4_000_000,
        ] {
            let numbers: Vec<u64> = (0..length).map(|number| number % 200).collect();
            let mut body = Vec::new();
            assert_eq!(
                BincodeCodec.encode(&numbers, MAX_BODY_BYTES, &mut body),
                Ok(())
            );
            let decoded: Result<Vec<u64>, _> = BincodeCodec.decode(&body, MAX_BODY_BYTES);
            assert!(
                decoded.as_ref() == Ok(&numbers),
                "{length}: {:?}",
                decoded.err()
            );
        }
    }

    #[test]
    fn a_claimed_length_beyond_the_body_is_an_error() {
        // A string that claims 2^60 bytes.
        let mut body = vec![0xfd];
        body.extend_from_slice(&(1_u64 << 60).to_le_bytes());
        let decoded: Result<String, _> = BincodeCodec.decode(&body, MAX_BODY_BYTES);
        assert!(
            matches!(decoded, Err(DecodeError::Malformed { .. })),
            "{decoded:?}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_a_value_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let decoded: Result<Shape, _> = BincodeCodec.decode(&body, MAX_BODY_BYTES);
            if let Ok(shape) = decoded {
                let mut again = Vec::new();
                prop_assert_eq!(BincodeCodec.encode(&shape, MAX_BODY_BYTES, &mut again), Ok(()));
                // A NaN is not equal to itself, so the bytes are compared; integers may have been written longer.
                prop_assert!(again.len() <= body.len());
            }
        }
    }
}
