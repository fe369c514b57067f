//! Words that speak for or against a number being what it looks like.
//!
//! Points for payment cards, points for social-security numbers. Four points are a statement ("SSN"),
//! one or two a hint ("paid"), negative ones name something else that has digits ("invoice"). All words are
//! matched by one Aho-Corasick automaton, whole words only: a hump of camel case and an underscore are word
//! ends too, so field names need no list of their own.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::sync::LazyLock;

/// A word with what it says about the two kinds of number.
pub(super) struct Word {
    pub(super) text: &'static str,
    pub(super) card: i8,
    pub(super) ssn: i8,
}

const fn word(text: &'static str, card: i8, ssn: i8) -> Word {
    Word { text, card, ssn }
}

/// What a card is called.
const CARD: &[&str] = &[
    "card",
    "card number",
    "card no",
    "card num",
    "card_number",
    "card_no",
    "card_num",
    "card on file",
    "cardnumber",
    "cardno",
    "cardnum",
    "cardholder",
    "credit card",
    "creditcard",
    "credit_card",
    "debit card",
    "debitcard",
    "debit_card",
    "credit card number",
    "bank card",
    "bankcard",
    "payment card",
    "cc",
    "ccn",
    "cc#",
    "ccnum",
    "cc_number",
    "cc_num",
    "ccnumber",
    "cc number",
    "pan",
    "primary account number",
    "visa",
    "mastercard",
    "master card",
    "amex",
    "american express",
    "discover card",
    "diners",
    "diners club",
    "jcb",
    "unionpay",
    "union pay",
    "maestro",
    "rupay",
    "mir",
    "kreditkarte",
    "kreditkartennummer",
    "kartennummer",
    "karte",
    "carte",
    "carte bancaire",
    "carte de crédit",
    "tarjeta",
    "tarjeta de crédito",
    "cartão",
    "carta di credito",
    "creditcardnummer",
];

/// What a social-security number is called.
const SSN: &[&str] = &[
    "ssn",
    "ssn#",
    "ss#",
    "ss #",
    "ss no",
    "ss number",
    "ssnum",
    "ssn_number",
    "ssno",
    "social security",
    "social security number",
    "social security no",
    "socialsecurity",
    "socialsecuritynumber",
    "social_security",
    "social_security_number",
    "social_security_no",
    "soc sec",
    "soc_sec",
    "socsec",
    "soc. sec.",
    "social",
    "social number",
    "socials",
    "taxpayer id",
    "taxpayer identification number",
    "tax id",
    "tax_id",
    "taxid",
    "tin",
    "tax id number",
    "last four of ssn",
    "seguro social",
    "número de seguro social",
];

/// Hints.
const HINTS: &[Word] = &[
    word("discover", 1, 0),
    word("cvv", 3, 0),
    word("cvc", 3, 0),
    word("cvv2", 3, 0),
    word("exp", 2, 0),
    word("expiry", 2, 0),
    word("expires", 2, 0),
    word("exp date", 2, 0),
    word("valid thru", 3, 0),
    word("charge", 3, -1),
    word("charged", 3, -1),
    word("paid", 3, -1),
    word("pay", 1, 0),
    word("payment", 3, -1),
    word("payment failed", 3, -1),
    word("billing", 1, 0),
    word("declined", 3, 0),
    word("renewal", 1, 0),
    word("renew", 1, 0),
    word("refund", 1, -1),
    word("taxpayer", 0, 3),
    word("w-2", 0, 2),
    word("w2", 0, 2),
    word("w-9", 0, 2),
    word("w9", 0, 2),
    word("1099", 0, 2),
    word("dob", 0, 1),
    word("date of birth", 0, 1),
    word("birthdate", 0, 1),
    word("employee", 0, 1),
    word("payroll", 0, 1),
    word("itin", 0, 1),
    word("verify", 0, 1),
];

/// Names of other things that have digits: no card and no social-security number.
const OTHERS: &[&str] = &[
    "order",
    "order no",
    "order number",
    "order id",
    "order_id",
    "so",
    "po",
    "purchase order",
    "invoice",
    "inv",
    "tracking",
    "tracking number",
    "shipment",
    "parcel",
    "fedex",
    "fedex ground",
    "ups",
    "usps",
    "dhl",
    "imei",
    "iccid",
    "imsi",
    "meid",
    "ean",
    "gtin",
    "upc",
    "isbn",
    "asin",
    "sku",
    "part",
    "part no",
    "part number",
    "part_no",
    "p/n",
    "serial",
    "serial no",
    "serial number",
    "s/n",
    "batch",
    "lot",
    "qty",
    "quantity",
    "ticket",
    "case",
    "case number",
    "trace",
    "trace id",
    "trace_id",
    "traceid",
    "span",
    "span id",
    "request",
    "req",
    "request_id",
    "requestid",
    "request id",
    "session",
    "session_id",
    "correlation",
    "correlation_id",
    "txn",
    "transaction id",
    "transaction_id",
    "job",
    "run",
    "ts",
    "timestamp",
    "epoch",
    "duration",
    "dur",
    "dur_ms",
    "elapsed",
    "bytes",
    "size",
    "offset",
    "hash",
    "sha",
    "sha1",
    "sha256",
    "md5",
    "digest",
    "uuid",
    "guid",
    "version",
    "build",
    "phone",
    "tel",
    "telephone",
    "fax",
    "mobile",
    "cell",
    "call",
    "zip",
    "zip code",
    "zipcode",
    "postal",
    "postcode",
    "iban",
    "swift",
    "bic",
    "routing",
    "ein",
    "npi",
    "vin",
    "record",
    "record id",
    "record_id",
    "recordid",
    "row",
    "seq",
    "sequence",
    "replay",
    "replayid",
    "replay_id",
    "score",
    "lat",
    "lon",
    "lng",
    "latitude",
    "longitude",
    "geo",
    "coordinates",
    "total",
    "amount",
    "price",
    "window",
    "model",
    "asset",
    "catalog",
    "item",
    "uid",
    "user_id",
    "userid",
    "object_id",
    "objectid",
    "entity_id",
    "locator",
    "commit",
    "revision",
    "port",
    "pid",
    "ip",
    "msisdn",
    "barcode",
    "license",
    "licence",
    "policy",
    "policy number",
    "claim",
    "contract",
    "customer id",
    "customer_id",
    "account id",
    "account_id",
    "accountid",
    "external_id",
    "external id",
    "message id",
    "messageid",
    "message_id",
    "queue",
];

/// Names that say a little against.
const VAGUE: &[Word] = &[
    word("ref", -1, -2),
    word("reference", -1, -2),
    word("id", -1, -1),
    word("number", 0, 0),
    word("acct", -1, -2),
    word("account", -1, -2),
    word("account number", -1, -3),
    word("acct no", -1, -3),
    word("since", -1, -1),
    word("from", 0, 0),
    word("at", 0, 0),
    word("zone", -1, -1),
    word("code", -1, -1),
    word("key", -1, -1),
];

/// Keys that only say where a value stands: what stands before them counts instead.
const GENERIC: &[&str] = &[
    "old",
    "new",
    "value",
    "val",
    "v",
    "from",
    "to",
    "before",
    "after",
    "text",
    "body",
    "message",
    "msg",
    "data",
    "q",
    "query",
    "input",
    "content",
    "note",
    "notes",
    "comment",
    "comments",
    "description",
    "oldvalue",
    "newvalue",
    "old_value",
    "new_value",
    "is",
    "was",
    "detail",
    "details",
    "raw",
    "payload",
    "number",
    "no",
    "changes",
    "search",
];

static ALL: LazyLock<Vec<Word>> = LazyLock::new(|| {
    let cards = CARD.iter().map(|text| word(text, 4, -2));
    let numbers = SSN.iter().map(|text| word(text, -1, 4));
    let others = OTHERS.iter().map(|text| word(text, -6, -6));
    let rest = HINTS.iter().chain(VAGUE).map(|known| word(known.text, known.card, known.ssn));
    cards.chain(numbers).chain(others).chain(rest).collect()
});

static AUTOMATON: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(AhoCorasickKind::DFA))
        .build(ALL.iter().map(|word| word.text))
        .ok()
});

/// Every whole word of the lists in a text, in order, with its end.
pub(super) fn find(text: &[u8]) -> impl DoubleEndedIterator<Item = (&'static Word, usize)> + '_ {
    let automaton = AUTOMATON.as_ref();
    let found: Vec<(&'static Word, usize)> = automaton
        .into_iter()
        .flat_map(|automaton| automaton.find_iter(text))
        .filter(|found| is_whole(text, found.start(), found.end()))
        .filter_map(|found| Some((ALL.get(found.pattern().as_usize())?, found.end())))
        .collect();
    found.into_iter()
}

/// Whether a key only says where a value stands.
pub(super) fn is_generic(key: &[u8]) -> bool {
    GENERIC.iter().any(|known| key.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether no letter continues the word on either side. A change from lower to upper case ends a word,
/// and a plural is the same word.
fn is_whole(text: &[u8], start: usize, end: usize) -> bool {
    let at = |place: usize| text.get(place).copied().unwrap_or(b' ');
    let before = start.checked_sub(1).map_or(b' ', at);
    let left =
        !before.is_ascii_alphabetic() || (before.is_ascii_lowercase() && at(start).is_ascii_uppercase());
    let last = end.checked_sub(1).map_or(b' ', at);
    let plural = at(end) == b's' && !at(end + 1).is_ascii_alphabetic();
    let right = !at(end).is_ascii_alphabetic()
        || plural
        || (last.is_ascii_lowercase() && at(end).is_ascii_uppercase());
    left && right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&'static str> {
        find(text.as_bytes()).map(|(word, _)| word.text).collect()
    }

    #[test]
    fn whole_words_only() {
        assert_eq!(words("className company discard cardinality"), Vec::<&str>::new());
        assert_eq!(words("CustomerSSN"), ["ssn"]);
        assert_eq!(words("customer_ssn__c"), ["ssn"]);
        assert_eq!(words("two cards"), ["card"]);
        assert_eq!(words("Credit Card Number is"), ["credit card number"]);
    }
}
