//! crmwarden: a security and compliance auditing daemon for CRM deployments.
//!
//! This page is the architecture: the flow, the map, the rule that orders it, what always holds, and where
//! to start reading. How to use the program stands in the README.
//!
//! # Bird's eye
//!
//! ```text
//!            reader thread          stage thread                 writer thread
//!           +-------------+   +-----------------------+   +--------------------------------------+
//!  files -> | source      |-->| stage                 |-->| pipeline                             |
//!  inbox -> | bytes ->    |   | format: Record->Event |   | state: windows, incidents, outbox    |
//!           | records and |   | inspect::dlp: numbers |   | inspect::privilege, ::behaviour      |
//!           | positions   |   |   found and masked    |   | consequence: findings -> alerts owed |
//!           +-------------+   | stateless rules       |   |                                      |
//!                  ^          +-----------------------+   | trail: COMMIT, one sync              |
//!                  |                                      |   (evidence, consequences, positions)|
//!                  |  resume where the trail says         | trail: CHECKPOINT, signed            |
//!                  +--------------------------------------|                                      |
//!                                                         +------+-----------+-----------+-------+
//!                                                                |           |           |
//!                                                           shown on    deliver:     metrics
//!                                                           stderr      mail, files
//! ```
//!
//! Two bounded channels join the three threads. A slow disk stops the writer, the full channels stop the
//! stage and the reader, and a source keeps what was not read. What is brought to us (pushed over HTTP, pulled
//! from NATS, heard as syslog, printed by a command) waits in an inbox a source, bounded as well; who brought it
//! gets a receipt when a signed checkpoint covers it, and acknowledges only then. Alert receivers and the metrics listener run
//! on a small async runtime beside; `state/control.sock` lets commands ask the writer.
//!
//! # Map
//!
//! A module names modules of lower rows only. Modules of one row do not know each other, save the writer's
//! four files. `tests/tidy.rs` holds the same table and fails where code disagrees.
//!
//! | layer | module | is |
//! |---|---|---|
//! | 7 commands | [`cli`] | one file a command: arguments, text for people, exit codes |
//! | | [`console`] | pages for people; every change goes the way of the commands |
//! | 6 life | [`daemon`] | configuration, lock, recovery, start of every thread, drain, stop |
//! | 5 the writer | [`pipeline`] | the flow, from batch to checkpoint |
//! | | [`consequence`] | from a finding to an incident, its alerts and what is owed |
//! | | [`response`] | what people do about incidents, and what the passing of time does to them |
//! | | [`control`] | commands over the control socket |
//! | 4 assembled | [`config`] | the configuration file, checked in one conversion |
//! | | [`rebuild`] | the state from a whole trail, on all processors |
//! | | [`state`] | what is remembered: projections of the trail, rebuilt at start |
//! | | [`metrics`] | counters and the listener that serves them |
//! | | [`privacy`] | details of an erasable deployment, and what pseudonyms stand for |
//! | | [`search`] | events and findings by who, what, when and text |
//! | | [`report`] | one pass over the trail to a signed bundle |
//! | 3 made ready | [`policy`] | policy files, read, checked and proved by their examples |
//! | | [`stage`] | records to masked events, the part without memory |
//! | | [`operator`] | what people do to the trail itself: epochs, holds, pruning, erasing |
//! | | [`deliver`] | edges that alerts leave by: files, SMTP |
//! | | [`anchor`] | edges that checkpoints leave by: witnesses, time stamps, syslog |
//! | | [`listen`] | what other programs do over HTTP: push records, get tiles of the trail, have a checkpoint witnessed |
//! | | [`mod@error`] | how a command fails, and its exit code |
//! | 2 parts | [`trail`] | the durable, signed log; knows nothing of what bodies mean |
//! | | [`source`] | the edges that records come in by: files, and what feeds an inbox |
//! | | [`mod@format`] | one file a feed, record to event |
//! | | [`places`] | places of addresses, from a database of the user |
//! | | [`inspect`] | detectors: numbers, privileges, behaviour |
//! | | [`incident`] | grouping and lifecycle |
//! | | [`alert`] | routing, text and HTML of alerts |
//! | | [`clock`] | the time as a value, and steps of the wall clock; how long to wait before trying again |
//! | | [`dial`] | lines to others: whom TLS trusts, what an HTTP client never does |
//! | | [`serve`] | listeners: who may ask, how many, how long |
//! | 1 words | [`model`] | events, findings, grants, times, digests, the one JSON writer |
//! | | [`yaml`] | strict YAML with positions and cures |
//!
//! [`model`], [`mod@format`], [`inspect`], [`policy`], [`incident`] and [`alert`] are pure: no clock, no file
//! system, no network; times and bytes arrive as values. The edges are [`source`], [`deliver`], [`anchor`],
//! [`listen`], [`metrics`], [`control`], [`clock`] and the `Disk` seam of [`trail`].
//!
//! # What always holds
//!
//! 1. **The trail is the only truth.** Positions, open incidents, alerts owed and the windows of rules are
//!    projections of it. `state/cache` may be deleted at any time.
//! 2. **One commit holds the evidence, what follows from it, and the source's new position.** So a record
//!    enters the trail once per position, whatever ends the process.
//! 3. **Nothing is shown, sent or measured as signed before a durable checkpoint covers it.**
//! 4. **After a failed write or sync the process ends.** A sync is never repeated; the next start recovers.
//! 5. **One thread writes.** Order per source is kept, and the order of the trail is the order of correlation.
//! 6. **No record disappears in silence.** What cannot be read becomes an event with defects; bytes that were
//!    lost before we could read them become a finding.
//! 7. **No card or social-security number and no secret is written**, to any output: the mask runs over
//!    every string of every entry, and digests of source bytes are keyed.
//! 8. **Neither a record nor a policy can stop the daemon or use it up.** Every collection has a limit; a
//!    panic in one record becomes an event that says so.
//! 9. **Event time drives windows.** No detector looks at a clock, so the same trail gives the same findings.
//!
//! # Who can check the trail, and what nobody can prove
//!
//! An auditor needs the segments, the newest checkpoint and a trust file that came by another way; no copy of
//! this program. `examples/verify.sh` (shell, sed, sha256sum, openssl) checks chain, roots, commits, changes of
//! keys and both signatures of up to 1,000 entries; `examples/verify.py` (Python's standard library and openssl)
//! any number. `export --format tlog-tiles` gives the same log to `golang.org/x/mod/sumdb` and other C2SP tools,
//! `trail proof` one entry in one file. `tests/foreign.rs` holds all of them against damaged trails.
//!
//! Nobody can prove from these files that what was recorded is true or complete, nor, for entries above the
//! newest head that somebody outside keeps, that the holder of the present keys did not rewrite them. So every
//! result says which range is anchored off the host, and by what.
//!
//! # Where to start reading
//!
//! [`pipeline`] from top to bottom, then [`stage`] and [`consequence`]: that is the whole flow. For the bytes
//! on disk, the module doc of [`trail`]. For a new feed, [`mod@format`] and its shortest member,
//! `dataverse_grants`. For a new kind of rule, [`policy`], which says how a file becomes a rule.

pub mod alert;
pub mod anchor;
pub mod cli;
pub mod clock;
pub mod config;
pub mod consequence;
pub mod console;
pub mod control;
pub mod daemon;
pub mod deliver;
pub mod dial;
pub mod error;
pub mod format;
pub mod incident;
pub mod inspect;
pub mod listen;
pub mod metrics;
pub mod model;
pub mod operator;
pub mod pipeline;
pub mod places;
pub mod policy;
pub mod privacy;
pub mod rebuild;
pub mod report;
pub mod response;
pub mod search;
pub mod serve;
pub mod source;
pub mod stage;
pub mod state;
pub mod trail;
pub mod yaml;
