//! Long lists in headers, messages and log lines.

/// The first `max` of many items, and how many there are besides: `<more>N more`.
pub fn first_and_more<T>(items: &[T], max: usize, more: &str, show: impl Fn(&T) -> String) -> Vec<String> {
    let besides = items.len().saturating_sub(max);
    let last = (besides > 0).then(|| format!("{more}{besides} more"));
    items.iter().take(max).map(show).chain(last).collect()
}
