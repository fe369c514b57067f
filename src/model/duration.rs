//! Durations as people write them: `30s`, `20m`, `1h`, `90d`, `2w`. One unit, a whole number above zero.

/// Seconds.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A hundred years is more than anybody means, and keeps every later sum of seconds in range.
    let total = digits.parse::<u64>().ok()?.checked_mul(seconds)?;
    (1..=100 * 366 * 86_400).contains(&total).then_some(total)
}

/// What to say when it cannot be read.
pub const FORM: &str = "a whole number with s, m, h, d or w: 20m, 1h, 90d";

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units() {
        let cases = [
            ("30s", 30),
            ("20m", 1200),
            ("1h", 3600),
            ("24h", 86_400),
            ("90d", 7_776_000),
            ("2w", 1_209_600),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
        for text in
            ["", "m", "0m", "1", "1.5h", "-1h", "+1h", "1 h", "1y", "99999999999999999999s", "1M", "é"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
