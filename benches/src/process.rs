//! What this process and its machine are doing, from `/proc`.

use std::fs;
use std::time::Duration;

/// The kernel reports CPU time to programs in hundredths of a second on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of all threads of this process so far, in user and kernel mode, to 10 ms. `None` where `/proc` is not
/// mounted.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may hold spaces and ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let kernel: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + kernel))
}

/// The load average of the last minute, as the kernel prints it. `None` where `/proc` is not mounted.
#[must_use]
pub fn load_average() -> Option<String> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_ascii_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::hint::black_box;

    #[test]
    fn cpu_time_grows_with_work() {
        let before = cpu_time().unwrap();
        let mut number = 1_u64;
        while cpu_time().unwrap() < before + 3 * TICK {
            for _ in 0..1000 {
                number = black_box(number.wrapping_mul(3));
            }
        }
        assert!(cpu_time().unwrap() > before);
    }

    #[test]
    fn the_load_average_is_a_number() {
        assert!(load_average().unwrap().parse::<f64>().unwrap() >= 0.0);
    }
}
