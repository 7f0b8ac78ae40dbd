//! Ids in the forms of the providers, derived from the seed of a completion.

/// `length` characters of `alphabet`. `salt` distinguishes the ids of one completion.
fn drawn(seed: u64, salt: u64, alphabet: &[u8], length: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(seed ^ (salt + 1).rotate_left(40));
    (0..length).map(|_| char::from(alphabet[rng.usize(..alphabet.len())])).collect()
}

pub(super) fn hex(seed: u64, salt: u64, length: usize) -> String {
    drawn(seed, salt, b"0123456789abcdef", length)
}

pub(super) fn digits(seed: u64, salt: u64, length: usize) -> String {
    drawn(seed, salt, b"123456789", length)
}

/// `[A-Za-z0-9]`.
pub(super) fn letters(seed: u64, salt: u64, length: usize) -> String {
    drawn(seed, salt, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", length)
}

/// `[a-z0-9]`.
pub(super) fn small(seed: u64, salt: u64, length: usize) -> String {
    drawn(seed, salt, b"abcdefghjkmnpqrstvwxyz0123456789", length)
}

pub(super) fn uuid(seed: u64, salt: u64) -> String {
    let hex = hex(seed, salt, 30);
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..])
}
