//! Resources used by a process, as the kernel counts them.

use std::{fs, time::Duration};

/// Unit of the times in `/proc/<pid>/stat`.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process and all its threads since its start.
pub(super) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is the name in parentheses, which may contain spaces.
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = |field: usize| after_name.split_ascii_whitespace().nth(field - 3).unwrap().parse::<u32>().unwrap();
    TICK * (ticks(14) + ticks(15))
}

/// Resident memory in MB (10⁶ bytes), including pages of the program's file.
pub(super) fn resident_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] }
}
