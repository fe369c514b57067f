//! What the sentences in `Display` say, by the form that belongs to the action code.
//!
//! Names in these sentences are free text, so a form splits at the words that stand nearest to the value a
//! rule judges: a permission set whose name imitates the sentence cannot move the user out of its place.

use crate::model::event::{Action, Change, Event};

/// How a code's sentence is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing but the text.
    Nothing,
    /// `Permission set NAME: assigned to user NAME (UserID: [ID])`.
    Assignment,
    /// `Changed profile for user NAME from OLD to NEW`; the word is the field's name.
    Moved(&'static str),
    /// `… user NAME (UserID: [ID])`.
    User,
    /// `… for NAME`.
    ForUser,
    /// `Logged in using Login-As access for NAME`.
    LoginAs,
    /// `Changed permission set NAME: NAME permission was changed from disabled to enabled`.
    UserPermission,
    /// `Changed profile NAME: OBJECT object permissions were changed from LIST to LIST`.
    ObjectPermission,
    /// `Changed profile NAME: field-level security for OBJECT: FIELD was changed from LEVEL to LEVEL`.
    FieldPermission,
    /// `Changed permission set group NAME: group member NAME was added`.
    Member,
    /// `Changed permission set NAME: NAME Apex class access was enabled`.
    EntityAccess,
    /// `NAME has granted user login access through DATE to package publisher NAME`.
    LoginAccess,
    /// `Installed Connected App NAME to Salesforce`.
    App,
    /// `Installed AppExchange package: NAME`.
    Package,
}

impl Reading {
    /// Sets what the sentence says; a sentence of another form sets nothing.
    pub(super) fn apply(self, event: &mut Event, sentence: &str) {
        // Most forms can fail at several places, and then there is nothing to undo.
        let _ = match self {
            Reading::Nothing => None,
            Reading::Assignment => assignment(event, sentence),
            Reading::Moved(field) => moved(event, sentence, field),
            Reading::User => user(event, sentence),
            Reading::ForUser => sentence.rsplit_once(" for ").map(|(_, name)| set_user(event, name)),
            Reading::LoginAs => login_as(event, sentence),
            Reading::UserPermission => user_permission(event, sentence),
            Reading::ObjectPermission => object_permission(event, sentence),
            Reading::FieldPermission => field_permission(event, sentence),
            Reading::Member => member(event, sentence),
            Reading::EntityAccess => entity_access(event, sentence),
            Reading::LoginAccess => login_access(event, sentence),
            Reading::App => app(event, sentence),
            Reading::Package => {
                sentence.split_once(" package: ").map(|(_, name)| set_target(event, "Package", name))
            }
        };
    }
}

fn some(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The name and the id in `NAME (UserID: [ID])`.
fn name_and_id(text: &str) -> (&str, Option<&str>) {
    match text.split_once(" (UserID: [") {
        Some((name, rest)) => (name, rest.split(']').next().filter(|id| !id.is_empty())),
        None => (text, None),
    }
}

fn set_target(event: &mut Event, kind: &str, name: &str) {
    event.target.r#type = Some(kind.to_owned());
    event.target.name = some(name);
}

fn set_user(event: &mut Event, text: &str) {
    let (name, id) = name_and_id(text);
    set_target(event, "User", name);
    event.target.ids.extend(id.map(str::to_owned));
    // "Changed username for 005…": the id stands where the name does elsewhere.
    if id.is_none() && name.starts_with("005") && matches!(name.len(), 15 | 18) {
        event.target.ids.extend(event.target.name.take());
    }
}

fn assignment(event: &mut Event, sentence: &str) -> Option<()> {
    let rest = sentence.strip_prefix("Permission set ")?;
    let rest = ["group ", "license "].iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or(rest);
    let marks =
        [": assigned to user ", ": unassigned from user ", " removed from user ", " assigned to user "];
    let last = marks.iter().filter_map(|mark| rest.rsplit_once(mark)).min_by_key(|(_, user)| user.len());
    let (permission, user) = last?;
    set_user(event, user);
    event.grant.principal.clone_from(&event.target.name);
    event.grant.permission = some(permission);
    Some(())
}

/// `… for user NAME from OLD to NEW`, `Changed username for ID from OLD to NEW`.
fn moved(event: &mut Event, sentence: &str, field: &str) -> Option<()> {
    let (head, to) = sentence.rsplit_once(" to ")?;
    let (head, from) = head.rsplit_once(" from ")?;
    let (_, name) = head.split_once(" for ")?;
    set_user(event, name.strip_prefix("user ").unwrap_or(name));
    let value = |text: &str| some(text).filter(|text| text != "<None Specified>" && text != "null");
    let (from, to) = (value(from), value(to));
    if event.action == Some(Action::Grant) || event.action == Some(Action::Revoke) {
        event.grant.principal.clone_from(&event.target.name);
        event.grant.permission = to.clone().or_else(|| from.clone());
        if to.is_none() {
            event.action = Some(Action::Revoke);
        }
    }
    event.changes.push(Change { field: field.to_owned(), from, to });
    Some(())
}

fn user(event: &mut Event, sentence: &str) -> Option<()> {
    let marks = ["user account for ", " user ", " User ", "User ", "for "];
    let (_, rest) = marks.iter().find_map(|mark| sentence.split_once(mark))?;
    // "User NAME disabled as a Partner user" has words after the name.
    let name = rest.split(" disabled as ").next().unwrap_or(rest);
    set_user(event, name);
    Some(())
}

fn login_as(event: &mut Event, sentence: &str) -> Option<()> {
    let (_, name) = sentence.rsplit_once("access for ")?;
    set_user(event, name);
    // Who acted while logged in as somebody else is put over this by the row's `DelegateUser`.
    event.actor.on_behalf_of.clone_from(&event.target.name);
    Some(())
}

/// `Changed permission set NAME: REST`: sets the target and returns the rest.
fn holder<'a>(event: &mut Event, sentence: &'a str) -> Option<&'a str> {
    let rest = sentence.strip_prefix("Changed ")?;
    let kinds = [
        ("permission set group ", "PermissionSetGroup"),
        ("permission set ", "PermissionSet"),
        ("Permission Set ", "PermissionSet"),
        ("profile ", "Profile"),
        ("Profile ", "Profile"),
    ];
    let (kind, rest) = kinds.iter().find_map(|(word, kind)| Some((*kind, rest.strip_prefix(word)?)))?;
    let (name, rest) = rest.split_once(": ")?;
    set_target(event, kind, name);
    event.grant.principal = some(name);
    Some(rest)
}

/// `SUBJECT was changed from OLD to NEW`.
fn change(text: &str) -> Option<(&str, &str, &str)> {
    let (subject, values) =
        text.split_once(" was changed from ").or_else(|| text.split_once(" were changed from "))?;
    let (from, to) = values.split_once(" to ")?;
    Some((subject, from.trim(), to.trim()))
}

fn push_change(event: &mut Event, field: &str, from: &str, to: &str) {
    event.changes.push(Change { field: field.to_owned(), from: some(from), to: some(to) });
}

fn user_permission(event: &mut Event, sentence: &str) -> Option<()> {
    let (subject, from, to) = change(holder(event, sentence)?)?;
    let kinds = ["general user permission ", "administrative permission ", "user permission "];
    let name = kinds.iter().find_map(|kind| subject.strip_prefix(kind)).unwrap_or(subject);
    let name = name.strip_suffix(" permission").unwrap_or(name);
    event.grant.permission = some(name);
    event.action = Some(if to == "enabled" { Action::Grant } else { Action::Revoke });
    push_change(event, name, from, to);
    Some(())
}

/// The permissions of a list that another list does not have.
fn beyond(list: &str, other: &str) -> Option<String> {
    let other: Vec<&str> = other.split(", ").collect();
    let new: Vec<&str> =
        list.split(", ").filter(|word| !other.contains(word) && *word != "No Access").collect();
    some(&new.join(", "))
}

fn object_permission(event: &mut Event, sentence: &str) -> Option<()> {
    let (subject, from, to) = change(holder(event, sentence)?)?;
    let object = subject.strip_suffix(" object permissions").unwrap_or(subject);
    event.grant.scope = some(object);
    let gained = beyond(to, from);
    event.action = Some(if gained.is_some() { Action::Grant } else { Action::Revoke });
    event.grant.permission = gained.or_else(|| beyond(from, to));
    push_change(event, subject, from, to);
    Some(())
}

fn field_permission(event: &mut Event, sentence: &str) -> Option<()> {
    let (subject, from, to) = change(holder(event, sentence)?)?;
    let field = subject.strip_prefix("field-level security for ").unwrap_or(subject);
    event.grant.scope = some(field);
    let rank = |level: &str| match level {
        "No Access" => 0,
        "Read Only" | "Read" => 1,
        _ => 2,
    };
    let gained = rank(to) > rank(from);
    event.action = Some(if gained { Action::Grant } else { Action::Revoke });
    event.grant.permission = some(if gained { to } else { from });
    push_change(event, field, from, to);
    Some(())
}

fn member(event: &mut Event, sentence: &str) -> Option<()> {
    let rest = holder(event, sentence)?.strip_prefix("group member ")?;
    let (name, _) = rest.rsplit_once(" was ")?;
    event.grant.permission = some(name);
    Some(())
}

fn entity_access(event: &mut Event, sentence: &str) -> Option<()> {
    let rest = holder(event, sentence)?;
    let (name, _) = rest.rsplit_once(" was ").or_else(|| rest.rsplit_once(" is "))?;
    event.grant.permission = some(name);
    Some(())
}

fn login_access(event: &mut Event, sentence: &str) -> Option<()> {
    let (name, rest) = sentence.split_once(" has ")?;
    set_user(event, name);
    event.grant.permission = Some("login access".to_owned());
    event.grant.principal = match rest.split_once("to package publisher ") {
        Some((_, publisher)) => some(publisher),
        None => rest.contains("salesforce.com").then(|| "salesforce.com".to_owned()),
    };
    Some(())
}

fn app(event: &mut Event, sentence: &str) -> Option<()> {
    let (_, name) = sentence.split_once("Connected App ")?;
    set_target(event, "ConnectedApplication", name.strip_suffix(" to Salesforce").unwrap_or(name));
    Some(())
}
