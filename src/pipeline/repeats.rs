//! Rows of delivered files that came again in another file: left out, and counted in the trail.

use super::Writer;
use crate::inspect::dlp;
use crate::model::Time;
use crate::model::json::Object;
use crate::model::row::Row;
use crate::source::{Fact, Notice};
use crate::stage::StagedRows;
use std::sync::Arc;

/// What was left out of one batch.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    count: u64,
    first: u64,
    last: u64,
}

impl Writer {
    /// Whether this row of a batch stands in the trail already, from another file. If not, it will.
    pub(super) fn stands_already(
        &mut self,
        source: &str,
        rows: &StagedRows,
        number: usize,
        (observed, repeats): (Time, &mut Repeats),
    ) -> bool {
        let Some((digests, offset)) = rows.digests.get(number) else { return false };
        let known = &self.state.rows;
        let stands = |digest| known.stands_elsewhere(source, digest, rows.mark, observed);
        if stands(&digests.now) || digests.before.as_ref().is_some_and(stands) {
            repeats.first = if repeats.count == 0 { *offset } else { repeats.first };
            (repeats.count, repeats.last) = (repeats.count + 1, *offset);
            return true;
        }
        let row = Row { digest: digests.now, file: rows.mark, observed };
        if self.state.rows.note(source, row) {
            tracing::warn!(
                "{source}: more than {} rows came within `overlap:`; older ones are not known again",
                crate::state::ROWS_MAX
            );
        }
        false
    }

    /// One entry says what was left out of a batch: how many records, and between which offsets.
    pub(super) fn tell_repeats(&mut self, source: &Arc<str>, rows: &StagedRows, repeats: &Repeats) {
        if repeats.count == 0 {
            return;
        }
        let (count, from, to) = (repeats.count, repeats.first, repeats.last);
        self.group.bodies.push("duplicates", |out| {
            let mut out = Object::members(out, dlp::mask);
            out.word("source", source);
            out.str("file", &rows.file);
            out.uint("records", count);
            out.uint("first", from);
            out.uint("last", to);
        });
        let fact = Fact::Repeated { records: count, from, to };
        self.notice(source, &Notice { stream: None, file: Arc::clone(&rows.file), fact });
        let name = Arc::clone(source);
        self.after(move |metrics| metrics.duplicates(&name, count));
    }
}
