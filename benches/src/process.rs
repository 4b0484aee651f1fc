//! How busy the machine is, from `/proc`.

/// The load average of the last minute, as the kernel prints it. `None` where `/proc` is not mounted.
#[must_use]
pub fn load_average() -> Option<String> {
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    load.split_ascii_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_load_average_is_a_number() {
        assert!(load_average().unwrap().parse::<f64>().unwrap() >= 0.0);
    }
}
