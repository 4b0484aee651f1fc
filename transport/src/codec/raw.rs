//! Bytes as they are, for bodies whose form is not the bus's business.

use bytes::Bytes;

use super::contract::{BoundedAppend, Codec, CodecId, DecodeError, EncodeError, check_size};

/// Passes bytes through unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawCodec;

impl RawCodec {
    fn append(bytes: &[u8], limit: usize, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut append = BoundedAppend::new(buffer, limit);
        let result = std::io::Write::write_all(&mut append, bytes);
        append.settle(CodecId::RAW, result)
    }
}

impl Codec<Vec<u8>> for RawCodec {
    const ID: CodecId = CodecId::RAW;

    fn encode(
        &self,
        message: &Vec<u8>,
        limit: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        Self::append(message, limit, buffer)
    }

    fn decode(&self, body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
        check_size(body, limit)?;
        Ok(body.to_vec())
    }
}

impl Codec<Bytes> for RawCodec {
    const ID: CodecId = CodecId::RAW;

    fn encode(
        &self,
        message: &Bytes,
        limit: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        Self::append(message, limit, buffer)
    }

    fn decode(&self, body: &[u8], limit: usize) -> Result<Bytes, DecodeError> {
        check_size(body, limit)?;
        Ok(Bytes::copy_from_slice(body))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::uphold;
    use super::*;

    #[test]
    fn upholds_the_laws_of_codecs() {
        uphold(&RawCodec, &b"not UTF-8: \xff\x00".to_vec(), false);
        uphold(&RawCodec, &Bytes::from_static(b"bytes"), false);
    }

    #[test]
    fn an_empty_body_is_a_body() {
        let mut buffer = Vec::new();
        assert_eq!(RawCodec.encode(&Bytes::new(), 0, &mut buffer), Ok(()));
        assert_eq!(RawCodec.decode(&buffer, 0), Ok(Vec::new()));
    }
}
