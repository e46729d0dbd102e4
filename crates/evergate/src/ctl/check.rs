//! `evergate check`: every error and warning of a configuration, and the certificates in it.

use std::path::Path;
use std::process::ExitCode;

use evergate_config::{Certificate, Config, Diagnostic, DiskAt, Severity, load_with, render};
use evergate_pki::{Particulars, day};
use evergate_sys::clock;
use serde_json::{Value, json};

use super::ConfigFile;
use super::screen::{Paint, Palette, show, show_json};
use super::table::{Table, plain};
use crate::{embedded, machine};

/// Names of one certificate that are shown; of more, only how many there are.
const NAMES_SHOWN_MAX: usize = 3;

/// Checks a configuration without applying it. Exits with 0 when it is good, 1 when not.
///
/// Shows the certificates in it, too, and when they end.
#[derive(clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Show the findings as JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.file.path()?;
        let now = clock::unix_seconds();
        let (found, config) = match load_with(&file, &DiskAt(now)) {
            Ok(loaded) => {
                let refusals = embedded::refusals(&loaded.config);
                let limits = machine::warnings(&loaded.config);
                let found = loaded.warnings.into_iter().chain(refusals).chain(limits);
                (found.collect(), Some(loaded.config))
            }
            Err(found) => (found, None),
        };
        let certificates = config.as_ref().map(certificates).unwrap_or_default();
        if self.json {
            show_json(&as_json(&file, &found, &certificates))?;
        } else {
            show(&as_text(&file, &found, &certificates, now, Palette::of_stdout()))?;
        }
        let bad = found.iter().any(|one| one.severity == Severity::Error);
        Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Every certificate that is read from a file, with the section that names it.
fn certificates(config: &Config) -> Vec<(String, &Certificate)> {
    let served = config.listeners.iter().flat_map(|(name, listener)| {
        let certs = listener.tls.iter().flat_map(|tls| &tls.certs);
        certs.map(move |certificate| (format!("listener.{name}"), certificate))
    });
    let shown = config
        .pools
        .iter()
        .filter_map(|(name, pool)| Some((format!("pool.{name}"), pool.tls.identity.as_ref()?)));
    served.chain(shown).collect()
}

fn as_json(file: &Path, found: &[Diagnostic], certificates: &[(String, &Certificate)]) -> Value {
    let diagnostics: Vec<Value> = found.iter().map(Diagnostic::to_json).collect();
    let certificates: Vec<Value> = certificates
        .iter()
        .map(|(user, certificate)| {
            let Particulars { names, subject, issuer, not_before, not_after, serial } =
                certificate.identity.particulars().as_ref();
            json!({
                "used_by": user,
                "file": certificate.cert,
                "names": names,
                "subject": subject,
                "issuer": issuer,
                "serial": serial,
                "not_before": not_before,
                "not_after": not_after,
            })
        })
        .collect();
    let ok = found.iter().all(|one| one.severity != Severity::Error);
    json!({ "file": file, "ok": ok, "diagnostics": diagnostics, "certificates": certificates })
}

fn as_text(
    file: &Path,
    found: &[Diagnostic],
    certificates: &[(String, &Certificate)],
    now: u64,
    palette: Palette,
) -> String {
    let mut text = if found.is_empty() {
        format!("{}: no errors, no warnings\n", file.display())
    } else {
        render(found, palette == Palette::Colour)
    };
    let mut table = Table::new("", &["certificate", "used by", "names", "ends", ""]);
    for (user, certificate) in certificates {
        let particulars = certificate.identity.particulars();
        let (paint, when) = ends(particulars.not_after, now);
        table.row([
            plain(certificate.cert.display()),
            plain(user),
            plain(names(&particulars.names)),
            (paint, day(particulars.not_after)),
            (paint, when),
        ]);
    }
    if !certificates.is_empty() {
        text.push('\n');
        text.push_str(&table.render(palette));
    }
    text
}

/// The first names, and how many there are beside them.
fn names(names: &[String]) -> String {
    let (shown, rest) = names.split_at(names.len().min(NAMES_SHOWN_MAX));
    match (shown, rest.len()) {
        ([], _) => "none".to_owned(),
        (shown, 0) => shown.join(", "),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn ends(not_after: u64, now: u64) -> (Paint, String) {
    const DAY: u64 = 24 * 3600;
    match not_after.checked_sub(now).map(|left| left / DAY) {
        None => (Paint::Bad, "ended".to_owned()),
        Some(0) => (Paint::Warn, "today".to_owned()),
        Some(1) => (Paint::Normal, "in 1 day".to_owned()),
        Some(days) => (Paint::Normal, format!("in {days} days")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_names_the_first_are_shown() {
        let list = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
        let table = [(0, "none"), (1, "n0"), (3, "n0, n1, n2"), (5, "n0, n1, n2 and 2 more")];
        for (count, expected) in table {
            assert_eq!(names(&list(count)), expected);
        }
    }

    #[test]
    fn ends_are_told_in_whole_days() {
        const DAY: u64 = 24 * 3600;
        let table = [
            (99, "ended"),
            (100, "today"),
            (100 + DAY - 1, "today"),
            (100 + DAY, "in 1 day"),
            (100 + 90 * DAY, "in 90 days"),
        ];
        for (not_after, expected) in table {
            assert_eq!(ends(not_after, 100).1, expected);
        }
    }
}
