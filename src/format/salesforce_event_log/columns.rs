//! The columns of event-log files by name, and one record's values by column.
//!
//! Columns differ by event type and by release, so they are found by name in every record. One table made
//! at compile time answers most names with one look. Invariant: a value that nobody takes ends in `extra`,
//! in the record's order, so that a new column can never be lost.

use crate::format::shared::{CsvValues, DistinctNames, MAX_MEMBERS, integer};
use crate::model::event::{Defect, DefectCode, Event};
use std::borrow::Cow;

/// Declares the columns with their one spelling.
macro_rules! columns {
    ($($column:ident = $name:literal),+ $(,)?) => {
        /// A column that has a meaning here, or that is so common that its name need not be copied.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Column { $($column),+ }

        const ALL: &[(&str, Column)] = &[$(($name, Column::$column)),+];
    };
}

columns! {
    ApiFamily = "API_FAMILY", ApiResource = "API_RESOURCE", ApiType = "API_TYPE", ApiVersion = "API_VERSION",
    AppType = "APP_TYPE", AuthReference = "AUTHENTICATION_METHOD_REFERENCE",
    AuthService = "AUTHENTICATION_SERVICE_ID", AverageRowSize = "AVERAGE_ROW_SIZE", BatchId = "BATCH_ID",
    BrowserType = "BROWSER_TYPE", CipherSuite = "CIPHER_SUITE", ClientId = "CLIENT_ID",
    ClientInfo = "CLIENT_INFO", ClientIp = "CLIENT_IP", ClientName = "CLIENT_NAME",
    ClientVersion = "CLIENT_VERSION", ConnectedAppId = "CONNECTED_APP_ID",
    ConnectedAppName = "CONNECTED_APP_NAME", CountsAgainstLimit = "COUNTS_AGAINST_API_LIMIT",
    CpuTime = "CPU_TIME", DbBlocks = "DB_BLOCKS", DbCpuTime = "DB_CPU_TIME", DbTotalTime = "DB_TOTAL_TIME",
    DelegatedUserId = "DELEGATED_USER_ID", DelegatedUserIdDerived = "DELEGATED_USER_ID_DERIVED",
    DelegatedUserName = "DELEGATED_USER_NAME", DisplayType = "DISPLAY_TYPE", EntityName = "ENTITY_NAME",
    EntityType = "ENTITY_TYPE", EventType = "EVENT_TYPE", ExceptionMessage = "EXCEPTION_MESSAGE",
    ForwardedForIp = "FORWARDED_FOR_IP", HttpMethod = "HTTP_METHOD", JobId = "JOB_ID",
    JobStatus = "JOB_STATUS", LoginKey = "LOGIN_KEY", LoginStatus = "LOGIN_STATUS",
    LoginSubType = "LOGIN_SUB_TYPE", LoginType = "LOGIN_TYPE", MediaType = "MEDIA_TYPE", Message = "MESSAGE",
    Method = "METHOD", MethodName = "METHOD_NAME", NumberColumns = "NUMBER_COLUMNS",
    NumberExceptionFilters = "NUMBER_EXCEPTION_FILTERS", NumberFailures = "NUMBER_FAILURES",
    NumberFields = "NUMBER_FIELDS", NumberOfRecords = "NUMBER_OF_RECORDS", OperationType = "OPERATION_TYPE",
    OrganizationId = "ORGANIZATION_ID", Origin = "ORIGIN", PlatformType = "PLATFORM_TYPE", Query = "QUERY",
    RecordsFailed = "RECORDS_FAILED", RecordsProcessed = "RECORDS_PROCESSED", ReferrerUri = "REFERRER_URI",
    RenderingType = "RENDERING_TYPE", ReportDescription = "REPORT_DESCRIPTION", ReportId = "REPORT_ID",
    ReportIdDerived = "REPORT_ID_DERIVED", RequestId = "REQUEST_ID", RequestSize = "REQUEST_SIZE",
    RequestStatus = "REQUEST_STATUS", ResponseSize = "RESPONSE_SIZE", ResultSizeMb = "RESULT_SIZE_MB",
    RowCount = "ROW_COUNT", RowsProcessed = "ROWS_PROCESSED", RunTime = "RUN_TIME",
    SearchQuery = "SEARCH_QUERY", SessionKey = "SESSION_KEY", SessionLevel = "SESSION_LEVEL",
    SessionType = "SESSION_TYPE", SizeBytes = "SIZE_BYTES", Sort = "SORT", SourceIp = "SOURCE_IP",
    StatusCode = "STATUS_CODE", Success = "SUCCESS", Timestamp = "TIMESTAMP",
    TimestampDerived = "TIMESTAMP_DERIVED", TlsProtocol = "TLS_PROTOCOL", Uri = "URI",
    UriIdDerived = "URI_ID_DERIVED", UserAgent = "USER_AGENT", UserId = "USER_ID",
    UserIdDerived = "USER_ID_DERIVED", UserInitiatedLogout = "USER_INITIATED_LOGOUT", UserName = "USER_NAME",
    UserType = "USER_TYPE",
}

const SLOTS: usize = 512;
const FREE: u8 = u8::MAX;
/// Open addressing: place in [`ALL`] by the name's mix, the next free place on collision.
static PLACES: [u8; SLOTS] = places();

const fn mix(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let (first, last) = (name[0] as usize, name[length - 1] as usize);
    let (middle, third) = (name[length / 2] as usize, name[length / 3] as usize);
    (length * 37 + first * 131 + third * 17 + middle * 71 + last * 29) % SLOTS
}

const fn places() -> [u8; SLOTS] {
    let mut table = [FREE; SLOTS];
    let mut place = 0;
    while place < ALL.len() {
        let mut slot = mix(ALL[place].0.as_bytes());
        while table[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = place as u8;
        place += 1;
    }
    table
}

fn lookup(name: &str) -> Option<(&'static str, Column)> {
    let mut slot = mix(name.as_bytes());
    // The table has more slots than names, so a free slot ends every search.
    while let Some(&(known, column)) = PLACES.get(slot).and_then(|place| ALL.get(usize::from(*place))) {
        if known == name {
            return Some((known, column));
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// What a value's column is called.
enum Name<'a> {
    /// A column of the table, which its place in the row answers for.
    Known(&'static str),
    /// Another column, or the second one of a name.
    Other(&'a str),
    /// A value beyond the header, by its position from one.
    Position(usize),
}

struct Cell<'a> {
    name: Name<'a>,
    value: Cow<'a, str>,
}

/// One record's values by column.
pub(super) struct Row<'a> {
    cells: Vec<Cell<'a>>,
    /// Place in `cells` plus one, by column; zero is absent.
    places: [u16; ALL.len()],
    pub(super) defects: Vec<Defect>,
}

impl<'a> Row<'a> {
    /// Reads a record. Values beyond the header are named by their position, `#31`.
    pub(super) fn read(header: &'a [String], text: &'a str) -> Row<'a> {
        let mut row = Row {
            cells: Vec::with_capacity(header.len().min(MAX_MEMBERS)),
            places: [0; ALL.len()],
            defects: Vec::new(),
        };
        let mut values = CsvValues::new(text);
        let mut count = 0;
        while count < MAX_MEMBERS {
            let Some(value) = values.next() else { break };
            row.push(header, count, value);
            count += 1;
        }
        if let Some(rest) = values.rest() {
            row.defects.push(Defect::new(DefectCode::TooComplex));
            count += 1;
            row.cells.push(Cell { name: Name::Position(count), value: Cow::Borrowed(rest) });
        }
        if count != header.len() {
            row.defects.push(Defect::new(DefectCode::ColumnCount));
        }
        if values.broken() {
            row.defects.push(Defect::field(DefectCode::BadValue, "quotes"));
        }
        row
    }

    fn push(&mut self, header: &'a [String], place: usize, value: Cow<'a, str>) {
        let Some(name) = header.get(place) else {
            return self.cells.push(Cell { name: Name::Position(place + 1), value });
        };
        // A byte order mark belongs to the file, not to the first column's name.
        let name = match name.strip_prefix('\u{feff}') {
            Some(name) if place == 0 => name.trim_matches('"'),
            _ => name,
        };
        let Some((known, column)) = lookup(name) else {
            return self.cells.push(Cell { name: Name::Other(name), value });
        };
        let Some(at) = self.places.get_mut(column as usize) else { return };
        if *at == 0 {
            *at = (self.cells.len() + 1) as u16;
            self.cells.push(Cell { name: Name::Known(known), value });
        } else {
            // The first of two columns with one name has the meaning; `rest` renames the other.
            self.cells.push(Cell { name: Name::Other(known), value });
        }
    }

    fn cell(&mut self, column: Column) -> Option<&mut Cell<'a>> {
        let place = usize::from(*self.places.get(column as usize)?);
        self.cells.get_mut(place.checked_sub(1)?)
    }

    /// The value, empty when the column is absent, empty or taken.
    pub(super) fn peek(&self, column: Column) -> &str {
        let place = self.places.get(column as usize).map_or(0, |place| usize::from(*place));
        place.checked_sub(1).and_then(|place| self.cells.get(place)).map_or("", |cell| &cell.value)
    }

    /// The column's name as a defect or `extra` names it.
    pub(super) fn name(column: Column) -> &'static str {
        ALL.get(column as usize).map_or("", |(name, _)| name)
    }

    /// Takes the value out: it will not be in `extra`.
    pub(super) fn take(&mut self, column: Column) -> Option<String> {
        let value = std::mem::take(&mut self.cell(column)?.value);
        (!value.is_empty()).then(|| value.into_owned())
    }

    /// The first of these columns that has a value, taken out.
    pub(super) fn take_first(&mut self, columns: &[Column]) -> Option<String> {
        columns.iter().find_map(|column| self.take(*column))
    }

    /// Forgets a value that says nothing new.
    pub(super) fn forget(&mut self, column: Column) {
        if let Some(cell) = self.cell(column) {
            cell.value = Cow::Borrowed("");
        }
    }

    /// Takes a number; what is none stays for `extra`, with the defect `bad_value`.
    pub(super) fn number(&mut self, column: Column) -> Option<u64> {
        let text = self.peek(column);
        if text.is_empty() {
            return None;
        }
        let number = integer(text);
        match number {
            Some(_) => self.forget(column),
            None => self.bad(column),
        }
        number
    }

    /// Notes that a column holds what it cannot hold.
    pub(super) fn bad(&mut self, column: Column) {
        self.defects.push(Defect::field(DefectCode::BadValue, Row::name(column)));
    }

    /// Moves everything that was not taken to `extra`, under distinct names, and the defects to the event.
    pub(super) fn rest(self, event: &mut Event) {
        for defect in self.defects {
            event.defect(defect);
        }
        let left = self.cells.iter().filter(|cell| !cell.value.is_empty()).count();
        event.extra.reserve_exact(left);
        let mut names = DistinctNames::default();
        for cell in self.cells {
            let given = match cell.name {
                Name::Known(known) => {
                    if !cell.value.is_empty() {
                        event.extra.push((Cow::Borrowed(known), cell.value.into_owned()));
                    }
                    continue;
                }
                Name::Other(name) => Cow::Borrowed(name),
                Name::Position(place) => Cow::Owned(format!("#{place}")),
            };
            if lookup(&given).is_some() {
                names.reserve(given.clone());
            }
            let name = names.claim(given.clone()).unwrap_or_else(|| given.clone().into_owned());
            if name != given {
                event.defect(Defect::field(DefectCode::DuplicateName, given));
            }
            if !cell.value.is_empty() {
                event.extra.push((Cow::Owned(name), cell.value.into_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_found_and_nothing_else() {
        for (name, column) in ALL {
            assert_eq!(lookup(name), Some((*name, *column)));
            assert_eq!(Row::name(*column), *name);
        }
        for name in ["", "event_type", "EVENT_TYPES", "X", "\u{e9}\u{e9}"] {
            assert_eq!(lookup(name), None, "{name}");
        }
    }
}
