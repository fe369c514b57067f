//! Making text from logs harmless before people read it in a mail client.
//!
//! Whoever can write a user name or a search text into a CRM log writes into our alerts. So:
//! * control characters, line and paragraph separators, bidirectional controls (Unicode UAX 9) and other
//!   characters without a glyph are shown as `[U+202E]` instead of being obeyed: no forged lines, no
//!   reversed file names, no second header;
//! * [`from_log`] also breaks what mail clients turn into links, `https://` and `www.`, the way security
//!   teams do by hand (`https[:]//`): an alert must not be the vehicle of a phishing link;
//! * long values are cut with a count of what is missing; the trail keeps all of it.

use std::fmt::Write as _;

/// Most characters of one value in an alert.
pub const VALUE_MAX: usize = 1_200;

/// Text that we or the policy's author wrote: characters without a glyph become visible.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut left = VALUE_MAX;
    let mut chars = text.chars();
    while left > 0 {
        let Some(c) = chars.next() else { return out };
        left -= 1;
        if is_hidden(c) {
            // Writing into a String cannot fail.
            let _ = write!(out, "[U+{:04X}]", u32::from(c));
        } else {
            out.push(c);
        }
    }
    match chars.count() {
        0 => out,
        cut => out + &format!(" … ({cut} more characters are in the trail)"),
    }
}

/// Text that came from a log: visible, and without anything that a mail client would turn into a link.
pub fn from_log(text: &str) -> String {
    break_www(&visible(text).replace("://", "[:]//"))
}

/// `www.` in any case, without touching the letters before the dot.
fn break_www(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let ends_in_www = out.len() >= 3
            && out.as_bytes().iter().rev().take(3).all(|byte| byte.eq_ignore_ascii_case(&b'w'));
        if c == '.' && ends_in_www {
            out.push_str("[.]");
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that steer a display or cannot be seen: categories Cc, Zl, Zp, Cf, and the invisible
/// fillers that pass as letters. U+200D and the variation selectors are part of visible emoji, but
/// outside of them they hide text, and an alert has no need of emoji.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00AD | 0x034F | 0x061C | 0x070F | 0x08E2 | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F
            | 0x0600..=0x0605 | 0x06DD | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164
            | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

/// Cuts to `max` characters, the last of which then is an ellipsis.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// Letters, digits, `-` and `_` as they are, every other byte as `=XX`: valid in a file name and in the
/// left part of a message id (RFC 5322 `atext`), and different names stay different.
pub fn atom(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "={byte:02X}");
        }
    }
    out
}

/// A duration in the two largest units that matter: `3 h 12 min`.
pub fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some(first) = UNITS.iter().position(|(size, _)| seconds >= *size) else {
        return "less than a second".to_owned();
    };
    let mut rest = seconds;
    let mut parts = Vec::with_capacity(2);
    for (size, name) in UNITS.iter().skip(first).take(2) {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count} {name}"));
        }
    }
    parts.join(" ")
}

/// Appends `text` wrapped at `width` characters, each line behind `indent`. A word that is longer than a
/// line is broken.
pub fn wrap(text: &str, indent: &str, width: usize, out: &mut String) {
    let room = width.saturating_sub(indent.len()).max(1);
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        loop {
            let count = word.chars().count();
            let gap = usize::from(length > 0);
            if length + gap + count <= room {
                line.push_str(if gap == 1 { " " } else { "" });
                line.push_str(word);
                length += gap + count;
                break;
            }
            if length > 0 {
                push_line(out, indent, &line);
                line.clear();
                length = 0;
                continue;
            }
            let at = word.char_indices().nth(room).map_or(word.len(), |(at, _)| at);
            let (head, tail) = word.split_at(at);
            push_line(out, indent, head);
            word = tail;
        }
    }
    if length > 0 {
        push_line(out, indent, &line);
    }
}

fn push_line(out: &mut String, indent: &str, line: &str) {
    out.push_str(indent);
    out.push_str(line);
    out.push('\n');
}
