//! The state from a whole trail, on all processors: after the cache was deleted, or a start that it does not
//! count for.
//!
//! One thread reads lines in pieces, two make the entries of a piece ready ([`crate::state::Prepare`]), and the
//! caller's applies them in their order. So the result is what one thread would give; a test compares both.

use crate::state::{Prepare, Ready, State};
use crate::trail::disk::Disk;
use crate::trail::entry::Entry;
use crate::trail::{TrailError, read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Threads that make entries ready.
const WORKERS: usize = 2;
/// Bytes of lines that are handed over at a time.
const PIECE: usize = 1 << 20;
/// Pieces that wait before each thread.
const WAITING: usize = 2;

/// Lines, one after the other.
#[derive(Default)]
struct Piece {
    lines: Vec<u8>,
    ends: Vec<usize>,
}

type Prepared = Result<Vec<(u64, Ready)>, TrailError>;

/// Applies the entries from index `from` to before `to`. `progress` is told the entries done.
pub fn replay(
    disk: &dyn Disk,
    folder: &Path,
    (from, to): (u64, u64),
    state: &mut State,
    progress: &mut dyn FnMut(u64),
) -> Result<(), TrailError> {
    std::thread::scope(|scope| {
        let mut pieces = Vec::new();
        let mut results = Vec::new();
        for _ in 0..WORKERS {
            let (send, pieces_in) = sync_channel::<Piece>(WAITING);
            let (results_out, receive) = sync_channel::<Prepared>(WAITING);
            let prepare = state.prepare();
            scope.spawn(move || work(&prepare, &pieces_in, &results_out));
            pieces.push(send);
            results.push(receive);
        }
        let reader = scope.spawn(move || read_pieces(disk, folder, (from, to), &pieces));
        let applied = apply_all(state, &results, progress);
        // Without receivers the other threads end, also where applying failed.
        drop(results);
        let read = reader.join().unwrap_or_else(|_| {
            Err(TrailError::io("read", folder, std::io::Error::other("the reading thread panicked")))
        });
        applied.and(read)
    })
}

/// Hands pieces to the workers in turn.
fn read_pieces(
    disk: &dyn Disk,
    folder: &Path,
    (from, to): (u64, u64),
    workers: &[SyncSender<Piece>],
) -> Result<(), TrailError> {
    let mut piece = Piece::default();
    let mut turn = 0;
    let mut send = |piece: Piece| {
        turn += 1;
        // Who does not take it any more has failed and says so itself.
        workers.get((turn - 1) % WORKERS).is_some_and(|worker| worker.send(piece).is_ok())
    };
    read::each(disk, folder, from, to, &mut |entry| {
        piece.lines.extend_from_slice(entry.line);
        piece.ends.push(piece.lines.len());
        if piece.lines.len() >= PIECE {
            send(std::mem::take(&mut piece));
        }
        Ok(())
    })?;
    send(piece);
    Ok(())
}

fn work(prepare: &Prepare, pieces: &Receiver<Piece>, results: &SyncSender<Prepared>) {
    for piece in pieces {
        let mut start = 0;
        let ready = piece.ends.iter().map(|end| {
            let line = &piece.lines[std::mem::replace(&mut start, *end)..*end];
            let entry = Entry::parse(line).ok_or_else(|| TrailError::Refused {
                what: "a line is no entry".into(),
                verdict: "tampered",
            })?;
            Ok((entry.index, prepare.entry(&entry)?))
        });
        if results.send(ready.collect()).is_err() {
            return;
        }
    }
}

/// Applies what the workers made ready, in the order of the pieces.
fn apply_all(
    state: &mut State,
    workers: &[Receiver<Prepared>],
    progress: &mut dyn FnMut(u64),
) -> Result<(), TrailError> {
    for worker in workers.iter().cycle() {
        let Ok(ready) = worker.recv() else { return Ok(()) };
        let mut last = 0;
        for (index, ready) in ready? {
            state.apply_ready(index, ready)?;
            last = index;
        }
        progress(last + 1);
    }
    Ok(())
}
