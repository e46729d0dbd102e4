//! An app as the worker wants it, with the revisions that it has had.

use std::collections::BTreeMap;
use std::rc::Rc;

use evergate_control::link::App;
use evergate_core::supervise::fleet::Revision as Number;

use super::revision::Revision;
use super::{APPS_MAX, INSTANCES_MAX, NAME_BYTES_MAX};
use crate::report;

/// Most revisions of an app that are remembered beside those that run.
const REVISIONS_KEPT: u32 = 16;

/// An app, for as long as anything of it is there.
#[derive(Debug)]
pub(super) struct Known {
    /// As it is desired, or was last.
    pub(super) app: App,
    pub(super) is_desired: bool,
    /// The number of the newest revision.
    pub(super) newest: u32,
    pub(super) revisions: BTreeMap<u32, Rc<Revision>>,
    /// How its limits are kept, a line for each.
    pub(super) limits: Vec<String>,
}

impl Known {
    pub(super) fn new(app: App) -> Self {
        let first = Rc::new(Revision::new(app.clone()));
        let mut known = Self {
            app,
            is_desired: true,
            newest: 0,
            revisions: BTreeMap::new(),
            limits: Vec::new(),
        };
        known.add(first);
        known
    }

    pub(super) fn add(&mut self, revision: Rc<Revision>) {
        self.newest = self.newest.saturating_add(1);
        self.revisions.insert(self.newest, revision);
    }

    /// Goes by what is desired now.
    pub(super) fn desire(&mut self, app: App) {
        let is_same = self.app.restarts_for(&app).is_empty();
        self.app = app;
        self.is_desired = true;
        if !is_same {
            self.add(Rc::new(Revision::new(self.app.clone())));
        }
    }

    /// Whether the memory that its runs use is of interest.
    pub(super) fn is_watched(&self) -> bool {
        self.app.memory_watch.is_some()
    }

    /// Forgets revisions that nothing can be of any more.
    pub(super) fn prune(&mut self, used: &[Number]) {
        let newest = self.newest;
        self.revisions.retain(|&number, _| {
            newest - number < REVISIONS_KEPT || used.contains(&Number(number))
        });
    }
}

/// The apps that can be run of those that are desired; each with as many instances as there is
/// room for.
pub(super) fn admit(desired: Vec<App>) -> Vec<App> {
    let mut room = INSTANCES_MAX;
    let mut admitted: Vec<App> = Vec::with_capacity(desired.len());
    for mut app in desired {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = !app.name.is_empty() && app.name.bytes().all(is_plain);
        if !is_name || app.name.starts_with('.') || app.name.len() > NAME_BYTES_MAX {
            report(format_args!("an app has a name that is none, or is too long; it does not run"));
            continue;
        }
        if admitted.len() == APPS_MAX {
            report(format_args!("more than {APPS_MAX} apps; {} does not run", app.name));
            continue;
        }
        if usize::from(app.instances) > room {
            report(format_args!(
                "more than {INSTANCES_MAX} instances; of {} only {room} run",
                app.name
            ));
            app.instances = room as u16;
        }
        room -= usize::from(app.instances);
        admitted.push(app);
    }
    admitted
}
