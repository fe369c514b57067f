//! Which card network a number belongs to: issuer prefix (ISO/IEC 7812) and length.
//!
//! A length is *strong* where prefix and length together say enough that a valid check digit is good
//! evidence, and *weak* where the same prefix and length are common among other numbers (ids, phones,
//! parcel numbers): weak ones count only beside a word that speaks of cards. Prefixes follow the networks'
//! published ranges; where two networks share a range the narrower wins.

/// Lengths as a set of bits.
type Lengths = u32;

const fn lengths(all: &[u32]) -> Lengths {
    let mut set = 0;
    let mut place = 0;
    while place < all.len() {
        set |= 1 << all[place];
        place += 1;
    }
    set
}

/// Shortest and longest number that any network issues.
pub(super) const SHORTEST: usize = 12;
/// See [`SHORTEST`].
pub(super) const LONGEST: usize = 19;

/// What prefix and length say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether prefix and length are evidence on their own.
    pub(super) strong: bool,
    /// Whether the network issues numbers without check digit.
    pub(super) unchecked: bool,
}

const SIXTEEN: Lengths = lengths(&[16]);
const NONE: Lengths = 0;

/// The network of a number, `None` where no network issues such numbers.
pub(super) fn network(digits: &[u8]) -> Option<Network> {
    if !(SHORTEST..=LONGEST).contains(&digits.len()) {
        return None;
    }
    let prefix = digits.iter().take(6).fold(0u32, |sum, digit| sum * 10 + u32::from(*digit));
    let (name, strong, weak) = row(prefix)?;
    let length = 1 << digits.len();
    let unchecked = name == "UnionPay" && digits.len() >= 16;
    if strong & length != 0 {
        return Some(Network { name, strong: true, unchecked });
    }
    (weak & length != 0).then_some(Network { name, strong: false, unchecked })
}

/// Name, strong lengths, weak lengths by the first six digits.
fn row(prefix: u32) -> Option<(&'static str, Lengths, Lengths)> {
    let maestro = lengths(&[12, 13, 14, 15, 16, 17, 18, 19]);
    Some(match prefix {
        // Ranges of domestic networks inside those of the large ones.
        401_178..=401_179 | 431_274 | 438_935 | 451_416 | 457_393 | 457_631..=457_632 => {
            ("Elo", SIXTEEN, NONE)
        }
        504_175 | 506_699..=506_778 | 509_000..=509_999 | 627_780 | 636_297 | 636_368 => {
            ("Elo", SIXTEEN, NONE)
        }
        606_282 => ("Hipercard", SIXTEEN, lengths(&[13, 19])),
        637_095 | 637_568 | 637_599 | 637_609 | 637_612 => ("Hiper", SIXTEEN, NONE),
        589_562 => ("Naranja", SIXTEEN, NONE),
        506_099..=506_198 | 507_865..=507_964 => ("Verve", SIXTEEN, lengths(&[18, 19])),
        417_500..=417_599 | 457_100..=457_199 | 501_900..=501_999 => ("Dankort", SIXTEEN, NONE),
        979_200..=979_299 => ("Troy", SIXTEEN, NONE),
        220_000..=220_499 => ("Mir", SIXTEEN, lengths(&[17, 18, 19])),
        222_100..=272_099 | 510_000..=559_999 => ("Mastercard", SIXTEEN, NONE),
        400_000..=499_999 => ("Visa", lengths(&[16, 19]), lengths(&[13, 18])),
        340_000..=349_999 | 370_000..=379_999 => ("American Express", lengths(&[15]), NONE),
        300_000..=305_999 | 309_500..=309_599 | 360_000..=369_999 | 380_000..=399_999 => {
            ("Diners Club", lengths(&[14]), lengths(&[16, 19]))
        }
        352_800..=358_999 => ("JCB", SIXTEEN, lengths(&[17, 18, 19])),
        // Old ranges, still written by test data generators: fifteen digits, or the rest of 35.
        350_000..=352_799 => ("JCB", NONE, SIXTEEN),
        308_800..=309_499 | 309_600..=310_299 | 333_700..=334_999 => ("JCB", NONE, SIXTEEN),
        180_000..=180_099 | 213_100..=213_199 => ("JCB", NONE, lengths(&[15])),
        601_100..=601_199 | 644_000..=659_999 => ("Discover", SIXTEEN, lengths(&[19])),
        620_000..=629_999 => ("UnionPay", lengths(&[16, 19]), lengths(&[14, 15, 17, 18])),
        810_000..=817_199 => ("UnionPay", NONE, lengths(&[16, 17, 18, 19])),
        // Maestro issues 12 to 19 digits; only its well-known prefixes at sixteen are telling.
        501_800..=501_899 | 502_000..=502_099 | 503_800..=503_899 => ("Maestro", SIXTEEN, maestro),
        630_400..=630_499 | 675_900..=675_999 | 676_100..=676_399 => ("Maestro", SIXTEEN, maestro),
        // RuPay shares 60, 65, 81 and 82 with others.
        508_000..=508_999 | 817_200..=829_999 | 600_000..=609_999 => ("RuPay", NONE, SIXTEEN),
        500_000..=509_999 | 560_000..=599_999 | 630_000..=639_999 | 670_000..=679_999 => {
            ("Maestro", NONE, maestro)
        }
        100_000..=199_999 => ("UATP", NONE, lengths(&[15])),
        _ => return None,
    })
}

/// The check digit rule of ISO/IEC 7812-1 annex B: every second digit from the right doubled, digits of
/// the products added, sum divisible by ten.
pub(super) fn luhn(digits: &[u8]) -> bool {
    const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            if place % 2 == 0 {
                u32::from(*digit)
            } else {
                DOUBLED.get(usize::from(*digit)).copied().unwrap_or(0)
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Numbers that payment processors publish for tests (Stripe, PayPal, Adyen, Worldpay, Braintree), sorted.
/// They belong to nobody.
const PUBLISHED: &[&[u8]] = &[
    b"122000000000003",
    b"2222405343248877",
    b"2222990905257051",
    b"2223000048400011",
    b"2223003122003222",
    b"2223007648726984",
    b"2223577120017656",
    b"3056930009020004",
    b"30569309025904",
    b"3088000000000009",
    b"340000000000009",
    b"34343434343434",
    b"343434343434343",
    b"3528000700000000",
    b"3530111333300000",
    b"3566002020360505",
    b"36148900647913",
    b"36227206271667",
    b"36700102000000",
    b"370000000000002",
    b"371449635398431",
    b"378282246310005",
    b"378734493671000",
    b"38520000023237",
    b"4000056655665556",
    b"4012000033330026",
    b"4012888888881881",
    b"4111111111111111",
    b"4222222222222",
    b"4242424242424242",
    b"4444333322221111",
    b"4462030000000000",
    b"4484070000000000",
    b"4911830000000",
    b"4917300800000000",
    b"4917610000000000",
    b"4917610000000000003",
    b"5019717010103742",
    b"5105105105105100",
    b"5111010030175156",
    b"5185540810000019",
    b"5200828282828210",
    b"5204230080000017",
    b"5204740009900014",
    b"5420923878724339",
    b"5431111111111111",
    b"5454545454545454",
    b"5455330760000018",
    b"5500000000000004",
    b"5506900490000436",
    b"5506900490000444",
    b"5506900510000234",
    b"5506920809243667",
    b"5506922400634930",
    b"5506927427317625",
    b"5553042241984105",
    b"5555341244441115",
    b"5555553753048194",
    b"5555555555554444",
    b"5610591081018250",
    b"6011000000000004",
    b"6011000400000000",
    b"6011000990139424",
    b"6011111111111117",
    b"6011601160116611",
    b"6011981111111113",
    b"6200000000000005",
    b"6200000000000047",
    b"6205500000000000004",
    b"630490017740292441",
    b"630495060000000000",
    b"6331101999990016",
    b"6555900000604105",
    b"6759649826438453",
    b"6799990100000000019",
];

/// Whether a number is published for tests, or obviously made up: nine zeros in a row.
pub(super) fn is_test_number(digits: &[u8]) -> bool {
    let mut text = [0u8; LONGEST];
    for (slot, digit) in text.iter_mut().zip(digits) {
        *slot = b'0' + digit;
    }
    let text = text.get(..digits.len()).unwrap_or_default();
    PUBLISHED.binary_search(&text).is_ok()
        || digits.windows(9).any(|window| window.iter().all(|digit| *digit == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &[u8]) -> Vec<u8> {
        text.iter().map(|byte| byte - b'0').collect()
    }

    #[test]
    fn published_numbers_are_sorted_and_found() {
        assert!(PUBLISHED.is_sorted());
        for text in PUBLISHED {
            assert!(is_test_number(&digits(text)));
        }
        assert!(!is_test_number(&digits(b"4111111111111112")));
    }

    #[test]
    fn published_numbers_have_networks_and_check_digits() {
        for text in PUBLISHED {
            let digits = digits(text);
            assert!(luhn(&digits) || *text == b"34343434343434", "{}", String::from_utf8_lossy(text));
            // The one without: a list of a large cloud has it, no network does.
            if *text != b"34343434343434" {
                assert!(network(&digits).is_some(), "{}", String::from_utf8_lossy(text));
            }
        }
    }

    #[test]
    fn ranges_end_where_they_end() {
        let name = |text: &[u8]| network(&digits(text)).map(|network| network.name);
        assert_eq!(name(b"2220990000000000"), None);
        assert_eq!(name(b"2221000000000000"), Some("Mastercard"));
        assert_eq!(name(b"2720990000000000"), Some("Mastercard"));
        assert_eq!(name(b"2721000000000000"), None);
        assert_eq!(name(b"3527990000000000"), Some("JCB"));
        assert_eq!(network(&digits(b"3527990000000000")).map(|network| network.strong), Some(false));
        assert_eq!(name(b"9400100000000000"), None);
        assert_eq!(name(b"411111111111111"), None);
    }

    #[test]
    fn luhn_catches_every_single_wrong_digit() {
        let right = digits(b"4111111111111111");
        assert!(luhn(&right));
        for place in 0..right.len() {
            for value in 0..10 {
                let mut wrong = right.clone();
                wrong[place] = value;
                assert_eq!(luhn(&wrong), wrong == right);
            }
        }
    }
}
