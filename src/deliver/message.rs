//! A notice as an Internet message (RFC 5322, MIME).
//!
//! `Message-ID: <ALR-7.security@acme.example>` is the same for every repetition (RFC 5322 §3.6.4 asks only
//! that it is unique to the message), so mail stores recognise a duplicate. All messages of one incident
//! hang on `<INC-3.security@acme.example>` by `References` and `In-Reply-To`, so they form a thread.
//! `Auto-Submitted: auto-generated` (RFC 3834) keeps holiday replies away. The same notice and date give the
//! same bytes.

use crate::alert::{Notice, render, text};
use crate::model::digest::hex;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use sha2::{Digest, Sha256};
use std::time::SystemTime;

/// Why a message could not be built: what to mend in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbuildable(pub String);

impl std::fmt::Display for Unbuildable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unbuildable {}

/// Declares a header whose value is an ASCII word of ours.
macro_rules! word_header {
    ($name:ident, $header:literal) => {
        #[derive(Clone)]
        struct $name(String);
        impl Header for $name {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($header)
            }
            fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok($name(text.to_owned()))
            }
            fn display(&self) -> HeaderValue {
                HeaderValue::new(Self::name(), self.0.clone())
            }
        }
    };
}
word_header!(AutoSubmitted, "Auto-Submitted");
word_header!(AlertHeader, "X-Crmwarden-Alert");
word_header!(IncidentHeader, "X-Crmwarden-Incident");
word_header!(SeverityHeader, "X-Crmwarden-Severity");

/// `<left.receiver@deployment>` in characters that RFC 5322 allows there.
pub fn message_id(stem: &str, receiver: &str, deployment: &str) -> String {
    format!("<{stem}.{}@{}>", text::atom(receiver), domain(deployment))
}

/// The deployment's name in the form of a domain.
fn domain(deployment: &str) -> String {
    let labels: Vec<String> = deployment.split('.').map(label).filter(|label| !label.is_empty()).collect();
    if labels.is_empty() { "crmwarden.invalid".to_owned() } else { labels.join(".") }
}

fn label(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    text.chars().map(clean).take(63).collect::<String>().trim_matches('-').to_owned()
}

/// Sender and recipient of messages that are only written to a directory.
pub fn own_address(deployment: &str) -> String {
    format!("crmwarden@{}", domain(deployment))
}

/// An address of the configuration, `soc@acme.example` or `SOC <soc@acme.example>`. Only ASCII: not every
/// server between us and the mailbox carries anything else.
pub fn mailbox(address: &str) -> Result<Mailbox, Unbuildable> {
    let parsed = address.is_ascii().then(|| address.parse::<Mailbox>().ok()).flatten();
    parsed.ok_or_else(|| Unbuildable(format!("`{}` is not an e-mail address", text::visible(address))))
}

/// The message, ready to be written or sent. `receiver` is the receiver's configured name.
pub fn eml(
    notice: &Notice,
    receiver: &str,
    from: &str,
    to: &[String],
    now: SystemTime,
) -> Result<Vec<u8>, Unbuildable> {
    let thread = message_id(&notice.thread(), receiver, &notice.deployment);
    let mut builder = Message::builder()
        .from(mailbox(from)?)
        .date(now)
        .subject(render::subject(notice))
        .message_id(Some(message_id(&notice.stem(), receiver, &notice.deployment)))
        .in_reply_to(thread.clone())
        .references(thread)
        .header(AutoSubmitted("auto-generated".to_owned()))
        .header(AlertHeader(text::atom(&notice.alert)))
        .header(IncidentHeader(text::atom(&notice.incident)))
        .header(SeverityHeader(notice.severity.as_str().to_owned()));
    for address in to {
        builder = builder.to(mailbox(address)?);
    }
    let message = builder
        .multipart(body(render::plain(notice), render::html(notice)))
        .map_err(|error| Unbuildable(format!("the message cannot be built: {error}")))?;
    Ok(message.formatted())
}

/// Both forms of the body. The boundary is a digest of what it bounds, so no text can contain it.
fn body(plain: String, html: String) -> MultiPart {
    let mut digest = Sha256::new();
    digest.update(b"crmwarden/boundary/v1\n");
    digest.update(&plain);
    digest.update([0]);
    digest.update(&html);
    let boundary = hex(&digest.finalize());
    let boundary = format!("crmwarden-{}", boundary.get(..32).unwrap_or(&boundary));
    MultiPart::builder()
        .kind(lettre::message::MultiPartKind::Alternative)
        .boundary(boundary)
        .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(plain))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(html))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::model::Severity;
    use std::time::Duration;

    fn notice() -> Notice {
        Notice {
            deployment: "Acme.example".into(),
            alert: "ALR-7".into(),
            incident: "INC-3".into(),
            severity: Severity::High,
            title: "Ünlike\r\nBcc: all@evil.example".into(),
            ..Notice::default()
        }
    }

    fn written(notice: &Notice) -> String {
        let to = ["soc@acme.example".to_owned(), "CISO <ciso@acme.example>".to_owned()];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_322_775);
        String::from_utf8(eml(notice, "sec urity", "crmwarden@acme.example", &to, now).unwrap()).unwrap()
    }

    #[test]
    fn headers_are_stable_and_thread() {
        let message = written(&notice());
        for line in [
            "Message-ID: <ALR-7.sec=20urity@acme.example>\r\n",
            "In-Reply-To: <INC-3.sec=20urity@acme.example>\r\n",
            "References: <INC-3.sec=20urity@acme.example>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "X-Crmwarden-Alert: ALR-7\r\n",
            "X-Crmwarden-Incident: INC-3\r\n",
            "Date: Sun, 22 Nov 2026 04:46:15 +0000\r\n",
            "Content-Type: multipart/alternative;",
        ] {
            assert!(message.contains(line), "{line} in {message}");
        }
        assert_eq!(message, written(&notice()), "the same notice and date give the same bytes");
    }

    #[test]
    fn no_text_makes_a_header_or_a_long_line() {
        let message = written(&notice());
        let (headers, _) = message.split_once("\r\n\r\n").unwrap();
        assert!(!headers.to_lowercase().contains("\r\nbcc:"), "{headers}");
        assert!(message.is_ascii());
        assert!(message.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
    }

    #[test]
    fn ids_are_valid_whatever_the_names() {
        assert_eq!(message_id("ALR-1", "a@b>", "x y.é."), "<ALR-1.a=40b=3E@x-y>");
        assert_eq!(message_id("ALR-1", "r", ""), "<ALR-1.r@crmwarden.invalid>");
    }

    #[test]
    fn addresses_are_checked() {
        assert!(mailbox("soc@acme.example").is_ok());
        for bad in ["", "soc", "soc@acme.example\r\nBcc: x@y.example", "söc@acme.example", "a@b, c@d"] {
            assert!(mailbox(bad).is_err(), "{bad}");
        }
    }
}
