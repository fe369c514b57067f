//! Numbers inside Base64.
//!
//! Three digits in a row that begin at a multiple of three become four letters of a narrow pattern
//! (`0x3d 0x3d 0x3d` in sextets: `M`–`O`, then one of `DTjz`, then every fourth letter, then `w`–`5`), and
//! every spelling of a number that matters here holds such three digits. So only runs that show the pattern
//! are decoded; other text is passed over at the speed of a search for three letters.

use super::{Detector, Hit, Likelihood};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Shortest run that can hold a number.
const SHORTEST: usize = 12;
/// Longest run that is decoded: enough for any field of a CRM, so that one value cannot hold the others up.
const LONGEST: usize = 1 << 20;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// Appends a hit for each run of Base64 with a number inside. Returns whether there was one.
pub(super) fn scan(bytes: &[u8], path: &str, hits: &mut Vec<Hit>) -> bool {
    if bytes.len() < SHORTEST {
        return false;
    }
    let before = hits.len();
    let mut from = 0;
    while let Some(found) = bytes.get(from..).and_then(|rest| memchr::memchr3(b'M', b'N', b'O', rest)) {
        let place = from + found;
        from = place + 1;
        if !shows_digits(bytes.get(place..place + 4).unwrap_or_default()) {
            continue;
        }
        let (start, end) = run_around(bytes, place);
        from = from.max(end);
        if (SHORTEST..=LONGEST).contains(&(end - start)) {
            decode(bytes, start, end, path, hits);
        }
    }
    hits.len() > before
}

/// Whether four letters are three ASCII digits.
fn shows_digits(quad: &[u8]) -> bool {
    matches!(
        quad,
        [
            b'M' | b'N' | b'O',
            b'D' | b'T' | b'j' | b'z',
            b'A' | b'E' | b'I' | b'M' | b'Q' | b'U' | b'Y' | b'c' | b'g' | b'k',
            b'w'..=b'z' | b'0'..=b'5',
        ]
    )
}

fn run_around(bytes: &[u8], place: usize) -> (usize, usize) {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let head = bytes.get(..place).unwrap_or_default();
    let start = head.iter().rposition(|byte| !inside(byte)).map_or(0, |stop| stop + 1);
    let tail = bytes.get(place..).unwrap_or_default();
    let end = tail.iter().position(|byte| !inside(byte)).unwrap_or(tail.len());
    (start, place + end)
}

fn decode(bytes: &[u8], start: usize, end: usize, path: &str, hits: &mut Vec<Hit>) {
    let run = bytes.get(start..end).unwrap_or_default();
    let engine = if run.iter().any(|byte| matches!(byte, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    // A run may end with a letter that belongs to no group of four.
    let run = if run.len() % 4 == 1 { run.get(..run.len() - 1).unwrap_or_default() } else { run };
    let Ok(decoded) = engine.decode(run).map(zeroize::Zeroizing::new) else { return };
    let Ok(text) = std::str::from_utf8(&decoded) else { return };
    let mut inner = Vec::new();
    super::scan_plain(&mut super::Cluster::default(), text.as_bytes(), path, &mut inner);
    let best = inner.into_iter().filter(|hit| hit.must_be_masked()).max_by_key(|hit| hit.likelihood);
    let Some(mut hit) = best.filter(|hit| hit.likelihood >= least(hit.detector)) else { return };
    hit.start = start;
    hit.end = end;
    hit.encoded = true;
    hits.retain(|other| other.end <= start || end <= other.start);
    hits.push(hit);
}

/// Base64 that is also readable text is rare by chance, so what is likely in plain text is likely here.
fn least(detector: Detector) -> Likelihood {
    match detector {
        Detector::PaymentCard | Detector::UsSsn => Likelihood::Low,
    }
}
