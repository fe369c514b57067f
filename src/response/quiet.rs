//! Silences: nobody is told of what matches, and everything is recorded as ever.

use super::about;
use crate::incident::lifecycle::check_words;
use crate::model::Time;
use crate::model::incident::{Incident, Silence};
use crate::model::json::Object;
use crate::pipeline::Writer;
use crate::trail::TrailError;
use serde::{Deserialize, Serialize};

/// Longest silence, seconds.
const SILENCE_MAX: u64 = 30 * 86_400;
/// Silences in force at a time.
const SILENCES_MAX: usize = 1000;

/// A new silence, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quiet {
    /// What a rule's id begins with.
    pub rule: Option<String>,
    /// Id or name of the actor.
    pub actor: Option<String>,
    /// Name of the source.
    pub source: Option<String>,
    /// How long, seconds.
    pub seconds: u64,
    /// Why.
    pub reason: String,
}

impl Writer {
    /// Whether a silence covers an incident as a whole.
    pub(super) fn is_silenced(&self, incident: &Incident, now: Time) -> bool {
        let finding = about(incident, String::new(), None, now);
        self.state.silence_for(&finding, now).is_some()
    }

    /// A new silence. The reply is its id, or why there is none.
    pub fn silence(&mut self, quiet: &Quiet, by: &str) -> Result<Result<String, String>, TrailError> {
        let now = self.clock.now();
        if let Err(why) = check_quiet(quiet, self.state.silences.values().filter(|it| now < it.until).count())
        {
            return Ok(Err(why));
        }
        self.begin()?;
        let silence = Silence {
            id: format!("SIL-{}", self.next_index()),
            rule: quiet.rule.clone(),
            actor: quiet.actor.as_ref().map(|actor| self.forms_of(actor)),
            source: quiet.source.clone(),
            from: now,
            until: now.plus_seconds(quiet.seconds as i64),
            reason: quiet.reason.trim().to_owned(),
            by: by.to_owned(),
            silenced: 0,
        };
        self.put_silence(&silence, false);
        self.commit()?;
        self.checkpoint()?;
        Ok(Ok(silence.id))
    }

    /// Ends a silence now.
    pub fn end_silence(
        &mut self,
        id: &str,
        reason: &str,
        by: &str,
    ) -> Result<Result<(), String>, TrailError> {
        let now = self.clock.now();
        let silence = match (check_words("reason", reason), self.state.silences.get(id)) {
            (Err(why), _) => return Ok(Err(why)),
            (_, Some(silence)) if now < silence.until => silence,
            _ => return Ok(Err(format!("no silence `{id}` is in force"))),
        };
        let ended =
            Silence { until: now, reason: reason.trim().to_owned(), by: by.to_owned(), ..silence.clone() };
        self.begin()?;
        self.put_silence(&ended, true);
        self.commit()?;
        self.checkpoint()?;
        Ok(Ok(()))
    }

    /// Somebody as events name them: in an erasable deployment by the pseudonyms they can have, a line each.
    fn forms_of(&self, actor: &str) -> String {
        match &self.privacy {
            Some(privacy) => privacy.pseudonyms().of_person(actor).join("\n"),
            None => actor.to_owned(),
        }
    }

    fn put_silence(&mut self, silence: &Silence, ended: bool) {
        let mask = self.mask;
        let mut silence = silence.clone();
        let optional = [&mut silence.rule, &mut silence.actor, &mut silence.source].into_iter().flatten();
        for text in optional.chain([&mut silence.reason, &mut silence.by]) {
            if let Some(masked) = mask(text) {
                *text = masked;
            }
        }
        self.group.bodies.push("silence", |out| {
            let mut out = Object::members(out, mask);
            out.word("state", if ended { "ended" } else { "set" });
            silence.write(&mut out);
        });
        self.state.silence(silence, ended);
    }
}

fn check_quiet(quiet: &Quiet, in_force: usize) -> Result<(), String> {
    check_words("reason", &quiet.reason)?;
    let given = [&quiet.rule, &quiet.actor, &quiet.source];
    for text in given.into_iter().flatten() {
        check_words("rule, actor and source", text)?;
    }
    if given.iter().all(|text| text.is_none()) {
        return Err("a silence names a rule, an actor or a source: nothing silences everything".into());
    }
    if !(60..=SILENCE_MAX).contains(&quiet.seconds) {
        return Err("a silence lasts a minute to 30 days".into());
    }
    if in_force >= SILENCES_MAX {
        return Err(format!("{SILENCES_MAX} silences are in force: end some first"));
    }
    Ok(())
}
