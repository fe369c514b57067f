//! Records of four feeds in their real forms, each with a marker of its own that survives into the event.
//!
//! A marker is `mk`, the feed's letter, six letters that count, and `zz`: no digits, so that no detector has
//! an opinion about it, and short enough for the user column of an SAP record.

use crmwarden::inspect::dlp::generate::Generator;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feed {
    Web,
    Salesforce,
    Dataverse,
    Sap,
}

pub const FEEDS: [Feed; 4] = [Feed::Web, Feed::Salesforce, Feed::Dataverse, Feed::Sap];

/// The four sources, over `feeds/<source>/` with a pattern that rotated files match too.
pub const SOURCES: &str = r#"sources:
  - name: web
    file: { paths: ["feeds/web/access.log*"] }
    format: access_log.combined
  - name: sf
    file: { paths: ["feeds/sf/API.csv*"] }
    format: salesforce.event_log
  - name: dv
    file: { paths: ["feeds/dv/audit.jsonl*"] }
    format: dataverse.audit
  - name: sap
    file: { paths: ["feeds/sap/audit.aud*"] }
    format: sap.security_audit_log
    timezone: Europe/Berlin
"#;

const CSV_HEADER: &str = "\"EVENT_TYPE\",\"TIMESTAMP\",\"REQUEST_ID\",\"ORGANIZATION_ID\",\"USER_ID\",\"RUN_TIME\",\
    \"URI\",\"API_TYPE\",\"METHOD_NAME\",\"ENTITY_NAME\",\"ROWS_PROCESSED\",\"TIMESTAMP_DERIVED\",\"CLIENT_IP\"\n";

impl Feed {
    pub fn source(self) -> &'static str {
        match self {
            Feed::Web => "web",
            Feed::Salesforce => "sf",
            Feed::Dataverse => "dv",
            Feed::Sap => "sap",
        }
    }

    /// The file that is written to, in the workspace.
    pub fn file(self) -> &'static str {
        match self {
            Feed::Web => "feeds/web/access.log",
            Feed::Salesforce => "feeds/sf/API.csv",
            Feed::Dataverse => "feeds/dv/audit.jsonl",
            Feed::Sap => "feeds/sap/audit.aud",
        }
    }

    /// What every file begins with.
    pub fn header(self) -> &'static str {
        if self == Feed::Salesforce { CSV_HEADER } else { "" }
    }

    fn letter(self) -> char {
        match self {
            Feed::Web => 'w',
            Feed::Salesforce => 'f',
            Feed::Dataverse => 'd',
            Feed::Sap => 's',
        }
    }

    pub fn marker(self, mut number: u64) -> String {
        let mut letters = [b'a'; 6];
        for letter in letters.iter_mut().rev() {
            *letter = b'a' + (number % 26) as u8;
            number /= 26;
        }
        format!("mk{}{}zz", self.letter(), std::str::from_utf8(&letters).unwrap())
    }

    /// A whole record with its terminator, where the feed has one.
    pub fn record(self, number: u64, random: &mut Generator) -> String {
        let marker = self.marker(number);
        let (minute, second) = (number / 60 % 60, number % 60);
        let address = format!("198.51.100.{}", 1 + random.below(200));
        match self {
            Feed::Web => format!(
                "{address} - - [20/Nov/2026:08:{minute:02}:{second:02} +0100] \"GET /api/v1/Account?offset={} \
                 HTTP/1.1\" 200 {} \"-\" \"{marker} Mozilla/5.0 (X11; Linux x86_64)\"\n",
                random.below(900),
                random.below(90_000)
            ),
            Feed::Salesforce => format!(
                "\"API\",\"202611200{}{minute:02}{second:02}.827\",\"{marker}\",\"00D5e000001Qr7K\",\"0055e000007Kd0{}\",\
                 \"{}\",\"/services/Soap/u/62.0\",\"P\",\"retrieve\",\"Ca\"\"se\nwith a line\",\"{}\",\
                 \"2026-11-20T01:{minute:02}:{second:02}.827Z\",\"{address}\"\n",
                random.below(9),
                random.below(9),
                random.below(900),
                random.below(90)
            ),
            Feed::Dataverse => format!(
                "{{\"auditid\":\"{marker}\",\"createdon\":\"2026-11-20T07:{minute:02}:{second:02}Z\",\"operation\":4,\
                 \"action\":64,\"objecttypecode\":\"systemuser\",\"_objectid_value\":\"4026be43-41b5-ec11-983f-00000000000{}\",\
                 \"_userid_value\":\"4026be43-41b5-ec11-983f-00000000000{}\",\"changedata\":null}}\n",
                random.below(9),
                random.below(9)
            ),
            Feed::Sap => {
                let date = format!("20261120{:02}{minute:02}{second:02}", 7 + random.below(9));
                let record = format!(
                    "2AU3{date}{:07}{:05}D1{:8}{marker:<12}{:20}{:40}{:3}1{:64}{:20}",
                    4711, 12, "WKS-0417", "BP", "SAPLBUS_LOCATOR", "100", "BP", "WKS-0417"
                );
                assert_eq!(record.len(), 200);
                record
            }
        }
    }
}

/// The markers in a line, each once.
pub fn markers(line: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for place in memchr::memmem::find_iter(line, b"mk") {
        let Some(part) = line.get(place..place + 11) else { continue };
        let letters = part.iter().all(u8::is_ascii_lowercase);
        if letters && b"wfds".contains(&part[2]) && part.ends_with(b"zz") {
            let marker = String::from_utf8(part.to_vec()).unwrap();
            if !found.contains(&marker) {
                found.push(marker);
            }
        }
    }
    found
}
