//! The subcommands, one file each.

mod app;
mod apps;
mod child;
mod load;
mod origin;
mod proxy;
mod reloads;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves on PORT and says when it began.
    #[command(hide = true)]
    App(app::App),
    /// Measures how soon a killed process of an app is out of the pool, and replaced.
    Apps(apps::Apps),
    /// Becomes another program, on one core and no longer than its parent.
    #[command(hide = true)]
    Child(child::Child),
    /// Sends requests and says what came of them.
    Load(load::Load),
    /// Serves bodies of fixed sizes from memory.
    Origin(origin::Origin),
    /// Compares Evergate with nginx and HAProxy.
    Proxy(proxy::Proxy),
    /// Changes Evergate, nginx and HAProxy under load, and says what that cost.
    Reloads(reloads::Reloads),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::App(app) => app.run(),
            Self::Apps(apps) => apps.run(),
            Self::Child(child) => child.run(),
            Self::Load(load) => load.run(),
            Self::Origin(origin) => origin.run(),
            Self::Proxy(proxy) => proxy.run(),
            Self::Reloads(reloads) => reloads.run(),
        }
    }
}

/// Parses a duration such as `4`, `4s`, `250ms` or `1m`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let seconds = match &text[digits..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        unit => return Err(format!("`{unit}` is no unit; use ms, s or m")),
    };
    let number: f64 = text[..digits].parse().map_err(|_| "a duration needs a number".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_units() {
        assert_eq!(duration("4"), Ok(Duration::from_secs(4)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert!(duration("4h").is_err());
        assert!(duration("-1s").is_err());
        assert!(duration("s").is_err());
    }
}
