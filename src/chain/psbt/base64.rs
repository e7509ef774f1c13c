//! Base64 (RFC 4648, section 4) as PSBTs use it: with padding, one encoding for each content.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0u32, |sum, (index, byte)| sum | u32::from(*byte) << (16 - 8 * index));
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => text.push(char::from(DIGITS[(group >> (18 - 6 * digit)) as usize & 63])),
                false => text.push('='),
            }
        }
    }
    text
}

/// `None` for another character, a wrong length, or bits that no byte needs.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let (chunks, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(chunks.len() * 3);
    for (position, chunk) in chunks.iter().enumerate() {
        let digits = match chunk {
            [.., b'=', b'='] => 2,
            [.., b'='] => 3,
            _ => 4,
        };
        if digits < 4 && position + 1 < chunks.len() {
            return None;
        }
        let mut group = 0u32;
        for (index, digit) in chunk[..digits].iter().enumerate() {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            group |= u32::from(value) << (18 - 6 * index);
        }
        let length = digits - 1;
        let decoded = group.to_be_bytes();
        if decoded[1 + length..].iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(&decoded[1..=length]);
    }
    Some(bytes)
}
