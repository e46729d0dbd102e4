//! In which order apps start.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::keys::Noun;
use crate::model::App;
use crate::reader::{Reader, Section};

/// Decodes `after`.
pub(super) fn after(section: &Section<'_>) -> Vec<String> {
    let mut after: Vec<String> = Vec::new();
    for item in section.items("after") {
        let Some(name) = item.refer() else { continue };
        if after.contains(&name) {
            item.refuse_twice();
        } else {
            after.push(name);
        }
    }
    after
}

/// Refuses apps that wait for each other: none of them would ever start.
pub(crate) fn check_order(reader: &Reader<'_>, apps: &BTreeMap<String, App>) {
    circles(apps).iter().for_each(|circle| report(reader, circle));
}

/// How far an app was followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Met {
    /// Something that starts before it is being looked at.
    OnTheWay,
    /// All that starts before it was looked at.
    Done,
}

/// Each way that leads from an app, over what it starts after, back to the app.
fn circles(apps: &BTreeMap<String, App>) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut met: BTreeMap<&str, Met> = BTreeMap::new();
    for (root, app) in apps {
        if met.contains_key(root.as_str()) {
            continue;
        }
        met.insert(root, Met::OnTheWay);
        let mut way = vec![(root.as_str(), app.after.iter())];
        while let Some((name, rest)) = way.last_mut() {
            let Some(next) = rest.next() else {
                met.insert(name, Met::Done);
                way.pop();
                continue;
            };
            match (met.get(next.as_str()), apps.get(next)) {
                (Some(Met::Done), _) | (None, None) => {}
                (Some(Met::OnTheWay), _) => {
                    let names = way.iter().map(|(name, _)| *name);
                    found.push(names.skip_while(|name| name != next).collect());
                }
                (None, Some(app)) => {
                    met.insert(next, Met::OnTheWay);
                    way.push((next, app.after.iter()));
                }
            }
        }
    }
    found
}

fn report(reader: &Reader<'_>, circle: &[&str]) {
    let Some((&first, rest)) = circle.split_first() else { return };
    let next = rest.first().copied().unwrap_or(first);
    let path = format!("app.{first}.after");
    let references = reader.references.borrow();
    let written = references.iter().find(|reference| {
        reference.noun == Noun::App && reference.name == next && reference.path.starts_with(&path)
    });
    let Some(written) = written else { return };
    let (message, help) = if rest.is_empty() {
        (format!("`app.{first}` cannot start after itself"), "remove it".to_owned())
    } else {
        let way: Vec<_> = circle.iter().chain([&first]).copied().collect();
        let way = way.join(" -> ");
        let message = format!("these apps start after each other, so none would: {way}");
        (message, "take one of them out of the `after` of another".to_owned())
    };
    reader.report(
        Diagnostic::error("circular-order", message)
            .at(reader.locate(written.place))
            .about(&written.path)
            .help(help),
    );
}
