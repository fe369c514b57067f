//! Points in time: microseconds since 1970-01-01T00:00:00Z, as RFC 3339 in UTC.
//!
//! One fixed form is written everywhere, `2026-11-22T04:46:15.591000Z`: six fraction digits and `Z`, so
//! that times sort as text. Reading is liberal in what CRMs really send: an offset without colon
//! (`+0000`, Salesforce), one to nine fraction digits, a blank instead of `T`, a date alone.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A point in time, UTC, microseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

const MICROS_PER_SECOND: i64 = 1_000_000;
/// Seconds of 0001-01-01T00:00:00Z and of 9999-12-31T23:59:59Z.
const WRITABLE: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const SECONDS_PER_DAY: i64 = 86_400;

impl Time {
    /// The Unix epoch.
    pub const EPOCH: Time = Time(0);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Time {
        Time(micros)
    }
    /// From whole seconds since the epoch.
    pub const fn from_seconds(seconds: i64) -> Time {
        Time(seconds * MICROS_PER_SECOND)
    }
    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }
    /// This time moved by `seconds` (which may be negative).
    pub const fn plus_seconds(self, seconds: i64) -> Time {
        Time(self.0.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)))
    }
    /// Seconds from `earlier` to `self`, with fraction.
    pub fn seconds_since(self, earlier: Time) -> f64 {
        (self.0 - earlier.0) as f64 / MICROS_PER_SECOND as f64
    }

    /// From a UTC calendar date and time of day. `None` when a part is out of range.
    pub fn from_civil(date: (i64, u32, u32), clock: (u32, u32, u32), micros: u32) -> Option<Time> {
        let (year, month, day) = date;
        let (hour, minute, second) = clock;
        let valid = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60;
        if !valid {
            return None;
        }
        let days = days_from_civil(year, month, day);
        let seconds = days * SECONDS_PER_DAY
            + i64::from(hour) * 3600
            + i64::from(minute) * 60
            + i64::from(second.min(59));
        Some(Time(seconds * MICROS_PER_SECOND + i64::from(micros)))
    }

    /// Reads RFC 3339 and the near misses named in the module doc. A form without any offset gives
    /// `None`: the caller must know the zone, this function never guesses one.
    pub fn parse(text: &str) -> Option<Time> {
        let bytes = text.trim().as_bytes();
        let date = parse_date(bytes)?;
        let (time, rest) = parse_clock(bytes.get(11..)?)?;
        if !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) {
            return None;
        }
        let local = Time::from_civil(date, time.0, time.1)?;
        let time = local.plus_seconds(-parse_offset(rest)?);
        time.is_writable().then_some(time)
    }

    /// Reads the fixed form of the module doc and nothing else.
    pub fn read_fixed(text: &[u8; 27]) -> Option<Time> {
        const FORM: &[u8; 27] = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
        let fits = |(byte, form): (&u8, &u8)| match form {
            b'd' => byte.is_ascii_digit(),
            sign => byte == sign,
        };
        // Bitwise, so that the common case has no branch a byte.
        if !text.iter().zip(FORM).fold(true, |all, pair| all & fits(pair)) {
            return None;
        }
        let digits = |from: usize, to: usize| {
            text[from..to].iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
        };
        let date = (i64::from(digits(0, 4)), digits(5, 7), digits(8, 10));
        Time::from_civil(date, (digits(11, 13), digits(14, 16), digits(17, 19)), digits(20, 26))
    }

    /// Reads a date alone (`2026-11-22`) as its first instant in UTC.
    pub fn parse_date(text: &str) -> Option<Time> {
        let bytes = text.trim().as_bytes();
        if bytes.len() != 10 {
            return None;
        }
        Time::from_civil(parse_date(bytes)?, (0, 0, 0), 0)
    }

    /// Year, month, day, hour, minute, second in UTC.
    pub fn civil(self) -> (i64, u32, u32, u32, u32, u32) {
        let seconds = self.seconds();
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let rest = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
        (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
    }

    /// Whether the fixed form can hold it: years 1 to 9999. An offset can push a time at the edge beyond.
    pub fn is_writable(self) -> bool {
        WRITABLE.contains(&self.seconds())
    }

    /// Appends the fixed form of the module doc, 27 bytes for years 0 to 9999.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text());
    }

    /// The fixed form by itself.
    pub fn text(self) -> [u8; 27] {
        let (year, month, day, hour, minute, second) = self.civil();
        let micros = self.0.rem_euclid(MICROS_PER_SECOND) as u32;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let year = year.clamp(0, 9999) as u32;
        put_pair(&mut text, 0, year / 100);
        put_pair(&mut text, 2, year % 100);
        put_pair(&mut text, 5, month);
        put_pair(&mut text, 8, day);
        put_pair(&mut text, 11, hour);
        put_pair(&mut text, 14, minute);
        put_pair(&mut text, 17, second);
        put_pair(&mut text, 20, micros / 10_000);
        put_pair(&mut text, 22, micros / 100 % 100);
        put_pair(&mut text, 24, micros % 100);
        text
    }
}

/// The numbers below 100 in two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Writes a number below 100 as two digits.
#[inline(always)]
fn put_pair(text: &mut [u8; 27], place: usize, value: u32) {
    [text[place], text[place + 1]] = PAIRS[value.min(99) as usize];
}

fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u32, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

fn parse_date(bytes: &[u8]) -> Option<(i64, u32, u32)> {
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    Some((i64::from(number(&bytes[..4])?), number(&bytes[5..7])?, number(&bytes[8..10])?))
}

/// `HH:MM:SS[.fraction]`: the clock, the microseconds, and what follows.
#[allow(clippy::type_complexity)]
fn parse_clock(bytes: &[u8]) -> Option<(((u32, u32, u32), u32), &[u8])> {
    if bytes.len() < 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let clock = (number(&bytes[..2])?, number(&bytes[3..5])?, number(&bytes[6..8])?);
    let mut rest = &bytes[8..];
    let mut micros = 0;
    if let Some((b'.' | b',', fraction)) = rest.split_first() {
        let width = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if width == 0 || width > 9 {
            return None;
        }
        for place in 0..6 {
            micros = micros * 10 + fraction[..width].get(place).map_or(0, |digit| u32::from(digit - b'0'));
        }
        rest = &fraction[width..];
    }
    Some(((clock, micros), rest))
}

/// `Z`, `+HH:MM`, `+HHMM` as seconds east of UTC.
fn parse_offset(bytes: &[u8]) -> Option<i64> {
    let (sign, rest) = match bytes {
        b"Z" | b"z" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest {
        [a, b, b':', c, d] | [a, b, c, d] => (number(&[*a, *b])?, number(&[*c, *d])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; eras of 400 years make it exact.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let shifted_month = i64::from((month + 9) % 12);
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    // It fits 32 bits, where dividing costs less.
    let day_of_era = shifted.rem_euclid(146_097) as u32;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = i64::from(year_of_era) + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(27);
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Time::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_edges_of_what_can_be_written_are_those_of_the_years() {
        for edge in [-62_135_596_800, 253_402_300_799] {
            for seconds in edge - 2..=edge + 2 {
                let time = Time::from_seconds(seconds);
                assert_eq!(time.is_writable(), (1..=9999).contains(&time.civil().0), "{seconds}");
            }
        }
    }

    #[test]
    fn reads_what_crms_send() {
        let expected = "2022-11-22T04:46:15.591000Z";
        for text in [
            "2022-11-22T04:46:15.591Z",
            "2022-11-22T04:46:15.591+0000",
            "2022-11-22T05:46:15.591+01:00",
            "2022-11-22 04:46:15.591000Z",
            "2022-11-22T04:46:15.591000999Z",
        ] {
            assert_eq!(Time::parse(text).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_has_no_zone_or_no_sense() {
        for text in [
            "0001-01-01T00:00:00+05:00",
            "9999-12-31T23:59:59-05:00",
            "2022-11-22T04:46:15",
            "2022-02-30T00:00:00Z",
            "2022-11-22T24:00:00Z",
            "2022-11-22",
            "",
            "x",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_times_read_back(micros in -2_000_000_000_000_000i64..253_402_300_799_000_000) {
            let time = Time::from_micros(micros);
            prop_assert_eq!(Time::parse(&time.to_string()), Some(time));
            let fixed = time.to_string();
            prop_assert_eq!(fixed.as_bytes().first_chunk().and_then(Time::read_fixed), Some(time));
        }

        #[test]
        fn the_fixed_form_is_read_as_the_liberal_reader_reads_it(
            text in "[0-9]{4}-[0-1][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9][.,][0-9]{6}[Zz0-9]"
        ) {
            if let Some(time) = text.as_bytes().first_chunk().and_then(Time::read_fixed) {
                prop_assert_eq!(Time::parse(&text), Some(time));
            } else if text.contains('T') && text.contains('.') && text.ends_with('Z') {
                prop_assert_eq!(Time::parse(&text), None);
            }
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = Time::parse(&text);
        }
    }
}
