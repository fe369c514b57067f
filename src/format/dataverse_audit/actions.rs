//! The `action` codes of the Dataverse audit table and what they mean here.
//!
//! Source: Microsoft Learn, "Auditing table reference", choices of the column `Action`. Codes that are not
//! in the table become the defect `unknown_type`.

use crate::model::event::{Action, Category};

/// What kind of permission change a code stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// A role given to or taken from a user or a team.
    Role,
    /// Two rows tied together or apart, which is a permission change when they are a role and a holder.
    Associated {
        /// Together rather than apart.
        given: bool,
    },
    /// Members added to or removed from a team.
    Members,
    /// Privileges of a role.
    Privileges,
    /// A record shared with somebody.
    Share,
}

/// What a code means.
#[derive(Debug)]
pub(super) struct About {
    pub(super) code: u64,
    pub(super) feed: &'static str,
    pub(super) category: Category,
    pub(super) action: Option<Action>,
    pub(super) grant: Option<Grant>,
    pub(super) app: Option<&'static str>,
}

/// The meaning of an `action` code.
pub(super) fn about(code: u64) -> Option<&'static About> {
    let place = TABLE.binary_search_by_key(&code, |about| about.code).ok()?;
    TABLE.get(place)
}

/// The meaning of an `operation` code, for rows without `action`: 1 create, 2 update, 3 delete, 4 access.
pub(super) fn about_operation(code: u64) -> Option<&'static About> {
    match code {
        1..=3 => about(code),
        4 => about(64),
        _ => None,
    }
}

macro_rules! table {
    ($($code:literal $name:literal $category:ident $action:expr $(, grant $grant:ident $({ $($part:tt)* })?)? $(, app $app:literal)?;)+) => {
        &[$(About {
            code: $code,
            feed: concat!("dataverse.audit/", $name),
            category: Category::$category,
            action: $action,
            grant: table!(@grant $($grant $({ $($part)* })?)?),
            app: table!(@app $($app)?),
        }),+]
    };
    (@grant) => { None };
    (@grant $grant:ident $($part:tt)?) => { Some(Grant::$grant $($part)?) };
    (@app) => { None };
    (@app $app:literal) => { Some($app) };
}

use Action::{
    Assign, Create, Delete, Disable, Enable, Import, Login, Merge, Purge, Read, Revoke, Share, Unshare,
    Update,
};

const TABLE: &[About] = table! {
    1 "Create" DataChange Some(Create);
    2 "Update" DataChange Some(Update);
    3 "Delete" DataChange Some(Delete);
    4 "Activate" DataChange Some(Enable);
    5 "Deactivate" DataChange Some(Disable);
    11 "Cascade" DataChange Some(Update);
    12 "Merge" DataChange Some(Merge);
    13 "Assign" DataChange Some(Assign);
    14 "Share" Sharing Some(Share), grant Share;
    15 "Retrieve" DataAccess Some(Read);
    16 "Close" DataChange Some(Update);
    17 "Cancel" DataChange Some(Update);
    18 "Complete" DataChange Some(Update);
    20 "Resolve" DataChange Some(Update);
    21 "Reopen" DataChange Some(Update);
    22 "Fulfill" DataChange Some(Update);
    23 "Paid" DataChange Some(Update);
    24 "Qualify" DataChange Some(Update);
    25 "Disqualify" DataChange Some(Update);
    26 "Submit" DataChange Some(Update);
    27 "Reject" DataChange Some(Update);
    28 "Approve" DataChange Some(Update);
    29 "Invoice" DataChange Some(Update);
    30 "Hold" DataChange Some(Update);
    31 "AddMember" DataChange Some(Update);
    32 "RemoveMember" DataChange Some(Update);
    33 "AssociateEntities" DataChange Some(Update), grant Associated { given: true };
    34 "DisassociateEntities" DataChange Some(Update), grant Associated { given: false };
    35 "AddMembers" Permission Some(Action::Grant), grant Members;
    36 "RemoveMembers" Permission Some(Revoke), grant Members;
    37 "AddItem" DataChange Some(Update);
    38 "RemoveItem" DataChange Some(Update);
    39 "AddSubstitute" DataChange Some(Update);
    40 "RemoveSubstitute" DataChange Some(Update);
    41 "SetState" DataChange Some(Update);
    42 "Renew" DataChange Some(Update);
    43 "Revise" DataChange Some(Update);
    44 "Win" DataChange Some(Update);
    45 "Lose" DataChange Some(Update);
    46 "InternalProcessing" DataChange Some(Update);
    47 "Reschedule" DataChange Some(Update);
    48 "ModifyShare" Sharing Some(Share), grant Share;
    49 "Unshare" Sharing Some(Unshare), grant Share;
    50 "Book" DataChange Some(Create);
    51 "GenerateQuoteFromOpportunity" DataChange Some(Create);
    52 "AddToQueue" DataChange Some(Update);
    53 "AssignRoleToTeam" Permission Some(Action::Grant), grant Role;
    54 "RemoveRoleFromTeam" Permission Some(Revoke), grant Role;
    55 "AssignRoleToUser" Permission Some(Action::Grant), grant Role;
    56 "RemoveRoleFromUser" Permission Some(Revoke), grant Role;
    57 "AddPrivilegesToRole" Permission Some(Action::Grant), grant Privileges;
    58 "RemovePrivilegesFromRole" Permission Some(Revoke), grant Privileges;
    59 "ReplacePrivilegesInRole" Permission Some(Action::Grant), grant Privileges;
    60 "ImportMappings" Configuration Some(Import);
    61 "Clone" DataChange Some(Create);
    62 "SendDirectEmail" Operation None;
    63 "EnabledForOrganization" Configuration Some(Enable);
    64 "UserAccessViaWeb" Authentication Some(Login), app "web";
    65 "UserAccessViaWebServices" Authentication Some(Login), app "web services";
    100 "DeleteEntity" Configuration Some(Delete);
    101 "DeleteAttribute" Configuration Some(Delete);
    102 "AuditChangeAtEntityLevel" AuditLog Some(Update);
    103 "AuditChangeAtAttributeLevel" AuditLog Some(Update);
    104 "AuditChangeAtOrgLevel" AuditLog Some(Update);
    105 "EntityAuditStarted" AuditLog Some(Enable);
    106 "AttributeAuditStarted" AuditLog Some(Enable);
    107 "AuditEnabled" AuditLog Some(Enable);
    108 "EntityAuditStopped" AuditLog Some(Disable);
    109 "AttributeAuditStopped" AuditLog Some(Disable);
    110 "AuditDisabled" AuditLog Some(Disable);
    111 "AuditLogDeletion" AuditLog Some(Purge);
    112 "UserAccessAuditStarted" AuditLog Some(Enable);
    113 "UserAccessAuditStopped" AuditLog Some(Disable);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_so_that_the_search_finds_each() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(
            TABLE.iter().all(|about| super::about(about.code).is_some_and(|found| found.feed == about.feed))
        );
    }
}
