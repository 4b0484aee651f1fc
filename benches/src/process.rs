//! How busy the machine is and what memory this process has, from `/proc`.

/// The load average of the last minute, as the kernel prints it. `None` where `/proc` is not mounted.
#[must_use]
pub fn load_average() -> Option<String> {
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    load.split_ascii_whitespace().next().map(str::to_owned)
}

/// Bytes of memory that this process has now (resident set). `None` where `/proc` is not mounted.
#[must_use]
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_load_average_is_a_number() {
        assert!(load_average().unwrap().parse::<f64>().unwrap() >= 0.0);
    }

    #[test]
    fn memory_that_is_written_is_resident() {
        let before = resident().unwrap();
        let block = vec![1_u8; 64 << 20];
        assert!(resident().unwrap() >= before + (32 << 20));
        drop(block);
    }
}
