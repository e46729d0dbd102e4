//! Runs on their way into the next image of the keeper.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use evergate_control::link;
use evergate_sys::notify_socket::NotifySocket;
use evergate_sys::tree::{self, Tree};
use minicbor::{Decode, Encode};

use super::{Place, Process, Talk};
use crate::apps::folder::Folder;
use crate::apps::notices::Ears;
use crate::apps::output::{CarriedPipe, Pipe};
use crate::apps::revision::{CarriedRevision, Revision};
use crate::carried::{Fd, Listing, Taken, Uses};

/// A run.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(in crate::apps) struct CarriedProcess {
    #[n(0)]
    run: link::Run,
    #[n(1)]
    is_over: bool,
    #[n(2)]
    is_killed: bool,
    #[n(3)]
    tree: tree::Carried,
    /// Number of its revision among those of its app.
    #[n(4)]
    revision: Option<u32>,
    /// Its revision, if the app has forgotten that.
    #[n(5)]
    forgotten: Option<CarriedRevision>,
    #[n(6)]
    place: CarriedPlace,
    #[n(7)]
    pipe: Option<CarriedPipe>,
    #[n(8)]
    notify: Option<CarriedNotify>,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
enum CarriedPlace {
    #[n(0)]
    Port(#[n(0)] u16),
    /// The directory of its socket.
    #[n(1)]
    Unix(#[n(0)] String),
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedNotify {
    #[n(0)]
    socket: Fd,
    #[n(1)]
    path: String,
}

impl CarriedProcess {
    pub(in crate::apps) fn run(&self) -> link::Run {
        self.run.clone()
    }

    /// Name of its app.
    pub(in crate::apps) fn app(&self) -> &str {
        &self.run.app
    }

    /// The port that it has.
    pub(in crate::apps) fn port(&self) -> Option<u16> {
        match self.place {
            CarriedPlace::Port(port) => Some(port),
            CarriedPlace::Unix(_) => None,
        }
    }

    /// Its first process and when that started, unless it was reaped.
    pub(in crate::apps) fn child(&self) -> Option<(u32, u64)> {
        (!self.is_over).then_some(self.tree.main)
    }

    /// What it refers to.
    pub(in crate::apps) fn uses(&self, uses: &mut Uses) {
        self.pipe.iter().for_each(|pipe| pipe.uses(uses));
        self.notify.iter().for_each(|notify| uses.own(notify.socket));
    }

    /// Whether its revision is there.
    pub(in crate::apps) fn check(&self, knows: impl Fn(u32) -> bool) -> Result<(), String> {
        match (self.revision, &self.forgotten) {
            (Some(number), None) if knows(number) => Ok(()),
            (None, Some(_)) => Ok(()),
            (Some(_), _) | (None, None) => {
                let link::Run { app, number, generation } = &self.run;
                Err(format!("nobody knows what {app}/{number}, run {generation}, runs"))
            }
        }
    }

    /// The run; `revisions` are those of its app.
    pub(in crate::apps) fn resume(
        self,
        revisions: Option<&BTreeMap<u32, Rc<Revision>>>,
        ears: &Ears,
        taken: &mut Taken,
    ) -> Process {
        let known = self.revision.and_then(|number| revisions?.get(&number).cloned());
        let revision = known.or_else(|| Some(Rc::new(Revision::resume(self.forgotten?))));
        let notify = self.notify.map(|notify| {
            let socket = NotifySocket::resume(taken.owned(notify.socket), notify.path.into());
            ears.listen(&socket).expect("it was listened to before");
            socket
        });
        Process {
            is_over: self.is_over,
            is_killed: self.is_killed,
            tree: Tree::resume(self.tree),
            revision: revision.expect("one of the two is there, as was checked"),
            place: match self.place {
                CarriedPlace::Port(port) => Place::Port(port),
                CarriedPlace::Unix(path) => Place::Unix(Folder::resume(PathBuf::from(path))),
            },
            talk: Talk { pipe: self.pipe.map(|pipe| Pipe::resume_carried(pipe, taken)), notify },
        }
    }
}

impl Process {
    /// What it is a run of.
    pub(in crate::apps) fn revision(&self) -> &Rc<Revision> {
        &self.revision
    }

    /// All that there is of it; `revision` is the number of its own, if its app knows that.
    pub(in crate::apps) fn carry<'a>(
        &'a self,
        run: link::Run,
        revision: Option<u32>,
        listing: &mut Listing<'a>,
    ) -> CarriedProcess {
        CarriedProcess {
            run,
            is_over: self.is_over,
            is_killed: self.is_killed,
            tree: self.tree.carry(),
            revision,
            forgotten: revision.is_none().then(|| self.revision.carry()),
            place: match &self.place {
                Place::Port(port) => CarriedPlace::Port(*port),
                Place::Unix(folder) => CarriedPlace::Unix(folder.path().to_owned()),
            },
            pipe: self.talk.pipe.as_ref().map(|pipe| pipe.carry(listing)),
            notify: self.talk.notify.as_ref().map(|socket| CarriedNotify {
                socket: listing.add(socket),
                path: socket.path().to_string_lossy().into_owned(),
            }),
        }
    }
}

#[cfg(test)]
impl CarriedProcess {
    /// Instance 0 listens on a port and prints, all others have a directory and say how they are.
    pub(in crate::apps) fn sample(app: &str, number: u16) -> Self {
        let group = evergate_sys::cgroup::Carried {
            is_v2: true,
            directory: "/sys/fs/cgroup/evergate-1-100/shop.0.7".to_owned(),
            controllers: vec!["memory".to_owned()],
            is_freezer: false,
        };
        let first = number == 0;
        let directory = format!("/run/evergate/apps/{app}.{number}.7");
        Self {
            run: link::Run { app: app.to_owned(), number, generation: 7 },
            is_over: !first,
            is_killed: !first,
            tree: tree::Carried {
                main: (4000 + u32::from(number), 777),
                main_is_reaped: !first,
                token: format!("1-{app}.{number}.7"),
                group: vec![group],
                seen: vec![(4100, 778)],
                sessions: vec![4000],
            },
            revision: first.then_some(1),
            forgotten: (!first).then(|| CarriedRevision::sample(link::App::default())),
            place: match first {
                true => CarriedPlace::Port(31_000),
                false => CarriedPlace::Unix(directory.clone()),
            },
            pipe: first.then(|| CarriedPipe::sample(20)),
            notify: (!first)
                .then(|| CarriedNotify { socket: Fd::of(22), path: format!("{directory}.notify") }),
        }
    }
}
