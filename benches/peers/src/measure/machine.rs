//! Where a run was made, and how busy it was there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::results::Machine;

/// CPU time of all threads of this process so far.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Seconds since 1970.
pub fn seconds_since_1970() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs())
}

/// The load average of the last minute; `None` where `/proc` is not mounted.
pub fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// This machine; what is not known is empty.
pub fn this() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(String::new, |(_, name)| name.trim().to_owned());
    let release = read("/proc/sys/kernel/osrelease");
    // The rest of a release names who built it.
    let version: Vec<&str> = release.trim().split(['.', '-']).take(2).collect();
    Machine {
        processor,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: format!(
            "{} {}",
            read("/proc/sys/kernel/ostype").trim(),
            version.join(".")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let start = cpu_time();
        let mut number = 1_u64;
        while cpu_time() <= start {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(this().cores > 0);
    }
}
