//! Windows bitmaps: rows from the lowest up, padded to 4 bytes.

use super::{CODED_ZEROS, Damage, check_raw_tail, number, trailing_zeros};

const RLE: [usize; 2] = [1, 2];

pub(super) fn check(file: &[u8]) -> Result<(), Damage> {
    let header = number::<4>(file, 14);
    let (width, bits, compression) = match header {
        // That of OS/2.
        Some(12) => (number::<2>(file, 18), number::<2>(file, 24), Some(0)),
        _ => (
            number::<4>(file, 18),
            number::<2>(file, 28),
            number::<4>(file, 30),
        ),
    };
    let (Some(pixels), Some(width), Some(bits), Some(compression)) =
        (number::<4>(file, 10), width, bits, compression)
    else {
        return Ok(());
    };
    if RLE.contains(&compression) {
        // They end in an escape, 0 and 1.
        return match trailing_zeros(file) {
            bytes if bytes >= CODED_ZEROS => Err(Damage::Zeros { bytes }),
            _ => Ok(()),
        };
    }
    let row = (width * bits).div_ceil(32) * 4;
    check_raw_tail(file, |at| {
        row > 0 && at >= pixels && (at - pixels).is_multiple_of(row)
    })
}
