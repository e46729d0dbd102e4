//! Apps as the command line names them, and what is asked of a node about them.

use anyhow::bail;
use evergate_config::nearest;
use evergate_control::snapshot::{InstanceStatus, Status};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Failure, percent};

/// An app, or one of its instances: `APP` or `APP/N`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AppName {
    pub(super) app: String,
    pub(super) instance: Option<u16>,
}

impl std::str::FromStr for AppName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (app, instance) = match text.split_once('/') {
            None => (text, None),
            Some((app, number)) => {
                let number = number.parse();
                (app, Some(number.map_err(|_| "an instance is named APP/N, such as shop/0")?))
            }
        };
        if app.is_empty() {
            return Err("an app is named as in [app.NAME], an instance of it APP/N");
        }
        Ok(Self { app: app.to_owned(), instance })
    }
}

impl std::fmt::Display for AppName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.app)?;
        self.instance.map_or(Ok(()), |number| write!(f, "/{number}"))
    }
}

impl AppName {
    /// Whether `instance` is meant.
    pub(super) fn means(&self, instance: &InstanceStatus) -> bool {
        instance.app == self.app && self.instance.is_none_or(|number| number == instance.number)
    }

    /// An error that says what there is, unless it is there.
    pub(super) fn ensure_known(&self, apps: &[InstanceStatus]) -> anyhow::Result<()> {
        let mut names: Vec<&str> = apps.iter().map(|one| one.app.as_str()).collect();
        names.dedup();
        if !names.contains(&self.app.as_str()) {
            let help = match nearest(&self.app, names.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if names.is_empty() => "the configuration has no `[app.NAME]`".to_owned(),
                None => format!("there is: {}", names.join(", ")),
            };
            bail!("there is no app `{}`\n  help: {help}", self.app);
        }
        if !apps.iter().any(|one| self.means(one)) {
            let numbers = apps.iter().filter(|one| one.app == self.app).map(|one| one.number);
            let mut numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
            numbers.dedup();
            bail!("there is no instance `{self}`\n  help: it has: {}", numbers.join(", "));
        }
        Ok(())
    }
}

/// What the operator wants of an app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Start,
    Stop,
    Restart,
    Deploy,
    Abort,
}

impl Verb {
    fn path(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Deploy => "deploy",
            Self::Abort => "abort",
        }
    }
}

/// Whether a wish is carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Run {
    Wet,
    Dry,
}

/// What a node says to a wish.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    /// A line for each step.
    pub(super) plan: Vec<String>,
    pub(super) applied: bool,
}

/// The apps of a node, with deploys and limits; other parts of the state are empty.
pub(crate) fn apps(client: &Client) -> Result<Status, Failure> {
    client.get("/api/v1/apps")
}

/// Tells a node what is wanted.
pub(crate) fn wish(
    client: &Client,
    name: &AppName,
    verb: Verb,
    run: Run,
) -> Result<Answer, Failure> {
    let mut body = json!({ "instance": name.instance });
    if run == Run::Dry {
        body["dry_run"] = true.into();
    }
    let target = format!("/api/v1/apps/{}/{}", percent(&name.app), verb.path());
    client.send("POST", &target, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_and_instances_are_named() {
        let name = |text: &str| text.parse::<AppName>().map(|name| (name.app, name.instance));
        assert_eq!(name("shop"), Ok(("shop".into(), None)));
        assert_eq!(name("shop/12"), Ok(("shop".into(), Some(12))));
        for text in ["", "/1", "shop/", "shop/x", "shop/65536", "shop/-1", "shop/1/2"] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let instance = |app: &str, number| InstanceStatus {
            app: app.into(),
            number,
            ..InstanceStatus::default()
        };
        let apps = [instance("api", 0), instance("shop", 0), instance("shop", 1)];
        let error = |name: &str| {
            let name: AppName = name.parse().unwrap();
            name.ensure_known(&apps).err().map(|error| error.to_string())
        };
        assert_eq!(error("shop"), None);
        assert_eq!(error("shop/1"), None);
        let table = [
            ("shp", "there is no app `shp`\n  help: did you mean `shop`?"),
            ("warehouse", "there is no app `warehouse`\n  help: there is: api, shop"),
            ("shop/2", "there is no instance `shop/2`\n  help: it has: 0, 1"),
        ];
        for (name, expected) in table {
            assert_eq!(error(name).as_deref(), Some(expected));
        }
    }
}
