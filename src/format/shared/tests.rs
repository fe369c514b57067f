//! Tests of the helpers, each quirk once, and against the `csv` and `serde_json` crates.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use proptest::prelude::*;

#[test]
fn addresses_lose_port_and_brackets_and_get_one_spelling() {
    for (text, expected) in [
        ("192.0.2.7", Some("192.0.2.7")),
        (" 192.0.2.7 ", Some("192.0.2.7")),
        ("192.0.2.7:4711", Some("192.0.2.7")),
        ("2001:DB8::", Some("2001:db8::")),
        ("2001:0db8:0:0:0:0:0:1", Some("2001:db8::1")),
        ("[2001:db8::1]:443", Some("2001:db8::1")),
        ("::ffff:192.0.2.7", Some("192.0.2.7")),
        ("Salesforce.com IP", None),
        ("192.0.2.7:http", None),
        ("192.0.2.256", None),
        ("", None),
    ] {
        assert_eq!(address(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn a_word_in_an_address_column_is_kept_with_a_defect() {
    let mut event = Event::default();
    set_address(&mut event, "CLIENT_IP", "Salesforce.com IP");
    set_address(&mut event, "SOURCE_IP", "");
    assert_eq!(event.client.ip, None);
    assert_eq!(event.extra, [(Cow::Borrowed("CLIENT_IP"), "Salesforce.com IP".to_owned())]);
    assert_eq!(event.defects, [Defect::field(DefectCode::NotAnAddress, "CLIENT_IP")]);
}

#[test]
fn integers_never_pass_through_floating_point() {
    for (text, expected) in [
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("150.0", Some(150)),
        ("150.", Some(150)),
        ("18446744073709551616", None),
        ("-1", None),
        ("1.5", None),
        ("+1", None),
        ("1e3", None),
        ("", None),
        (".", None),
    ] {
        assert_eq!(integer(text), expected, "{text}");
    }
}

fn values(text: &str) -> (Vec<String>, bool) {
    let mut values = CsvValues::new(text);
    let list = values.by_ref().map(Cow::into_owned).collect();
    (list, values.broken())
}

#[test]
fn csv_values_with_quotes_newlines_and_damage() {
    for (text, expected, broken) in [
        ("a,b,c", vec!["a", "b", "c"], false),
        ("\"a\",\"\",\"c\"\r", vec!["a", "", "c"], false),
        ("\"two\nlines, one value\",x", vec!["two\nlines, one value", "x"], false),
        ("\"\"\"https://crm.example.com\"\"\",1", vec!["\"https://crm.example.com\"", "1"], false),
        ("a\"b,c", vec!["a\"b", "c"], false),
        ("\"a\"b,c", vec!["ab", "c"], true),
        ("\"a,b", vec!["a,b"], true),
        ("\"a\"\"", vec!["a\""], true),
        ("a,", vec!["a", ""], false),
        ("", vec![""], false),
    ] {
        assert_eq!(values(text), (expected.into_iter().map(str::to_owned).collect(), broken), "{text}");
    }
}

#[test]
fn json_is_flattened_with_its_digits() {
    let members = json_members(
        r#" {"a":{"b":"x\u00e9\ud83d\ude00\ud800","n":1.10,"none":null},"l":[true,{"c":-7}],"e":{}} "#,
    );
    let expected = [("a.b", "x\u{e9}\u{1f600}\u{fffd}"), ("a.n", "1.10"), ("l.0", "true"), ("l.1.c", "-7")];
    let expected: Vec<(String, String)> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(members, Ok(expected));
}

#[test]
fn json_limits_are_exact() {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert!(json_members(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(json_members(&nested(MAX_DEPTH + 1)), Err(JsonFault::TooComplex));
    let wide = |count: usize| {
        let members: Vec<String> = (0..count).map(|place| format!("\"m{place}\":1")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(json_members(&wide(MAX_MEMBERS)).map(|members| members.len()), Ok(MAX_MEMBERS));
    assert_eq!(json_members(&wide(MAX_MEMBERS + 1)), Err(JsonFault::TooComplex));
    let long = |length: usize| format!("{{\"{}\":1}}", "n".repeat(length));
    assert!(json_members(&long(MAX_PATH)).is_ok());
    assert_eq!(json_members(&long(MAX_PATH + 1)), Err(JsonFault::TooComplex));
}

#[test]
fn what_is_no_object_is_refused() {
    for text in
        ["", "[]", "1", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1} x", "{\"a\":\"\\x\"}", "{a:1}"]
    {
        assert_eq!(json_members(text), Err(JsonFault::NotAnObject), "{text}");
    }
}

proptest! {
    #[test]
    fn csv_values_are_what_the_csv_crate_reads(fields in prop::collection::vec("[a-z\",\n\u{e9} ]{0,6}", 1..6)) {
        let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(&fields).unwrap();
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        prop_assert_eq!(values(&text), (fields, false));
    }

    #[test]
    fn any_text_splits_without_panic_and_loses_no_letter(text in "[a-z\",\r\n]{0,40}") {
        let letters = |text: &str| text.chars().filter(char::is_ascii_lowercase).count();
        let (list, _) = values(&text);
        prop_assert_eq!(list.iter().map(|value| letters(value)).sum::<usize>(), letters(&text));
    }

    #[test]
    fn json_accepts_what_serde_accepts(text in "\\{(\"[a-c\\\\\"u0-9]{0,4}\":(1|-2\\.50|true|null|\"x\"|\\[1, 2\\]),?){0,3}\\}") {
        let ours = json_members(&text).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        // Ours is the more liberal reader, never the stricter one.
        prop_assert!(ours || !theirs, "{}", text);
    }

    #[test]
    fn json_never_panics(text in "\\PC{0,60}|[\\{\\}\\[\\]\",:\\\\u0-9a-f]{0,60}") {
        let _ = json_members(&text);
    }
}
