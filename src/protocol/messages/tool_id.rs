//! Ids of tool calls, which clients of this protocol keep to `[a-zA-Z0-9_-]`, and the thought signatures that ride in them.
//!
//! Clients drop fields that they do not know, so a short signature stands in the id. A long one is found again by the id.

use data_encoding::BASE64URL_NOPAD;

/// The id was written in other characters: Base64 of it follows.
const ENCODED: &str = "tfi_";
/// A signature rides with the id: Base64 of the id's length, the id and the signature follows.
const SIGNED: &str = "tfs_";
/// The longest signature that rides.
const MAX_SIGNATURE: usize = 192;
const MAX_ID: usize = 128;

/// The id for the client.
pub(super) fn carry(id: &str, signature: Option<&str>) -> String {
    if let Some(signature) = signature.filter(|signature| signature.len() <= MAX_SIGNATURE && !signature.is_empty())
        && let Ok(length) = u8::try_from(id.len())
    {
        let bytes = [&[length], id.as_bytes(), signature.as_bytes()].concat();
        return format!("{SIGNED}{}", BASE64URL_NOPAD.encode(&bytes));
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let is_ours = id.starts_with(ENCODED) || id.starts_with(SIGNED);
    if !is_ours && (1..=MAX_ID).contains(&id.len()) && id.bytes().all(is_plain) {
        return id.to_owned();
    }
    format!("{ENCODED}{}", BASE64URL_NOPAD.encode(id.as_bytes()))
}

/// The provider's id, and the signature that came with it.
pub(super) fn restore(id: &str) -> (String, Option<String>) {
    let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    if let Some(bytes) = id.strip_prefix(ENCODED).and_then(decode)
        && let Ok(original) = String::from_utf8(bytes)
    {
        return (original, None);
    }
    if let Some(bytes) = id.strip_prefix(SIGNED).and_then(decode)
        && let Some((length, rest)) = bytes.split_first()
        && let Some((original, signature)) = rest.split_at_checked(usize::from(*length))
        && let (Ok(original), Ok(signature)) = (str::from_utf8(original), str::from_utf8(signature))
    {
        return (original.to_owned(), Some(signature.to_owned()));
    }
    (id.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_and_short_signatures_come_back(id in "\\PC{0,40}", signature in proptest::option::of("[A-Za-z0-9+/=]{1,250}")) {
            let carried = carry(&id, signature.as_deref());
            prop_assert!(carried.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{}", carried);
            let (restored, found) = restore(&carried);
            prop_assert_eq!(&restored, &id);
            prop_assert_eq!(found, signature.filter(|signature| signature.len() <= MAX_SIGNATURE));
        }

        #[test]
        fn any_id_is_accepted(id in "(tf[is]_)?\\PC{0,20}") {
            restore(&id);
            prop_assert_eq!(restore(&carry(&id, None)).0, id);
        }
    }

    #[test]
    fn a_plain_id_stays_as_it_is() {
        assert_eq!(carry("call_abc-1", None), "call_abc-1");
        assert_eq!(restore("toolu_01"), ("toolu_01".to_owned(), None));
    }
}
