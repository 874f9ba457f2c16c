//! Bytes that are a little other than given ones.

use fastrand::Rng;

/// Runs of bytes that readers treat in their own way.
const TELLING: [&[u8]; 12] = [
    b"\"",
    b"\\",
    b"'",
    b"''",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
    b"\xf0\x9f\x98\x80",
    b"9223372036854775808",
    b"-1",
    b"((((",
    b"]}",
];

/// Cuts, flips, repeats and puts in, one to four times.
#[must_use]
pub fn mutated(bytes: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(0..=bytes.len());
        let until = at + random.usize(0..=16.min(bytes.len() - at));
        match random.u8(0..6) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(0..5)],
            3 => drop(bytes.drain(at..until)),
            4 => {
                let repeated = bytes[at..until].to_vec();
                bytes.splice(at..at, repeated);
            }
            _ => {
                let put_in = TELLING[random.usize(0..TELLING.len())];
                bytes.splice(at..at, put_in.iter().copied());
            }
        }
    }
    bytes
}
