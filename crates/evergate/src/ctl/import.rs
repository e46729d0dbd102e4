//! `evergate import`: configurations of other programs as ours.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use evergate_config::{Disk, import_keepalived};
use serde_json::{Value, json};

use super::screen::{show, show_json};

/// Exit code when something could not be carried.
const EXIT_NOTES: u8 = 1;
/// Exit code when there is nothing to show for it.
const EXIT_UNREADABLE: u8 = 2;

/// Prints the configuration of another program as one for Evergate.
#[derive(clap::Args)]
pub(crate) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(clap::Subcommand)]
enum From {
    Keepalived(Keepalived),
}

/// Prints `[vip.NAME]` for every instance of a keepalived.conf, and of the files that it includes.
///
/// What cannot be carried is told on standard error, each with its line; where a person must decide,
/// the output has a comment. Exits with 0 if everything was carried, 1 if something was not, and 2
/// if the file cannot be read.
#[derive(clap::Args)]
struct Keepalived {
    /// The file, usually /etc/keepalived/keepalived.conf.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which machine it is for, of those that lines such as `@NAME priority 200` name.
    #[arg(short, long, value_name = "NAME")]
    id: Option<String>,
    /// Show configuration and notes as JSON.
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.from {
            From::Keepalived(keepalived) => keepalived.run(),
        }
    }
}

impl Keepalived {
    fn run(self) -> anyhow::Result<ExitCode> {
        let imported = match import_keepalived(&self.file, &Disk, self.id.as_deref()) {
            Ok(imported) => imported,
            Err(why) => {
                writeln!(io::stderr(), "evergate: {why}")?;
                return Ok(ExitCode::from(EXIT_UNREADABLE));
            }
        };
        if self.json {
            let notes = imported.notes.iter();
            let notes: Vec<Value> = notes
                .map(|one| json!({ "file": one.file, "line": one.line, "message": one.message }))
                .collect();
            show_json(&json!({ "toml": imported.toml, "notes": notes }))?;
        } else {
            show(&imported.toml)?;
            let mut stderr = io::stderr().lock();
            for note in &imported.notes {
                writeln!(stderr, "{note}")?;
            }
        }
        Ok(match imported.notes.len() {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(EXIT_NOTES),
        })
    }
}
