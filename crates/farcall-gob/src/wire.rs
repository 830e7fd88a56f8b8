//! Gob's numbers as bytes, and the ids that need no definition. No types, no messages.

/// The ids every stream knows from the start.
pub(crate) mod id {
    pub(crate) const BOOL: i32 = 1;
    pub(crate) const INT: i32 = 2;
    pub(crate) const UINT: i32 = 3;
    pub(crate) const FLOAT: i32 = 4;
    pub(crate) const BYTES: i32 = 5;
    pub(crate) const STRING: i32 = 6;
    pub(crate) const COMPLEX: i32 = 7;
    pub(crate) const INTERFACE: i32 = 8;
    /// The first id that a stream may define.
    pub(crate) const FIRST: i32 = 64;
}

/// Longest form of a number: one byte that tells the length, eight of data.
pub(crate) const NUMBER_LEN_MAX: usize = 9;

/// A number's bytes, left aligned, and how many of them count.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn uint_bytes(value: u64) -> ([u8; NUMBER_LEN_MAX], usize) {
    let mut bytes = [0; NUMBER_LEN_MAX];
    if value < 128 {
        bytes[0] = value as u8;
        return (bytes, 1);
    }
    let len = 8 - value.leading_zeros() as usize / 8;
    bytes[0] = (len as u8).wrapping_neg();
    bytes[1..].copy_from_slice(&(value << (64 - 8 * len)).to_be_bytes());
    (bytes, 1 + len)
}

/// Appends a number.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn put_uint(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        out.push(value as u8);
        return;
    }
    let (bytes, len) = uint_bytes(value);
    // A copy of fixed size, cut afterwards, is one store; a copy of `len` bytes is a call.
    let end = out.len() + len;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// Signed numbers travel as unsigned ones: the lowest bit says "negative, inverted".
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Floats travel with their bytes reversed, so that round numbers are short.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn float_bits(value: f64) -> u64 {
    value.to_bits().swap_bytes()
}

#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn float_of(bits: u64) -> f64 {
    f64::from_bits(bits.swap_bytes())
}

/// Begins a message: leaves room for the length that most have. [`close`] takes what this returns.
#[inline]
pub(crate) fn open(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Ends the message whose contents begin at `start`, by putting its length before it.
#[inline]
pub(crate) fn close(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    if len < 128 {
        out[start - 1] = len as u8;
    } else {
        close_long(out, start);
    }
}

#[inline(never)]
fn close_long(out: &mut Vec<u8>, start: usize) {
    let end = out.len();
    let (bytes, len) = uint_bytes((end - start) as u64);
    let head = &bytes[..len];
    out.extend_from_slice(&head[1..]);
    out.copy_within(start..end, start + len - 1);
    out[start - 1..start - 1 + len].copy_from_slice(head);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = vec![];
        put_uint(&mut out, value);
        out
    }

    #[test]
    fn numbers_are_minimal_big_endian() {
        for (value, bytes) in [
            (0, &[0][..]),
            (7, &[7]),
            (127, &[127]),
            (128, &[0xFF, 0x80]),
            (255, &[0xFF, 0xFF]),
            (256, &[0xFE, 1, 0]),
            (1 << 56, &[0xF8, 1, 0, 0, 0, 0, 0, 0, 0]),
            (u64::MAX, &[0xF8, 255, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            assert_eq!(encoded(value), bytes, "{value:#x}");
        }
    }

    #[test]
    fn the_sign_is_the_lowest_bit() {
        for (value, bits) in [
            (0, 0),
            (-1, 1),
            (1, 2),
            (-65, 129),
            (i64::MIN, u64::MAX),
            (i64::MAX, u64::MAX - 1),
        ] {
            assert_eq!(zigzag(value), bits);
            assert_eq!(unzigzag(bits), value);
        }
    }

    #[test]
    fn seventeen_is_three_bytes() {
        assert_eq!(encoded(float_bits(17.0)), [0xFE, 0x31, 0x40]);
        assert_eq!(encoded(float_bits(-0.0)), [0xFF, 0x80]);
        assert_eq!(float_of(0x3140), 17.0);
    }

    #[test]
    fn a_message_carries_its_length_before_it() {
        for len in [0, 1, 127, 128, 300] {
            let mut out = vec![9];
            let start = open(&mut out);
            out.resize(start + len, 5);
            close(&mut out, start);
            let head = encoded(len as u64);
            assert_eq!(out[1..1 + head.len()], head);
            assert_eq!(out.len(), 1 + head.len() + len);
            assert!(out[1 + head.len()..].iter().all(|&b| b == 5));
        }
    }
}
