//! The configuration: text in, [`Config`] or every error out.
//!
//! [`load`] reads `evergate.toml` and what it includes, decodes it by hand against a description
//! of every key, checks what cannot be seen in one place alone, and reports everything that is
//! wrong at once: file, line, column, and how to mend it. The same description makes the
//! reference and the JSON Schema.

mod acme;
mod address;
mod app;
mod certificate;
mod changes;
mod conflict;
mod diagnostic;
mod duration;
mod effective;
mod field;
mod files;
mod format;
mod history;
mod import;
mod include;
mod keys;
mod listener;
mod load;
mod mask;
mod middleware;
mod model;
mod nearest;
mod node;
mod pattern;
mod peer;
mod pool;
mod presence;
mod probe;
mod reader;
mod reference;
mod references;
mod remember;
mod route;
mod schema;
mod size;
mod standby;
mod static_files;
mod substitute;
mod template;
mod tls;
mod track;
mod upstream_tls;
mod url;
mod value;
mod vip;

pub use changes::{
    CHANGES_BYTES_MAX, CHANGES_MAX, Change, Changes, JournalError, NoSubject, Subject,
};
pub use diagnostic::{Diagnostic, Related, SHOWN_MAX, Severity, render};
pub use effective::{to_toml, to_toml_with};
pub use files::{Disk, DiskAt, Files, READ_BYTES_MAX, interpreter};
pub use format::format;
pub use history::{
    Applied, CONFIGURATIONS_MAX, HISTORY_BYTES_MAX, History, HistoryError, Hold, OnTrial, Texts,
};
pub use import::{ImportNote, Imported, import_keepalived};
pub use include::{FILE_BYTES_MAX, FILES_MAX, read_file};
pub use load::{Basis, Loaded, Source, load, load_with, load_with_changes, run_dir};
pub use model::*;
pub use nearest::nearest;
pub use reference::reference;
pub use remember::{RecallError, recall, remember};
pub use schema::schema;
