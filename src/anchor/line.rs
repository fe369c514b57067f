//! A checkpoint in one line, for logs that keep lines, and back again.
//!
//! ```text
//! checkpoint <origin> <size> <base64 root> <key name> <base64 signature> <key name> <base64 signature>
//! ```
//!
//! None of the parts can hold a blank, so the line gives the note back byte by byte: whoever keeps it can
//! verify a trail against it (`verify --known-head`).

use crate::model::Time;

/// Severity "informational" of the facility "log audit" (RFC 5424 section 6.2.1).
const PRIORITY: u8 = 13 * 8 + 6;
/// First word of every line.
const WORD: &str = "checkpoint";
/// Dash of a note's signature lines.
const DASH: &str = "\u{2014} ";

/// The line of a note, without a newline; `None` for what is not the note of a checkpoint.
pub fn of(note: &str) -> Option<String> {
    let (text, signatures) = note.strip_suffix('\n')?.split_once("\n\n")?;
    let lines: Vec<&str> = text.split('\n').collect();
    let [origin, size, root] = lines[..] else { return None };
    let mut parts = vec![WORD, origin, size, root];
    for signature in signatures.split('\n') {
        parts.extend(signature.strip_prefix(DASH)?.split_once(' ').map(|(name, value)| [name, value])?);
    }
    let plain =
        |part: &&str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
    parts.iter().all(plain).then(|| parts.join(" "))
}

/// The note that a line stands for. Whatever a log put before the line is passed over.
pub fn note_of(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let start = words.iter().rposition(|word| *word == WORD)?;
    let (head, signatures) = words.get(start + 1..)?.split_at_checked(3)?;
    let (pairs, []) = signatures.as_chunks::<2>() else { return None };
    let mut note = format!("{}\n\n", head.join("\n"));
    for [name, value] in pairs {
        note.push_str(&format!("{DASH}{name} {value}\n"));
    }
    (!pairs.is_empty()).then_some(note)
}

/// The datagram for a syslog collector (RFC 5424, over UDP: RFC 5426).
pub fn syslog(line: &str, host: &str, pid: u32, now: Time) -> Vec<u8> {
    // HOSTNAME is printable ASCII, or `-` for none.
    let printable = |c: char| c.is_ascii_graphic();
    let host = if !host.is_empty() && host.len() <= 255 && host.chars().all(printable) { host } else { "-" };
    format!("<{PRIORITY}>1 {now} {host} crmwarden {pid} {WORD} - {line}").into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const NOTE: &str = "acme.example/crmwarden/g1\n7\nAAAA=\n\n\u{2014} acme.example/crmwarden/g1 c2ln\n\u{2014} acme.example/crmwarden/g1/epoch0 c2lnMg==\n";

    #[test]
    fn a_line_gives_its_note_back() {
        let line = of(NOTE).unwrap();
        assert_eq!(
            line,
            "checkpoint acme.example/crmwarden/g1 7 AAAA= acme.example/crmwarden/g1 c2ln acme.example/crmwarden/g1/epoch0 c2lnMg=="
        );
        assert_eq!(note_of(&line).as_deref(), Some(NOTE));
        let sent = String::from_utf8(syslog(&line, "audit1", 42, Time::from_seconds(0))).unwrap();
        assert!(
            sent.starts_with(
                "<110>1 1970-01-01T00:00:00.000000Z audit1 crmwarden 42 checkpoint - checkpoint acme"
            ),
            "{sent}"
        );
        assert!(
            syslog("x", "a b", 1, Time::EPOCH).starts_with(b"<110>1 1970-01-01T00:00:00.000000Z - crmwarden")
        );
    }

    #[test]
    fn lines_as_logs_keep_them() {
        let line = of(NOTE).unwrap();
        for before in [
            "",
            "<110>1 1970-01-01T00:00:00Z audit1 crmwarden 42 checkpoint - ",
            "Nov 27 23:14:02 audit1 crmwarden[42]: ",
            " INFO ",
        ] {
            assert_eq!(note_of(&format!("{before}{line}\n")).as_deref(), Some(NOTE), "{before}");
        }
        for bad in ["", "checkpoint", "checkpoint a 7 r", "checkpoint a 7 r name", "nothing of it"] {
            assert_eq!(note_of(bad), None, "{bad}");
        }
        for bad in [
            "",
            "a\n7\nr\n",
            "a\n7\nr\nmore\n\n\u{2014} n s\n",
            "a b\n7\nr\n\n\u{2014} n s\n",
            "a\n7\nr\n\nn s\n",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(\\PC|\n){0,120}") {
            if let Some(line) = of(&text) {
                prop_assert_eq!(note_of(&line), Some(text.clone()));
            }
            let _ = note_of(&text);
        }
    }
}
