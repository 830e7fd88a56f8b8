//! Durations as Go prints them, since people match on those texts.

use std::fmt::Write;
use std::time::Duration;

/// Prints a duration as Go's `time.Duration` does: `1s`, `1.5s`, `50ms`, `1m30s`, `1h0m0.25s`.
pub fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let mut text = String::new();
    let (unit, name) = match nanos {
        0 => return "0s".into(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let mut whole = nanos / unit;
    if name == "s" && whole >= 60 {
        let minutes = whole / 60;
        whole %= 60;
        if minutes >= 60 {
            let _ = write!(text, "{}h", minutes / 60);
        }
        let _ = write!(text, "{}m", minutes % 60);
    }
    let _ = write!(text, "{whole}");
    let digits = unit.ilog10() as usize;
    if nanos % unit != 0 {
        let fraction = format!("{:0digits$}", nanos % unit);
        let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    text + name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (50_000_000, "50ms"),
            (2_200_000, "2.2ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_250_000_000, "1h0m0.25s"),
            (10_000_000_001, "10.000000001s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }
}
