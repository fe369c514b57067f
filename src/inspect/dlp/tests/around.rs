//! Masking around pseudonyms.

use super::super::*;

#[test]
fn pseudonyms_stay_and_what_stands_around_them_is_masked() {
    let card = "4111111111111111";
    // Sixteen decimal digits behind `act:` are a keyed digest here, and a number in a text of a source.
    let text = format!("act:{card}: {card} of obj:0123456789abcdef, {card}");
    assert_eq!(
        mask_around(&text).as_deref(),
        Some("act:4111111111111111: ************1111 of obj:0123456789abcdef, ************1111")
    );
    assert!(!mask(&text).unwrap_or_default().contains(card));
    assert_eq!(mask_around(&format!("read by act:{card}")), None);
    assert_eq!(mask_around("nothing"), None);
}
