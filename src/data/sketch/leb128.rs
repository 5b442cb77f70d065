//! Whole numbers in LEB128, of which encoded sketches are made.

/// Appends a number in LEB128.
pub(super) fn write(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

pub(super) fn read(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut n = 0;
    for shift in (0..70).step_by(7) {
        let byte = bytes.next()?;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        n |= part << shift;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}
