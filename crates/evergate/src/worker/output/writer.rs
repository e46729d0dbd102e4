//! Writing what waits, on a thread of its own: a disk may stand still.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::log_file::{LogFile, Shelf};
use super::spool::{Job, Spool};

/// Writes until the end.
pub(super) fn write(spool: &Spool) {
    let mut files: BTreeMap<String, (Arc<Shelf>, LogFile)> = BTreeMap::new();
    while let Some(job) = spool.next() {
        match job {
            Job::Write { run, shelf, text, mut at, gap, done } => {
                let file = file_of(&mut files, &run.app, &shelf);
                let (written, outcome) = file.append(&text[at..]);
                at += written;
                match outcome {
                    Ok(()) => spool.written(&run.app),
                    Err(error) => {
                        let why = super::describe(file.path(), &error);
                        spool.refused(Job::Write { run, shelf, text, at, gap, done: None }, why);
                    }
                }
                drop(done);
            }
            Job::Read { app, shelf, reply } => {
                let file = file_of(&mut files, &app, &shelf);
                // Whoever asked may have gone.
                let _ = reply.send(file.readers());
            }
            Job::Close(app) => drop(files.remove(&app)),
        }
    }
}

fn file_of<'a>(
    files: &'a mut BTreeMap<String, (Arc<Shelf>, LogFile)>,
    app: &str,
    shelf: &Arc<Shelf>,
) -> &'a mut LogFile {
    let fresh = || (Arc::clone(shelf), LogFile::new(app, shelf));
    let entry = files.entry(app.to_owned()).or_insert_with(fresh);
    if entry.0 != *shelf {
        *entry = fresh();
    }
    &mut entry.1
}
