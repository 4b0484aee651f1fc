//! JSON, for messages that other languages and people read.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contract::{BoundedAppend, Codec, CodecId, DecodeError, EncodeError, check_size};

/// JSON in UTF-8, without spaces. Spaces around a body are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonCodec;

impl<M: Serialize + DeserializeOwned> Codec<M> for JsonCodec {
    const ID: CodecId = CodecId::JSON;

    fn encode(&self, message: &M, limit: usize, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut append = BoundedAppend::new(buffer, limit);
        let result = serde_json::to_writer(&mut append, message);
        append.settle(CodecId::JSON, result)
    }

    fn decode(&self, body: &[u8], limit: usize) -> Result<M, DecodeError> {
        check_size(body, limit)?;
        // serde_json refuses what is left over, and nesting deeper than 128.
        serde_json::from_slice(body).map_err(|error| DecodeError::Malformed {
            codec: CodecId::JSON,
            problem: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::contract::{MAX_BODY_BYTES, uphold};
    use super::*;

    #[test]
    fn upholds_the_laws_of_codecs() {
        uphold(
            &JsonCodec,
            &("text \u{1F600} \"quoted\"".to_owned(), vec![1_i64, -2]),
            true,
        );
    }

    #[test]
    fn what_json_cannot_express_is_an_error() {
        let mut buffer = Vec::new();
        let map = BTreeMap::from([(vec![1_u8], 1_u8)]);
        let error = JsonCodec.encode(&map, MAX_BODY_BYTES, &mut buffer);
        assert!(
            matches!(error, Err(EncodeError::Unsupported { .. })),
            "{error:?}"
        );
        assert!(buffer.is_empty());
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = "[".repeat(1_000_000);
        let error = Codec::<serde_json::Value>::decode(&JsonCodec, deep.as_bytes(), MAX_BODY_BYTES);
        assert!(matches!(error, Err(DecodeError::Malformed { .. })));
    }
}
