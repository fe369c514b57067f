//! What the reader keeps, what it refuses, and what hostile records cost it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use proptest::prelude::*;

fn value(text: &str) -> Json<'_> {
    read(text).expect("JSON").value
}

#[test]
fn digits_stay_as_written() {
    for digits in ["10.50", "0.1000000000000000055511151231257827", "123456789012345678901234567890", "-1E+9"]
    {
        assert_eq!(value(digits), Json::Number(digits));
    }
    // The vendor's own documentation shows such a number in a sample answer.
    assert_eq!(value("089274502"), Json::Number("089274502"));
}

#[test]
fn duplicates_are_kept_and_named() {
    let document = read(r#"{"a":1,"b":2,"a":3}"#).expect("JSON");
    assert_eq!(document.duplicate.as_deref(), Some("a"));
    let mut members = document.value.into_members().expect("object");
    assert_eq!(members.take_text("a").as_deref(), Some("1"));
    assert_eq!(members.take_text("a").as_deref(), Some("3"));
}

#[test]
fn how_a_name_is_written_makes_no_difference() {
    assert_eq!(value(r#"{"n":{"é":1}}"#), value(r#"{"n":{"\u00e9":1}}"#));
    assert_ne!(value(r#"{"n":{"é":1}}"#), value(r#"{"n":{"e":1}}"#));
    for record in [r#"{"a@b.c":1}"#, r#"{"a\u0040b.c":1}"#] {
        let mut members = value(record).into_members().expect("object");
        assert_eq!(members.take_annotated_text("a", "@b.c").as_deref(), Some("1"), "{record}");
    }
}

#[test]
fn beyond_the_limits_the_text_is_kept() {
    let nested = format!("{}\"]\"{}", "[".repeat(DEPTH + 1), "]".repeat(DEPTH + 1));
    let document = read(&nested).expect("JSON");
    assert!(document.too_complex);
    assert!(document.value.to_text().is_some_and(|text| text == nested));

    let wide = format!(r#"{{"x":[{}]}}"#, vec!["0"; MEMBERS + 1].join(","));
    let document = read(&wide).expect("JSON");
    assert!(document.too_complex);
    assert_eq!(document.value.to_text(), Some(wide.clone()));
    assert!(!read(&format!("[{}]", vec!["0"; MEMBERS].join(","))).expect("JSON").too_complex);

    let row = format!("[{}]", vec!["0"; MEMBERS].join(","));
    let many = format!("[{}]", vec![row.as_str(); 70].join(","));
    assert!(read(&many).expect("JSON").too_complex);
}

#[test]
fn hostile_depth_is_read_in_linear_time_without_recursion() {
    let open = "[".repeat(1 << 20);
    assert!(read(&open).is_none());
    assert!(read(&format!("{open}{}", "]".repeat(1 << 20))).expect("JSON").too_complex);
}

#[test]
fn what_ends_within_many_levels_is_kept_as_written() {
    let items = format!("[{}]", vec!["0"; MEMBERS].join(","));
    let many = vec![items.as_str(); 70].join(",");
    let text = format!("{}{many}{}", "[".repeat(DEPTH - 1), "]".repeat(DEPTH - 1));
    let document = read(&text).expect("JSON");
    assert!(document.too_complex);
    assert!(document.value.to_text().is_some_and(|kept| kept == text));
}

#[test]
fn escapes() {
    assert_eq!(value(r#""a\u00e9\ud83d\ude00\n\/""#), Json::Text("aé😀\n/".into()));
    let lone = read(r#""x\ud83dy""#).expect("JSON");
    assert!(lone.replaced);
    assert_eq!(lone.value, Json::Text("x\u{fffd}y".into()));
    assert_eq!(value("\u{feff}true"), Json::Bool(true));
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        "{",
        "[1,]",
        "{\"a\"}",
        "{\"a\":1,}",
        "nul",
        "1 2",
        "\"\\",
        "\"\\x\"",
        "-",
        "1.",
        "{'a':1}",
        "[}",
    ] {
        assert!(read(text).is_none(), "{text}");
    }
}

proptest! {
    #[test]
    fn the_first_special_character_is_found(bytes in proptest::collection::vec(proptest::sample::select(
        vec![b'"', b'\\', b'a', 0, 0x21, 0x23, 0x5b, 0x5d, 0x80, 0xa2, 0xdc, 0xff]), 0..200), quiet in 0usize..200) {
        let bytes = [vec![b'a'; quiet], bytes].concat();
        prop_assert_eq!(special(&bytes), bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')));
    }

    #[test]
    fn never_panics(text in "\\PC*|[\\[\\]{}\",:0-9a-z\\\\ ]{0,60}") {
        if let Some(document) = read(&text) {
            let _ = document.value.to_text();
        }
    }

    /// Texts whose escapes and characters of several bytes stand anywhere in the words that are copied.
    #[test]
    fn texts_with_escapes_come_back(text in "[a-cé😀\"\\\\/\n\u{1}]{0,60}|[a-z]{0,40}\\\\?[a-zé😀]{0,40}", after in "[a-c]{0,20}") {
        let written = serde_json::to_string(&[&text, &after]).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        for json in [written, format!("[\"{escaped}\",\"{after}\"]")] {
            let Some(Document { value: Json::List(values), replaced: false, .. }) = read(&json) else {
                return Err(TestCaseError::fail(json));
            };
            let texts: Vec<Option<&str>> = values.iter().map(Json::as_str).collect();
            prop_assert_eq!(texts, [Some(text.as_str()), Some(after.as_str())]);
            // What is cut off anywhere is no JSON.
            let cut = json.floor_char_boundary(json.len() * 2 / 3);
            prop_assert!(read(&json[..cut]).is_none());
        }
    }

    #[test]
    fn agrees_with_serde_json(text in "[\\[\\]{}\",:0-2tfen\\\\u. -]{0,24}") {
        if let Ok(theirs) = serde_json::from_str::<serde_json::Value>(&text) {
            let ours = read(&text).ok_or_else(|| TestCaseError::fail("refused"))?;
            if ours.duplicate.is_none() && !ours.too_complex {
                let ours = ours.value.to_text().unwrap_or_else(|| "null".to_owned());
                if !theirs.is_string() {
                    let again: serde_json::Value =
                        serde_json::from_str(&ours).map_err(|error| TestCaseError::fail(error.to_string()))?;
                    prop_assert_eq!(again, theirs);
                }
            }
        }
    }
}
