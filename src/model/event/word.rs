//! The closed sets of words that an event is made of, and what may be wrong with a record.
//!
//! A word has one spelling in code, JSON, rules and policies. Where an unknown one is read, the error names those that
//! are known.

use serde::Deserialize;
use std::borrow::Cow;

/// Declares a closed set of words with one spelling for code, JSON, rules and policies.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = concat!("`", $word, "`")] $(#[$doc])* $variant),+ }

        impl $name {
            /// Every word, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word as written.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            /// Reads the word.
            pub fn parse(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::parse(&word).ok_or_else(|| {
                    let known: Vec<&str> = $name::ALL.iter().map(|word| word.as_str()).collect();
                    serde::de::Error::custom(format_args!(
                        "unknown {} `{word}`, expected one of {}", stringify!($name).to_lowercase(), known.join(", ")
                    ))
                })
            }
        }
    };
}
pub(crate) use words;

words!(
    /// The product that a feed comes from.
    System {
        Salesforce = "salesforce", Dynamics365 = "dynamics365", Sap = "sap", Hubspot = "hubspot",
        Suitecrm = "suitecrm", Espocrm = "espocrm", Odoo = "odoo", Zoho = "zoho", Web = "web", Custom = "custom",
    }
);

words!(
    /// What kind of thing happened.
    Category {
        Authentication = "authentication", Session = "session", DataAccess = "data_access",
        DataChange = "data_change", Export = "export", Sharing = "sharing", Permission = "permission",
        Account = "account", Configuration = "configuration", AuditLog = "audit_log", Api = "api",
        Operation = "operation",
    }
);

words!(
    /// What was done.
    Action {
        Login = "login", Logout = "logout", Impersonate = "impersonate", Read = "read", List = "list",
        Search = "search", Report = "report", Create = "create", Update = "update", Delete = "delete",
        Merge = "merge", Import = "import", Export = "export", Share = "share", Unshare = "unshare",
        Grant = "grant", Revoke = "revoke", Enable = "enable", Disable = "disable", Install = "install",
        Purge = "purge", Backup = "backup", Assign = "assign", Lock = "lock", Unlock = "unlock",
        PasswordReset = "password_reset", MfaChange = "mfa_change", AuthorizeApp = "authorize_app",
        RevokeApp = "revoke_app", Download = "download", Heartbeat = "heartbeat",
    }
);

words!(
    /// How it ended.
    Outcome { Success = "success", Failure = "failure", Challenged = "challenged", Unknown = "unknown" }
);

words!(
    /// What kind of actor.
    ActorType { User = "user", Service = "service", Guest = "guest", System = "system" }
);

words!(
    /// How far the event's time can be trusted.
    Clock { Certain = "certain", ZoneAssumed = "zone_assumed", Absent = "absent" }
);

/// Why a record could not be fully parsed: a code, and where it helps the field it is about. It is
/// evidence, not an error. Written as `code` or `code:field`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Defect {
    /// One of [`DefectCode`].
    pub code: DefectCode,
    /// The column, member or position meant. May hold source text, so it is masked when written.
    pub field: Option<String>,
}

words!(
    /// The closed set of defect codes.
    DefectCode {
        /// The record does not have the format's form. Its text is inspected and not kept.
        Unparsed = "unparsed",
        /// A parser or detector panicked on this record.
        ProcessingFailed = "processing_failed",
        InvalidUtf8 = "invalid_utf8",
        /// NUL bytes inside.
        NulBytes = "nul_bytes",
        /// Longer than the source's `max_record`; what was kept was inspected, not parsed.
        RecordTooLong = "record_too_long",
        /// The last record of its file, without its terminator.
        Unterminated = "unterminated",
        /// A value that its column cannot have.
        BadValue = "bad_value",
        /// More or fewer columns than the header names.
        ColumnCount = "column_count",
        /// The feed's required column or member is not there.
        MissingField = "missing_field",
        TimeMissing = "time_missing",
        TimeInFuture = "time_in_future",
        TimeAmbiguous = "time_ambiguous",
        /// An address column that holds no address (Salesforce writes words there).
        NotAnAddress = "not_an_address",
        ListCut = "list_cut",
        /// The CRM itself cut the value (Dataverse ends long values with `...`).
        SourceTruncated = "source_truncated",
        /// An event type, message id or action code that the format does not know.
        UnknownType = "unknown_type",
        /// A column without its value because the database did not send it (Debezium TOAST).
        ValueUnavailable = "value_unavailable",
        /// JSON deeper or wider than the limits.
        TooComplex = "too_complex",
        Late = "late",
        DuplicateName = "duplicate_name",
    }
);

impl Defect {
    /// A defect about the record as a whole.
    pub fn new(code: DefectCode) -> Defect {
        Defect { code, field: None }
    }
    /// A defect about one field.
    pub fn field(code: DefectCode, field: impl Into<String>) -> Defect {
        Defect { code, field: Some(field.into()) }
    }
    /// `code` or `code:field`.
    pub fn text(&self) -> Cow<'static, str> {
        match &self.field {
            None => Cow::Borrowed(self.code.as_str()),
            Some(field) => Cow::Owned(format!("{}:{field}", self.code.as_str())),
        }
    }
}

impl<'de> Deserialize<'de> for Defect {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Defect, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let (code, field) = match text.split_once(':') {
            Some((code, field)) => (code, Some(field.to_owned())),
            None => (text.as_ref(), None),
        };
        let code = DefectCode::parse(code).ok_or_else(|| serde::de::Error::custom("unknown defect"))?;
        Ok(Defect { code, field })
    }
}
