//! The pieces of a datum, appended.

/// A zigzag varint: Avro's int and long alike.
pub(super) fn long(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Length and bytes.
pub(super) fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // A slice is never longer than isize::MAX.
    long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}
