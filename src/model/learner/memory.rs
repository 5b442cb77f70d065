//! Whether a training part fits into memory, before it is read.

use std::fs;

use crate::error::Input;

/// Beside the rows, a process needs so many bytes.
const BASE: u64 = 64 << 20;
/// Bytes of a number of a row: itself, and its bin in the indices of the rows that trees are grown on and of all rows.
const OF_NUMBER: u64 = 8;
/// Bytes of a row: what is true of it, its number in lists, its place in a tree.
const OF_ROW: u64 = 64;
/// Bytes of a row and a class: its margins, gradients and predictions.
const OF_OUTPUT: u64 = 40;

/// Refuses rows that take more memory than is available; nothing where that is not known.
pub(super) fn check(
    rows: usize,
    width: usize,
    classes: usize,
    exported: bool,
    available: Option<u64>,
) -> Result<(), Input> {
    let needed = needed(rows as u64, width as u64, classes as u64, exported);
    let Some(available) = available.filter(|available| needed > *available) else {
        return Ok(());
    };
    Err(Input::new(format!(
        "holds {rows} rows of {width} numbers, which take about {} of memory to learn from, and {} are available",
        gigabytes(needed),
        gigabytes(available)
    ))
    .hint(
        "give `train.machine` more memory, drop columns with `data.drop`, or train on fewer rows with a `where` \
         or a query",
    ))
}

/// The most bytes that are held at once, about.
fn needed(rows: u64, width: u64, classes: u64, exported: bool) -> u64 {
    // Rows of an export are put in order, from one list into another.
    let of_number = OF_NUMBER + if exported { 4 } else { 0 };
    let of_row = width
        .saturating_mul(of_number)
        .saturating_add(OF_ROW)
        .saturating_add(classes.max(1).saturating_mul(OF_OUTPUT));
    rows.saturating_mul(of_row).saturating_add(BASE)
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// The bytes that this process may still take: what the machine has, or what its container has left.
pub(super) fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(of_machine);
    let number = |path: &str| -> Option<u64> {
        // A container without a limit says `max`, or a number beyond all memory.
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let groups = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ];
    let container = groups.iter().find_map(|(limit, used)| {
        let limit = number(limit)?;
        Some(limit.saturating_sub(number(used).unwrap_or(0)))
    });
    machine.into_iter().chain(container).min()
}

fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_figure_and_a_way_out() {
        assert!(check(1_000_000, 20, 2, false, Some(1 << 30)).is_ok());
        assert!(check(usize::MAX, 20, 2, false, None).is_ok());
        let error = check(50_000_000, 100, 2, false, Some(16_000_000_000)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "holds 50000000 rows of 100 numbers, which take about 47.3 GB of memory to learn from, \
             and 16.0 GB are available"
        );
        assert!(check(usize::MAX, usize::MAX, 0, true, Some(1)).is_err());
    }

    #[test]
    fn the_machines_memory_is_read() {
        let text = "MemTotal:       24 kB\nMemAvailable:   10 kB\n";
        assert_eq!(of_machine(text), Some(10_240));
        assert_eq!(of_machine(""), None);
    }
}
