//! Valid numbers from a seed, for examples in policies and for tests.
//!
//! No file of ours holds a number that could be somebody's: examples hold placeholders, and the numbers are
//! made when they are checked. Equal seeds give equal numbers. They are random digits that follow the
//! public rules of form, nothing more.
//!
//! | placeholder | becomes |
//! |---|---|
//! | `{card}` | a card number of sixteen digits without separators |
//! | `{card:visa}` | the same of one network: `visa` `mastercard` `amex` `discover` `diners` `jcb` `unionpay` |
//! | `{card:grouped}` | sixteen digits in groups of four |
//! | `{ssn}` | a social-security number with dashes |
//! | `{ssn:plain}`, `{ssn:spaced}` | the same in nine digits, with blanks |
//! | `{luhn_fail}` | sixteen digits with a card's beginning and a wrong check digit |
//! | `{test_card}` | a number that payment processors publish for tests |

use super::networks::{luhn, network};

/// Random numbers from a seed (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Generator(u64);

impl Generator {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Generator {
        Generator(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn digit(&mut self) -> u8 {
        self.below(10) as u8
    }

    /// A card number of the network with a valid check digit. Unknown names give Visa.
    pub fn card(&mut self, network_name: &str) -> String {
        let (prefix, length): (&[u8], usize) = match network_name {
            "mastercard" => (&[5, 3], 16),
            "amex" => (&[3, 7], 15),
            "discover" => (&[6, 0, 1, 1], 16),
            "diners" => (&[3, 6], 14),
            "jcb" => (&[3, 5, 4, 0], 16),
            "unionpay" => (&[6, 2], 16),
            _ => (&[4], 16),
        };
        loop {
            let mut digits = prefix.to_vec();
            while digits.len() < length {
                digits.push(self.digit());
            }
            let body = digits.len() - 1;
            for check in 0..10 {
                if let Some(last) = digits.get_mut(body) {
                    *last = check;
                }
                if luhn(&digits) {
                    break;
                }
            }
            let repeated = digits.windows(6).any(|part| part.iter().all(|digit| Some(digit) == part.first()));
            if network(&digits).is_some_and(|network| network.strong) && !repeated {
                return text(&digits);
            }
        }
    }

    /// Sixteen digits like a card's whose check digit is wrong.
    pub fn luhn_fail(&mut self) -> String {
        let right = self.card("visa");
        let (body, check) = right.split_at(right.len().saturating_sub(1));
        let wrong = check.bytes().next().map_or(0, |byte| (byte - b'0' + 1 + self.below(8) as u8) % 10);
        format!("{body}{wrong}")
    }

    /// The nine digits of a social-security number that could have been issued before 2011.
    pub fn ssn(&mut self) -> String {
        loop {
            let area = 1 + self.below(733);
            let (group, serial) = (1 + self.below(99), 1 + self.below(9999));
            let digits = format!("{area:03}{group:02}{serial:04}");
            if area != 666
                && !matches!(digits.as_str(), "078051120" | "219099999" | "123456789" | "457555462")
            {
                return digits;
            }
        }
    }

    /// Replaces the placeholders of the module doc. An unknown one is the error. Braces around anything but
    /// a lower-case name stand for themselves, so samples can be JSON.
    pub fn fill(&mut self, template: &str) -> Result<String, String> {
        let mut out = String::with_capacity(template.len() + 32);
        let mut rest = template;
        while let Some((head, tail)) = rest.split_once('{') {
            out.push_str(head);
            let name = tail.split_once('}').filter(|(name, _)| {
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_:".contains(&byte))
            });
            rest = match name {
                Some((name, tail)) => {
                    out.push_str(&self.placeholder(name)?);
                    tail
                }
                None => {
                    out.push('{');
                    tail
                }
            };
        }
        out.push_str(rest);
        Ok(out)
    }

    fn placeholder(&mut self, name: &str) -> Result<String, String> {
        let ssn = |digits: String, gap: &str| match (digits.get(..3), digits.get(3..5), digits.get(5..)) {
            (Some(area), Some(group), Some(serial)) => format!("{area}{gap}{group}{gap}{serial}"),
            _ => digits,
        };
        Ok(match name {
            "card" => self.card("visa"),
            "card:grouped" => grouped(&self.card("mastercard"), " "),
            "card:visa" | "card:mastercard" | "card:amex" | "card:discover" | "card:diners" | "card:jcb"
            | "card:unionpay" => self.card(name.trim_start_matches("card:")),
            "ssn" => ssn(self.ssn(), "-"),
            "ssn:plain" => self.ssn(),
            "ssn:spaced" => ssn(self.ssn(), " "),
            "luhn_fail" => self.luhn_fail(),
            "test_card" => "4111111111111111".to_owned(),
            _ => return Err(format!("unknown placeholder `{{{name}}}`")),
        })
    }
}

/// A card number in the groups printed on cards of its length.
pub fn grouped(number: &str, gap: &str) -> String {
    let widths: &[usize] = match number.len() {
        15 => &[4, 6, 5],
        14 => &[4, 6, 4],
        19 => &[4, 4, 4, 4, 3],
        _ => &[4, 4, 4, 4],
    };
    let mut groups = Vec::new();
    let mut rest = number;
    for width in widths {
        let (group, tail) = rest.split_at_checked(*width).unwrap_or((rest, ""));
        groups.push(group);
        rest = tail;
    }
    groups.join(gap)
}

fn text(digits: &[u8]) -> String {
    digits.iter().map(|digit| char::from(b'0' + digit)).collect()
}
