//! The keeper becomes another binary in place, and goes on as that, or as this one again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use evergate_control::link::NodeNews;
use evergate_core::rng::Rng;
use evergate_core::upgrade::Input;
use evergate_sys::image::Image;
use evergate_sys::{clock, code, exec, memfd, process, random};
use rustix::event::epoll::{self, EventFlags};

use super::watchdog::Watchdog;
use super::{APPS, Bare, Keeper, LINK, STANDBY, Stopping};
use crate::apps::Apps;
use crate::carried::{Carried, Descriptors, Failed, Kept, Listing, Node, Parts, Taken, close};
use crate::notify::{Notify, Word};
use crate::resume::{Resuming, argv};
use crate::sockets::Sockets;
use crate::standby::Standby;
use crate::upgrades::Upgrades;
use crate::workers::Workers;
use crate::{Error, Options, report};

/// How often the keeper tries to become the same binary.
const TRIES_MAX: u32 = 2;

impl Keeper {
    /// Becomes the binary that is open as `image`. Returns only if it is still this one, and why;
    /// whoever has been away and came back is in [`Keeper::resume`] instead.
    pub(super) fn execute(&mut self, image: &Image) -> String {
        match self.try_execute(image) {
            Err(why) => why,
            Ok(error) => format!("the new binary cannot be run: {error}"),
        }
    }

    fn try_execute(&mut self, image: &Image) -> Result<io::Error, String> {
        if self.stopping != Stopping::No || self.end.is_some() {
            return Err("the node is stopping".to_owned());
        }
        let failed = Failed::again(self.failed, image.identity());
        if failed.times > TRIES_MAX {
            return Err(format!(
                "this binary failed {TRIES_MAX} times to go on from here; the keeper stays what it \
                 is until it is upgraded to another one, or Evergate is restarted"
            ));
        }
        self.failed = Some(failed);
        self.act(clock::now());
        let said = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let own = Image::own().map_err(said("cannot open the running binary"))?;
        let (state, fds) = self.blob().map_err(said("cannot write down what is known"))?;
        let argv = argv(state.as_fd(), &own, self.standby.guard());
        let kept: Vec<_> = fds.into_iter().chain([state.as_fd(), own.as_fd()]).collect();
        Ok(exec::replace(image.as_fd(), &argv, &kept))
    }

    /// What is known, in a sealed file, and the descriptors that belong to it.
    pub(super) fn blob(&self) -> io::Result<(OwnedFd, Vec<BorrowedFd<'_>>)> {
        let mut listing = Listing::default();
        let mut parts = Parts {
            node: Node {
                failed: self.failed,
                is_settled: self.is_settled,
                reload: self.reload,
                trial: self.trial.clone(),
                ..Node::new(&self.options, self.execs)
            },
            sockets: self.sockets.carry(&mut listing),
            workers: self.workers.carry(&mut listing)?,
            fleet: self.apps.fleet(),
            apps: self.apps.carry(&mut listing),
            news: self.apps.carry_news(&mut listing),
            kept: Kept::carry(&self.kept, &mut listing),
            upgrades: self.upgrades.carry(),
            standby: self.standby.carry(&mut listing),
            descriptors: Default::default(),
        };
        let (descriptors, fds) = listing.finish()?;
        parts.descriptors = descriptors;
        let blob = parts.encode().ok_or_else(|| io::Error::other("it is too long"))?;
        Ok((memfd::seal("evergate-state", &blob)?, fds))
    }

    /// Goes on from what the image before wrote down; `resuming` is the way back until all is well.
    pub(crate) fn resume(options: Options, resuming: Resuming) -> Result<Self, Error> {
        match Self::read(options, &resuming) {
            Ok((keeper, carried)) => Ok(keeper.go_on(resuming, carried)),
            Err(why) => Err(Error::Resume(resuming.give_up(why))),
        }
    }

    /// What can fail comes first: while only copies exist, nothing is lost with them. After that
    /// whatever fails is a panic, because then files go with the values that they belong to.
    fn read(options: Options, resuming: &Resuming) -> Result<(Self, Rest), String> {
        let blob = resuming.blob().map_err(|error| format!("the state cannot be read: {error}"))?;
        let carried = Carried::decode(&blob)?;
        for (pid, started_ticks) in carried.children() {
            find_child(pid, started_ticks)?;
        }
        let mut taken = Taken::copy(&carried.descriptors, resuming.inherited())?;
        let now = clock::now();
        let Bare { events, timer, signals, files_before: _ } =
            Bare::new().map_err(|error| error.to_string())?;
        let rng = Rng::seeded(random::seed());
        let apps = Apps::resume(carried.apps, carried.news, (carried.fleet, rng), now, &mut taken)
            .map_err(|error| format!("apps cannot be heard: {error}"))?;
        let workers = Workers::resume(carried.workers, &options, &mut taken);
        let standby = Standby::resume(carried.standby, &mut taken, now)?;
        let links = workers.iter().filter_map(|(_, worker)| worker.link.as_ref());
        links
            .map(|link| epoll::add(&events, link, LINK, EventFlags::IN))
            .chain([epoll::add(&events, &apps, APPS, EventFlags::IN)])
            .chain(standby.events().map(|all| epoll::add(&events, all, STANDBY, EventFlags::IN)))
            .for_each(|added| added.expect("what was waited for can be waited for"));
        let upgrades = Upgrades::resume(carried.upgrades, &workers.binary);
        let notify = Notify::from_env();
        let watchdog = notify.watchdog().map(|within| Watchdog::new(within, now));
        let keeper = Self {
            events,
            timer,
            signals,
            notify,
            sockets: Sockets::resume(carried.sockets, &taken),
            apps,
            workers,
            kept: carried.kept.resume(&taken),
            stopping: Stopping::No,
            is_settled: carried.node.is_settled,
            // Whoever exited meanwhile waits to be reaped.
            has_exits: true,
            end: None,
            told: NodeNews::default(),
            execs: carried.node.execs,
            failed: carried.node.failed,
            due: None,
            is_helpless: None,
            waiting: None,
            reload: carried.node.reload,
            trial: carried.node.trial,
            watchdog,
            giving_up_until: None,
            extend_at: None,
            upgrades,
            standby,
            options,
        };
        Ok((keeper, Rest { descriptors: carried.descriptors, given_up: carried.given_up }))
    }

    /// All is well: there is no way back from here.
    fn go_on(mut self, resuming: Resuming, rest: Rest) -> Self {
        let came_back = resuming.came_back().map(str::to_owned);
        close(&rest.descriptors, &mut resuming.go_on());
        for line in rest.given_up {
            report(format_args!("{line}"));
        }
        match came_back {
            Some(why) => {
                self.drive(clock::now(), Input::Stayed(why));
            }
            None => {
                self.standby.go_on(clock::now());
                self.execs = self.execs.saturating_add(1);
                self.failed = None;
                self.drive(clock::now(), Input::Executed);
                // The end of a reload says so by itself.
                if self.is_settled && self.reload.is_none() {
                    self.notify.send(Word::Ready { status: None });
                }
                if self.is_settled {
                    // The start is over; where it cannot be given back it is only memory.
                    let _ = code::release();
                }
            }
        }
        self
    }
}

/// What is left to do once a keeper goes on.
struct Rest {
    descriptors: Descriptors,
    given_up: Vec<String>,
}

/// Makes sure that a child is still ours, running or not yet reaped.
fn find_child(pid: u32, started_ticks: u64) -> Result<(), String> {
    match process::kin(pid) {
        // Of one that could not be asked when it was started the time is 0.
        Ok(kin) if started_ticks != 0 && kin.known.started_ticks != started_ticks => {
            Err(format!("process {pid} is another one than it was"))
        }
        Ok(kin) if kin.parent != std::process::id() => {
            Err(format!("process {pid} is no child of the keeper"))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(format!("process {pid} is not there: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_found_running_or_not_yet_reaped_and_nobody_else_is_taken_for_it() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let started = process::kin(pid).unwrap().known.started_ticks;
        assert_eq!(find_child(pid, started), Ok(()));
        assert_eq!(find_child(pid, 0), Ok(()), "nobody knew when it started");
        let refused = |pid, started, why: &str| {
            let refused = find_child(pid, started).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        };
        refused(pid, started + 1, "is another one than it was");
        let own = std::process::id();
        let started_self = process::kin(own).unwrap().known.started_ticks;
        refused(own, started_self, "is no child of the keeper");
        drop(child.stdin.take());
        while !process::kin(pid).unwrap().is_zombie {
            std::thread::yield_now();
        }
        assert_eq!(find_child(pid, started), Ok(()), "it waits to be reaped");
        child.wait().unwrap();
        refused(pid, started, "is not there");
    }
}
