//! `salesforce.setup_audit_trail`: rows of Salesforce's SetupAuditTrail, one JSON object per line as SOQL
//! returns it (`CreatedBy.Username` and the like nested).
//!
//! The row says what was done by a code in `Action` and by a sentence in `Display`; the sentence is the only
//! place of the user, the permission and the values. Invariants:
//! * codes are compared without case, because emitters differ in it; an unknown code keeps the category
//!   `configuration` and a verb only where Salesforce's naming says one (`created…`, `…OffOn`), else it
//!   gets the defect `unknown_type`;
//! * a sentence that does not have its code's form sets nothing: it stays in `message`, and nothing is
//!   guessed from it;
//! * `Action` and `Section` stay in `extra` as written;
//! * there is no address in these rows;
//! * the trail lists what was done, so the outcome is `success`, except for attempts.
//!
//! `DelegateUser` is the user who acted while logged in as `CreatedBy`. So it is the actor, by name only,
//! and `CreatedBy` is `actor.on_behalf_of`. Rows about the log-in itself (`suOrgAdminLogin`) are made by the
//! administrator: there `CreatedBy` is the actor, and the sentence names the account acted for.
//!
//! Rules: Salesforce Object Reference, "SetupAuditTrail"; the sentences as real organisations show them.

mod display;

use crate::format::Format;
use crate::format::shared::{JsonRecord, unparsed};
use crate::model::Time;
use crate::model::event::{Action, Category, Clock, Defect, DefectCode, Event, Outcome, System};
use crate::model::record::{FormatContext, Framing, Parsed, Record};
use display::Reading;
use std::borrow::Cow;

/// The reader of setup-audit-trail rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetupAuditTrail;

const NAME: &str = "salesforce.setup_audit_trail";

impl Format for SetupAuditTrail {
    fn name(&self) -> &'static str {
        NAME
    }

    fn system(&self) -> System {
        System::Salesforce
    }

    fn framing(&self) -> Framing {
        Framing::Line
    }

    fn sets(&self) -> &'static [&'static str] {
        &[
            "time",
            "system",
            "feed",
            "uid",
            "category",
            "action",
            "outcome",
            "actor.id",
            "actor.name",
            "actor.on_behalf_of",
            "target.type",
            "target.ids",
            "target.name",
            "changes.field",
            "grant.principal",
            "grant.permission",
            "grant.scope",
            "message",
            "clock",
        ]
    }

    fn parse(&self, record: &Record<'_>, _: &FormatContext) -> Parsed {
        let mut row = match JsonRecord::read(record.text) {
            Ok(row) => row,
            Err(fault) => {
                let event = unparsed(System::Salesforce, NAME, fault.code(), record.text);
                return Parsed::Event(Box::new(event));
            }
        };
        let mut event =
            Box::new(Event { system: System::Salesforce, feed: Cow::Borrowed(NAME), ..Event::default() });
        envelope(&mut event, &mut row);
        let code = row.peek("Action").to_ascii_lowercase();
        classify(&mut event, &code);
        actor(&mut event, &mut row);
        row.rest(&mut event);
        Parsed::Event(event)
    }
}

/// Time, id, text, and the members that SOQL adds to every row.
fn envelope(event: &mut Event, row: &mut JsonRecord) {
    event.time = Time::parse(row.peek("CreatedDate"));
    match event.time {
        Some(_) => drop(row.take("CreatedDate")),
        None => {
            event.clock = Clock::Absent;
            event.defect(Defect::new(DefectCode::TimeMissing));
            if !row.peek("CreatedDate").is_empty() {
                event.defect(Defect::field(DefectCode::BadValue, "CreatedDate"));
            }
        }
    }
    event.message = row.take("Display");
    // The address of the row repeats its type and id.
    for (kind, url, of, id) in [
        ("attributes.type", "attributes.url", "SetupAuditTrail", "Id"),
        ("CreatedBy.attributes.type", "CreatedBy.attributes.url", "User", "CreatedById"),
    ] {
        let repeats = row.peek(url).strip_suffix(row.peek(id)).is_some_and(|rest| rest.ends_with('/'));
        if row.peek(kind) == of {
            row.take(kind);
        }
        if repeats {
            row.take(url);
        }
    }
    event.uid = row.take("Id");
}

fn actor(event: &mut Event, row: &mut JsonRecord) {
    let created_by =
        |row: &mut JsonRecord| row.take_first(&["CreatedBy.Username", "CreatedBy.Email", "CreatedBy.Name"]);
    match row.take("DelegateUser") {
        Some(delegate) => {
            event.actor.name = Some(delegate);
            event.actor.on_behalf_of = created_by(row).or_else(|| row.take("CreatedById"));
        }
        None => {
            event.actor.id = row.take("CreatedById");
            event.actor.name = created_by(row);
        }
    }
}

fn classify(event: &mut Event, code: &str) {
    if code.is_empty() {
        event.defect(Defect::field(DefectCode::MissingField, "Action"));
        return;
    }
    event.category = Some(Category::Configuration);
    event.outcome = (code != "useremailchangesent").then_some(Outcome::Success);
    if let Some((category, action, reading)) = known(code) {
        event.category = Some(category);
        event.action = Some(action);
        let sentence = event.message.take().unwrap_or_default();
        reading.apply(event, &sentence);
        event.message = (!sentence.is_empty()).then_some(sentence);
        return;
    }
    event.action = by_name(code);
    if event.action.is_none() {
        event.defect(Defect::new(DefectCode::UnknownType));
    }
}

/// The verb that Salesforce's way of naming codes tells.
fn by_name(code: &str) -> Option<Action> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| code.starts_with(prefix));
    Some(match code {
        _ if code.ends_with("offon") => Action::Enable,
        _ if code.ends_with("onoff") => Action::Disable,
        _ if starts(&["create", "insert", "add", "new"]) => Action::Create,
        _ if starts(&["delete", "remove"]) => Action::Delete,
        _ if starts(&["change", "update", "edit", "modif"]) => Action::Update,
        _ if starts(&["enable", "activate"]) => Action::Enable,
        _ if starts(&["disable", "deactivate"]) => Action::Disable,
        _ if starts(&["install"]) => Action::Install,
        _ if starts(&["purge"]) => Action::Purge,
        _ => return None,
    })
}

/// The codes with a meaning of their own, in lower case.
fn known(code: &str) -> Option<(Category, Action, Reading)> {
    permission(code).or_else(|| account(code)).or_else(|| organisation(code))
}

fn permission(code: &str) -> Option<(Category, Action, Reading)> {
    let (action, reading) = match code {
        "permsetassign"
        | "permsetassign_hasexpiration"
        | "permsetgroupassign"
        | "permsetgroupassign_hasexpiration"
        | "permsetlicenseassign" => (Action::Grant, Reading::Assignment),
        "permsetunassign"
        | "permsetunassign_hasexpiration"
        | "permsetgroupunassign"
        | "permsetgroupunassign_hasexpiration"
        | "permsetlicenseunassign" => (Action::Revoke, Reading::Assignment),
        "permsetassignmentexpirationchange" => (Action::Update, Reading::Assignment),
        "permsetenableuserperm" => (Action::Grant, Reading::UserPermission),
        "permsetdisableuserperm" => (Action::Revoke, Reading::UserPermission),
        "permsetentitypermchanged" => (Action::Update, Reading::ObjectPermission),
        "permsetflschanged" => (Action::Update, Reading::FieldPermission),
        "permissionsetgroupcomponentadd" => (Action::Grant, Reading::Member),
        "permissionsetgroupcomponentremoved" => (Action::Revoke, Reading::Member),
        "permissionsetgroupcreate" => (Action::Create, Reading::Nothing),
        "permissionsetgroupdelete" | "permsetdelete" | "deletedprofile" | "deletedrole" => {
            (Action::Delete, Reading::Nothing)
        }
        "createdrole" => (Action::Create, Reading::Nothing),
        "role" | "groupmembership" => (Action::Update, Reading::Nothing),
        "changedroleforusertonone" => (Action::Revoke, Reading::Moved("Role")),
        _ if code.starts_with("changedprofileforuser") => (Action::Grant, Reading::Moved("Profile")),
        _ if code.starts_with("changedroleforuser") => (Action::Grant, Reading::Moved("Role")),
        _ if code.starts_with("loginasgrantedto") => (Action::Grant, Reading::LoginAccess),
        _ if code.starts_with("loginasrevokedto") => (Action::Revoke, Reading::LoginAccess),
        _ if code.starts_with("profilepermchanged") => (Action::Update, Reading::UserPermission),
        _ if code.starts_with("profileolpchanged") => (Action::Update, Reading::ObjectPermission),
        _ if code.starts_with("profileflschanged") => (Action::Update, Reading::FieldPermission),
        _ if code.starts_with("profilecloned") => (Action::Create, Reading::Nothing),
        _ if code.starts_with("permsetcreate") || code.starts_with("permsetclone") => {
            (Action::Create, Reading::Nothing)
        }
        _ if code.starts_with("setupentityaccessaudit_") && code.contains("_enabled") => {
            (Action::Grant, Reading::EntityAccess)
        }
        _ if code.starts_with("setupentityaccessaudit_") && code.contains("_disabled") => {
            (Action::Revoke, Reading::EntityAccess)
        }
        _ if code.starts_with("permset") || code.starts_with("profile") => (Action::Update, Reading::Nothing),
        _ => return None,
    };
    Some((Category::Permission, action, reading))
}

fn account(code: &str) -> Option<(Category, Action, Reading)> {
    let (action, reading) = match code {
        "createduser" | "createdpartneruser" | "createdcustomersuccessuser" => {
            (Action::Create, Reading::User)
        }
        "activateduser" => (Action::Enable, Reading::User),
        "deactivateduser" | "cspuserdisabled" | "prmuserdisabled" => (Action::Disable, Reading::User),
        "frozeuser" => (Action::Lock, Reading::User),
        "unfrozeuser" | "unlockeduser" => (Action::Unlock, Reading::User),
        "resetpassword" | "changedpassword" => (Action::PasswordReset, Reading::User),
        "changedemail" | "useremailchangesent" => (Action::Update, Reading::Moved("Email")),
        "changedusername" => (Action::Update, Reading::Moved("Username")),
        "changedmanager" => (Action::Update, Reading::User),
        "inserttwofactorinfo2"
        | "inserttwofactortempcode"
        | "inserttwofactorwebauthn"
        | "insertauthenticatorpairing"
        | "deletetwofactorinfo2"
        | "deletetwofactortempcode"
        | "deletetwofactorwebauthn"
        | "deleteauthenticatorpairing" => (Action::MfaChange, Reading::ForUser),
        "suorgadminlogin" | "sunetworkadminlogin" | "suprmadminlogin" | "suloginaccessused" => {
            return Some((Category::Authentication, Action::Impersonate, Reading::LoginAs));
        }
        "suorgadminlogout" | "sunetworkadminlogout" | "suprmadminlogout" | "sulogout" => {
            return Some((Category::Authentication, Action::Logout, Reading::LoginAs));
        }
        _ => return None,
    };
    Some((Category::Account, action, reading))
}

fn organisation(code: &str) -> Option<(Category, Action, Reading)> {
    let (category, action, reading) = match code {
        // Whether Salesforce writes event logs at all: switching it off blinds everyone who reads them.
        "eventloggenerationenabledoffon" | "loghostnameredirectionsoffon" => {
            (Category::AuditLog, Action::Enable, Reading::Nothing)
        }
        "eventloggenerationenabledonoff" | "loghostnameredirectionsonoff" => {
            (Category::AuditLog, Action::Disable, Reading::Nothing)
        }
        "insertconnectedapplication" => (Category::Configuration, Action::Install, Reading::App),
        "insertapplication" => (Category::Configuration, Action::Create, Reading::App),
        "deleteapplication" | "deleteconnectedapplication" => {
            (Category::Configuration, Action::Delete, Reading::App)
        }
        "unblockconnectedapplication" => (Category::Configuration, Action::AuthorizeApp, Reading::App),
        "blockconnectedapplication" => (Category::Configuration, Action::RevokeApp, Reading::App),
        "installedpackagingapp" => (Category::Configuration, Action::Install, Reading::Package),
        "upgradedpackagingapp" => (Category::Configuration, Action::Update, Reading::Package),
        "uninstalledpackagingapp" => (Category::Configuration, Action::Delete, Reading::Package),
        "loginiprange" => (Category::Configuration, Action::Update, Reading::Nothing),
        _ => return None,
    };
    Some((category, action, reading))
}

#[cfg(test)]
mod tests;
