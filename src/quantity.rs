//! Durations (`10s`, `90d`) and sizes (`32KiB`), as the configuration, the admin API and the command line write them.
//!
//! A whole number and one unit, without a blank and without fractions: there is one way to write each and one way to
//! read it.

use std::time::Duration;

use serde_json::Value;

use crate::document::string;

/// One minute.
pub const MINUTE: Duration = Duration::from_mins(1);
/// One hour.
pub const HOUR: Duration = Duration::from_hours(1);
/// One day, of 24 hours.
pub const DAY: Duration = Duration::from_hours(24);

/// The longest duration that can be written: 100 years of 365 days.
pub const MAX_DURATION: Duration = Duration::from_hours(100 * 365 * 24);
/// The largest size that can be written, in bytes: 1 PiB.
pub const MAX_SIZE: u64 = 1 << 50;

/// One KiB, in bytes.
pub const KIB: u64 = 1 << 10;
/// One MiB, in bytes.
pub const MIB: u64 = 1 << 20;

/// Units of time, in milliseconds.
const TIME_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// The units that durations are written back in, the largest first. Weeks are read but not written: 28d says more.
const WRITTEN_UNITS: [(&str, u128); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// Units of size, in bytes.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("", 1),
    ("KiB", KIB),
    ("MiB", MIB),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads a duration up to [`MAX_DURATION`].
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let millis = number_with_unit(text, &TIME_UNITS).ok_or(
        "must be a duration: a whole number and one of ms, s, m, h, d, w, such as \"10s\" or \"90d\"",
    )?;
    let duration = Duration::from_millis(millis);
    if duration > MAX_DURATION {
        return Err(format!("must be at most {}", format_duration(MAX_DURATION)));
    }
    Ok(duration)
}

/// Reads a duration between two bounds, both allowed.
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn duration(value: &Value, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = parse_duration(string(value)?)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("must be from {} to {}", format_duration(least), format_duration(most)))
}

/// Reads a size in bytes up to [`MAX_SIZE`].
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = number_with_unit(text, &SIZE_UNITS).ok_or(
        "must be a size: a whole number of bytes, or one with KiB, MiB, GiB, KB, MB or GB, such as \"32KiB\"",
    )?;
    if bytes > MAX_SIZE {
        return Err(format!("must be at most {}", format_size(MAX_SIZE)));
    }
    Ok(bytes)
}

/// Reads a size between two bounds in bytes, both allowed.
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn size(value: &Value, least: u64, most: u64) -> Result<u64, String> {
    let bytes = parse_size(string(value)?)?;
    if (least..=most).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("must be from {} to {}", format_size(least), format_size(most)))
}

/// Writes a duration so that [`parse_duration`] reads it back: in the largest unit that leaves no rest (`90d`, `1m`).
/// What is finer than a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".into();
    }
    let (unit, size) =
        WRITTEN_UNITS.into_iter().find(|(_, size)| millis.is_multiple_of(*size)).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / size)
}

/// Writes a size in the largest binary unit that leaves no rest.
fn format_size(bytes: u64) -> String {
    let binary = [("GiB", 1u64 << 30), ("MiB", MIB), ("KiB", KIB)];
    let whole = |(_, size): &(&str, u64)| bytes > 0 && bytes.is_multiple_of(*size);
    match binary.into_iter().find(whole) {
        Some((unit, size)) => format!("{}{unit}", bytes / size),
        None => format!("{bytes}"),
    }
}

/// `None` unless the text is digits and a unit. A number that is too large becomes the largest there is, so that the
/// caller's bound names it.
fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    if number.is_empty() {
        return None;
    }
    Some(number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(*size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_read_in_every_unit() {
        let cases = [
            ("0s", 0),
            ("0ms", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("90d", 7_776_000_000),
            ("2w", 1_209_600_000),
            ("007s", 7_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_what_is_allowed() {
        for bad in ["", "s", "10", "-1s", "+1s", "1.5s", "10 s", " 10s", "10S", "10sec", "1h30m", "١s"] {
            let detail = parse_duration(bad).unwrap_err();
            assert!(detail.contains("ms, s, m, h, d, w"), "{bad}: {detail}");
        }
        for long in ["36501d", "99999999999999999999999d"] {
            assert_eq!(parse_duration(long), Err("must be at most 36500d".into()), "{long}");
        }
    }

    #[test]
    fn durations_keep_to_their_bounds_and_faults_never_repeat_the_text() {
        let read = |value: Value| duration(&value, Duration::from_secs(1), HOUR);
        assert_eq!(read(json!("1s")), Ok(Duration::from_secs(1)));
        assert_eq!(read(json!("1h")), Ok(HOUR));
        assert_eq!(read(json!("999ms")), Err("must be from 1s to 1h".into()));
        assert_eq!(read(json!("61m")), Err("must be from 1s to 1h".into()));
        assert_eq!(read(json!(10)), Err("must be a string, not a number".into()));
        assert!(!read(json!("hunter2")).unwrap_err().contains("hunter2"));
    }

    #[test]
    fn durations_read_back_as_they_were_written() {
        for text in ["0s", "1ms", "1500ms", "1s", "61s", "1m", "90m", "1h", "25h", "1d", "14d", "90d"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(format_duration(Duration::from_mins(1)), "1m");
        assert_eq!(format_duration(Duration::from_micros(1_500)), "1ms");
    }

    #[test]
    fn sizes_read_in_every_unit() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("32KiB", 32 << 10),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("10KB", 10_000),
            ("10MB", 10_000_000),
            ("10GB", 10_000_000_000),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "KiB", "1kb", "1 KiB", "-1", "+1", "1.5MiB", "1TiB", "0x10"] {
            assert!(parse_size(bad).unwrap_err().contains("KiB, MiB, GiB"), "{bad}");
        }
        assert_eq!(parse_size("1048577GiB"), Err("must be at most 1048576GiB".into()));
        assert_eq!(size(&json!("1"), KIB, 512 * KIB), Err("must be from 1KiB to 512KiB".into()));
    }
}
