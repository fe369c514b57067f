//! The message ids of the Security Audit Log and what they mean here.
//!
//! Source: SAP Help Portal, "Security Audit Log", message definitions of transaction SE92; texts are ours,
//! their variables keep SAP's letters. Ids that are not here get the defect `unknown_type`.

use crate::model::event::{Action, Category, Outcome};

/// Where a message's variables go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// Nowhere but into the text.
    Plain,
    /// A logon; the number of the variable with the method.
    Logon {
        /// Variable, from 0.
        method: usize,
    },
    /// A named thing.
    Target {
        /// Its type.
        kind: &'static str,
        /// Variable with its name, from 0.
        name: usize,
    },
    /// A user account.
    User {
        /// Variable with the account, from 0.
        name: usize,
    },
    /// A table and an activity.
    Table,
    /// Bytes, a code and a path.
    Download,
    /// `0` is off.
    Switch,
}

/// What an id means.
#[derive(Debug)]
pub(super) struct About {
    pub(super) id: &'static str,
    pub(super) feed: &'static str,
    pub(super) category: Category,
    pub(super) action: Option<Action>,
    pub(super) outcome: Outcome,
    pub(super) text: &'static str,
    /// How many variables the message has.
    pub(super) variables: usize,
    pub(super) meaning: Meaning,
}

/// The meaning of a message id.
pub(super) fn about(id: &str) -> Option<&'static About> {
    let place = TABLE.binary_search_by(|about| about.id.cmp(id)).ok()?;
    TABLE.get(place)
}

/// The text with `{1}` … `{4}` replaced by the variables; one that is not there leaves nothing.
pub(super) fn fill(text: &str, values: &[&str]) -> String {
    let mut out = String::with_capacity(text.len() + 40);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((number, left)) = after.split_once('}') else { break };
        let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        out.push_str(place.and_then(|place| values.get(place)).copied().unwrap_or_default());
        rest = left;
    }
    out.push_str(rest);
    out
}

/// The word for an authentication method; letters that are not documented stay letters.
pub(super) fn method(letter: String) -> String {
    let word = match letter.as_str() {
        "P" => "password",
        "T" => "logon_ticket",
        "t" => "assertion_ticket",
        "X" => "x509",
        "S" => "snc",
        "R" => "rfc_ticket",
        "A" => "impersonation",
        "E" => "external",
        "2" => "saml2",
        "o" => "oauth2",
        "N" => "spnego",
        "s" => "http_session",
        _ => return letter,
    };
    word.to_owned()
}

macro_rules! table {
    ($($id:literal $category:ident $action:expr, $outcome:ident, $variables:literal, $text:literal, $meaning:expr;)+) => {
        &[$(About {
            id: $id,
            feed: concat!("sap.security_audit_log/", $id),
            category: Category::$category,
            action: $action,
            outcome: Outcome::$outcome,
            variables: $variables,
            text: $text,
            meaning: $meaning,
        }),+]
    };
}

use Action::{
    Create, Delete, Disable, Download, Enable, Lock, Login, Logout, PasswordReset, Report, Unlock, Update,
};
use Meaning::{Logon, Plain, Switch, Table, Target, User};

const LOGON: Meaning = Logon { method: 2 };
const TRANSACTION: Meaning = Target { kind: "transaction", name: 0 };
const REPORT: Meaning = Target { kind: "report", name: 0 };
const FUNCTION: Meaning = Target { kind: "function_module", name: 2 };
const USER: Meaning = User { name: 0 };
const USER_AND_CLIENT: Meaning = User { name: 1 };

/// In the order of the ids.
const TABLE: &[About] = table! {
    "AU0" AuditLog None, Success, 1, "Audit test: {1}", Plain;
    "AU1" Authentication Some(Login), Success, 3, "Logon successful (type={1}, method={3})", LOGON;
    "AU2" Authentication Some(Login), Failure, 3, "Logon failed (reason={2}, type={1}, method={3})", LOGON;
    "AU3" Operation None, Success, 1, "Transaction {1} started", TRANSACTION;
    "AU4" Operation None, Failure, 2, "Start of transaction {1} failed (reason={2})", TRANSACTION;
    "AU5" Authentication Some(Login), Success, 3, "RFC logon successful (type={1}, method={3})", LOGON;
    "AU6" Authentication Some(Login), Failure, 3, "RFC logon failed (reason={2}, type={1}, method={3})", LOGON;
    "AU7" Account Some(Create), Success, 1, "User {1} created", USER;
    "AU8" Account Some(Delete), Success, 1, "User {1} deleted", USER;
    "AU9" Account Some(Lock), Success, 1, "User {1} locked", USER;
    "AUA" Account Some(Unlock), Success, 1, "User {1} unlocked", USER;
    "AUB" Permission Some(Update), Success, 1, "Authorisations of user {1} changed", USER;
    "AUC" Session Some(Logout), Success, 1, "User logged off", Plain;
    "AUD" Account Some(Update), Success, 1, "Master record of user {1} changed", USER;
    "AUE" AuditLog Some(Update), Success, 4, "Audit configuration changed", Plain;
    "AUF" AuditLog Some(Update), Success, 4, "Audit slot {1}: class {2}, severity {3}, user {4}", Plain;
    "AUG" Operation None, Success, 1, "Application server started", Plain;
    "AUH" Operation None, Success, 1, "Application server stopped", Plain;
    "AUI" AuditLog Some(Disable), Success, 1, "Audit slot {1} inactive", Plain;
    "AUJ" AuditLog None, Success, 1, "Audit: active status set to {1}", Switch;
    "AUK" Api None, Success, 3, "RFC call {3} succeeded (function group {1})", FUNCTION;
    "AUL" Api None, Failure, 3, "RFC call {3} failed (function group {1})", FUNCTION;
    "AUM" Account Some(Lock), Success, 2, "User {2} in client {1} locked after wrong passwords", USER_AND_CLIENT;
    "AUN" Account Some(Unlock), Success, 2, "User {2} in client {1} unlocked after wrong passwords", USER_AND_CLIENT;
    "AUO" Authentication Some(Login), Failure, 3, "Logon failed (reason={2}, type={1})", LOGON;
    "AUP" Configuration Some(Lock), Success, 1, "Transaction {1} locked", TRANSACTION;
    "AUQ" Configuration Some(Unlock), Success, 1, "Transaction {1} unlocked", TRANSACTION;
    "AUR" Permission Some(Create), Success, 2, "{1} {2} created", Target { kind: "authorisation", name: 1 };
    "AUS" Permission Some(Delete), Success, 2, "{1} {2} deleted", Target { kind: "authorisation", name: 1 };
    "AUT" Permission Some(Update), Success, 2, "{1} {2} changed", Target { kind: "authorisation", name: 1 };
    "AUU" Permission Some(Enable), Success, 2, "{1} {2} activated", Target { kind: "authorisation", name: 1 };
    "AUW" DataAccess Some(Report), Success, 1, "Report {1} started", REPORT;
    "AUX" DataAccess Some(Report), Failure, 2, "Start of report {1} failed (reason={2})", REPORT;
    "AUY" Export Some(Download), Success, 3, "Download of {1} bytes to file {3} (code {2})", Meaning::Download;
    "BU1" Authentication Some(Login), Failure, 2, "Password check of user {2} in client {1} failed", USER_AND_CLIENT;
    "BU2" Account Some(PasswordReset), Success, 2, "Password of user {2} in client {1} changed", USER_AND_CLIENT;
    "BU4" Operation None, Success, 3, "Dynamic ABAP code: event {1}, type {2}, check sum {3}", Plain;
    "CUV" Api None, Success, 3, "Web service call succeeded ({1} {2} {3})", Plain;
    "CUW" Api None, Failure, 3, "Web service call failed ({1} {2} {3})", Plain;
    "CUZ" DataAccess None, Success, 2, "Table {1} accessed through RFC, activity {2}", Table;
    "DU9" DataAccess None, Success, 3, "Table {1} accessed in dialog, activity {2} (check {3})", Table;
    "DUI" Api None, Success, 3, "RFC callback executed ({1} {2} {3})", Plain;
    "DUJ" Api None, Failure, 3, "RFC callback rejected ({1} {2} {3})", Plain;
    "DUK" Api None, Success, 3, "RFC callback in simulation mode ({1} {2} {3})", Plain;
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_so_that_the_search_finds_each() {
        assert!(TABLE.windows(2).all(|pair| pair[0].id < pair[1].id));
    }

    #[test]
    fn texts_use_no_more_variables_than_the_message_has() {
        for about in TABLE {
            for number in about.variables + 1..=4 {
                assert!(!about.text.contains(&format!("{{{number}}}")), "{}", about.id);
            }
        }
    }
}
