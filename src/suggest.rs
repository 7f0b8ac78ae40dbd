//! Suggestions for misspelled names ("did you mean …?") in messages for operators and callers.

/// Nothing is similar to a longer name. The comparison takes time and memory by the product of both lengths.
const MAX_NAME_BYTES: usize = 256;

/// The names most similar to `wanted`, best first, at most three.
pub(crate) fn closest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    if wanted.len() > MAX_NAME_BYTES {
        return Vec::new();
    }
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .map(|name| (strsim::normalized_damerau_levenshtein(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= 0.6)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.dedup_by_key(|(_, name)| *name);
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_name_without_an_end_is_compared_with_nothing() {
        assert_eq!(closest("groqq", ["groq", "gemini"].into_iter()), ["groq"]);
        let begun = tokio::time::Instant::now();
        assert!(closest(&"groq".repeat(4 << 20), ["groq", "gemini"].into_iter()).is_empty());
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }
}
