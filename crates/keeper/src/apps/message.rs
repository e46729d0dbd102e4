//! What is told of the apps: the machine's views in the words of the link, small enough for one
//! message.

use std::collections::BTreeMap;
use std::time::Duration;

use evergate_control::link::{
    self, AppLimits, Deploy, DeployPhase, Instance, InstanceState, MESSAGE_BYTES_MAX, Observed,
};
use evergate_core::supervise::fleet::{self, DeployView, Phase, State, View};
use evergate_core::time::Instant;

use super::process::Process;
use super::{Apps, Known, cut};

/// Most runs that are shown: each instance, and as many that are being replaced or do not go.
pub(super) const SHOWN_MAX: usize = 2 * super::INSTANCES_MAX;
/// What texts are cut to, in bytes; the next smaller one if all together is too long otherwise.
const TEXT_BYTES: [usize; 4] = [300, 100, 30, 0];
/// More than the encoding of an instance, a deploy or the limits of an app needs beside its texts.
const FIXED_BYTES: usize = 70;
/// Most lines about the limits of one app.
const LIMIT_LINES_MAX: usize = 6;

impl Apps {
    /// What all apps do; forgets those of which nothing is left.
    pub(super) fn observe(&mut self, now: Instant) -> Observed {
        let views = self.fleet.views(now);
        self.known.retain(|name, known| {
            known.is_desired || views.iter().any(|view| view.run.app == *name)
        });
        let deploys = self.fleet.deploys(now);
        observed(views, deploys, &self.known, &self.processes)
    }
}

/// What all apps do.
fn observed(
    mut views: Vec<View>,
    deploys: Vec<DeployView>,
    known: &BTreeMap<String, Known>,
    processes: &BTreeMap<fleet::Run, Process>,
) -> Observed {
    shorten(&mut views);
    let instances = views.into_iter().map(|view| {
        let (known, process) = (known.get(&view.run.app), processes.get(&view.run));
        instance(view, known, process)
    });
    let limits = known.iter().filter(|(_, known)| !known.limits.is_empty());
    let limits = limits.map(|(app, known)| {
        let kept = known.limits.iter().take(LIMIT_LINES_MAX).cloned().collect();
        AppLimits { app: app.clone(), kept }
    });
    let mut observed = Observed {
        instances: instances.collect(),
        deploys: deploys.into_iter().map(deploy).collect(),
        limits: limits.collect(),
    };
    fit(&mut observed);
    observed
}

/// Whether both say the same but for how long things have lasted and will.
pub(super) fn is_same(one: &Observed, other: &Observed) -> bool {
    let same_instance = |(one, other): (&Instance, &Instance)| {
        timeless(one.state) == timeless(other.state)
            && Instance { state: other.state, since_ms: other.since_ms, ..one.clone() } == *other
    };
    let same_deploy = |(one, other): (&Deploy, &Deploy)| {
        Deploy { since_ms: other.since_ms, ..one.clone() } == *other
    };
    one.instances.len() == other.instances.len()
        && one.deploys.len() == other.deploys.len()
        && one.limits == other.limits
        && one.instances.iter().zip(&other.instances).all(same_instance)
        && one.deploys.iter().zip(&other.deploys).all(same_deploy)
}

fn timeless(state: InstanceState) -> InstanceState {
    match state {
        InstanceState::Draining { for_ms: _ } => InstanceState::Draining { for_ms: 0 },
        InstanceState::Backoff { for_ms: _ } => InstanceState::Backoff { for_ms: 0 },
        InstanceState::Fatal { for_ms } => InstanceState::Fatal { for_ms: for_ms.map(|_| 0) },
        InstanceState::Waiting
        | InstanceState::Starting
        | InstanceState::Ready
        | InstanceState::Unhealthy
        | InstanceState::Stopping
        | InstanceState::Stuck
        | InstanceState::Stopped => state,
    }
}

/// A run in the words of the link.
pub(super) fn run(run: &fleet::Run) -> link::Run {
    link::Run { app: run.app.clone(), number: run.number, generation: run.generation }
}

fn instance(view: View, known: Option<&Known>, process: Option<&Process>) -> Instance {
    let failures_max = known.map_or(0, |known| known.app.backoff.failures);
    let pid = process.and_then(Process::pid);
    Instance {
        run: run(&view.run),
        state: state(view.state),
        since_ms: millis(view.since),
        pid,
        place: pid.and(process).map(Process::place),
        revision: view.revision.0,
        exits: view.exits,
        budget: (view.failures, failures_max),
        last_exit: view.last_exit,
        reason: view.reason,
    }
}

fn state(state: State) -> InstanceState {
    match state {
        State::Waiting => InstanceState::Waiting,
        State::Starting => InstanceState::Starting,
        State::Ready => InstanceState::Ready,
        State::Unhealthy => InstanceState::Unhealthy,
        State::Draining { left } => InstanceState::Draining { for_ms: short_millis(left) },
        State::Stopping => InstanceState::Stopping,
        State::Stuck => InstanceState::Stuck,
        State::Backoff { left } => InstanceState::Backoff { for_ms: short_millis(left) },
        State::Fatal { left } => InstanceState::Fatal { for_ms: left.map(short_millis) },
        State::Stopped => InstanceState::Stopped,
    }
}

fn deploy(view: DeployView) -> Deploy {
    Deploy {
        app: view.app,
        number: view.number,
        revision: view.revision.0,
        phase: match view.phase {
            Phase::Rolling => DeployPhase::Rolling,
            Phase::Soaking => DeployPhase::Soaking,
            Phase::Paused => DeployPhase::Paused,
            Phase::Reverting => DeployPhase::Reverting,
            Phase::Done => DeployPhase::Done,
            Phase::Failed => DeployPhase::Failed,
        },
        done: view.done,
        of: view.of,
        cause: view.cause.to_owned(),
        message: view.message,
        since_ms: millis(view.since),
    }
}

/// Leaves out what is ending already where more is to be shown than may be.
fn shorten(views: &mut Vec<View>) {
    let mut surplus = views.len().saturating_sub(SHOWN_MAX);
    views.retain(|view| {
        let is_ending = matches!(view.state, State::Stuck | State::Stopping);
        let stays = surplus == 0 || !is_ending;
        surplus -= usize::from(!stays);
        stays
    });
    views.truncate(SHOWN_MAX);
}

/// Cuts texts until all of it fits in one message.
fn fit(observed: &mut Observed) {
    for bytes_max in TEXT_BYTES {
        for instance in &mut observed.instances {
            for text in [&mut instance.last_exit, &mut instance.reason] {
                *text = text.take().map(|text| cut(text, bytes_max));
            }
        }
        for deploy in &mut observed.deploys {
            deploy.message = cut(std::mem::take(&mut deploy.message), bytes_max);
        }
        for line in observed.limits.iter_mut().flat_map(|limits| &mut limits.kept) {
            *line = cut(std::mem::take(line), bytes_max);
        }
        if bytes_at_most(observed) <= MESSAGE_BYTES_MAX {
            return;
        }
    }
    debug_assert!(false, "without texts everything fits");
}

/// No fewer than the bytes of `observed` in a message.
fn bytes_at_most(observed: &Observed) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let instances = observed.instances.iter().map(|one| {
        let place = match &one.place {
            Some(link::Place::Unix(path)) => path.len(),
            Some(link::Place::Port(_)) | None => 0,
        };
        FIXED_BYTES + one.run.app.len() + place + text(&one.last_exit) + text(&one.reason)
    });
    let deploys = observed
        .deploys
        .iter()
        .map(|one| FIXED_BYTES + one.app.len() + one.cause.len() + one.message.len());
    let limits = observed.limits.iter().map(|one| {
        FIXED_BYTES + one.app.len() + one.kept.iter().map(|line| 3 + line.len()).sum::<usize>()
    });
    instances.chain(deploys).chain(limits).sum::<usize>() + FIXED_BYTES
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn short_millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use evergate_control::link::{Place, ToWorker, encode};

    use super::*;

    /// As much as there can ever be, with texts of `bytes` each.
    fn longest(bytes: usize) -> Observed {
        let name = |index: usize| format!("{index:0>width$}", width = super::super::NAME_BYTES_MAX);
        let text = || "x".repeat(bytes);
        let instances = (0..SHOWN_MAX).map(|index| Instance {
            run: link::Run { app: name(index), number: u16::MAX, generation: u32::MAX },
            state: InstanceState::Fatal { for_ms: Some(u32::MAX) },
            since_ms: u64::MAX,
            pid: Some(u32::MAX),
            place: Some(Place::Unix("x".repeat(107))),
            revision: u32::MAX,
            exits: u32::MAX,
            budget: (u16::MAX, u16::MAX),
            last_exit: Some(text()),
            reason: Some(text()),
        });
        let deploys = (0..super::super::APPS_MAX).map(|index| Deploy {
            app: name(index),
            number: u32::MAX,
            revision: u32::MAX,
            phase: DeployPhase::Reverting,
            done: u16::MAX,
            of: u16::MAX,
            cause: "the configuration changed".to_owned(),
            message: text(),
            since_ms: u64::MAX,
        });
        let kept = vec![text(); LIMIT_LINES_MAX];
        let limits = (0..super::super::APPS_MAX)
            .map(|index| AppLimits { app: name(index), kept: kept.clone() });
        Observed {
            instances: instances.collect(),
            deploys: deploys.collect(),
            limits: limits.collect(),
        }
    }

    #[test]
    fn whatever_there_is_to_tell_fits_in_one_message() {
        for bytes in [0, 20, 100, 5000] {
            let mut observed = longest(bytes);
            fit(&mut observed);
            let (most, shown) = (bytes_at_most(&observed), observed.instances.len());
            let length = encode(&ToWorker::Observed(observed)).len();
            assert!(length <= most && most <= MESSAGE_BYTES_MAX, "{length}, at most {most}");
            assert_eq!(shown, SHOWN_MAX);
        }
    }

    #[test]
    fn texts_are_cut_only_where_they_must_be() {
        let mut observed = longest(250);
        observed.instances.truncate(16);
        observed.deploys.truncate(4);
        observed.limits.truncate(4);
        let before = observed.clone();
        fit(&mut observed);
        assert_eq!(observed, before);
    }

    #[test]
    fn what_only_lasted_longer_is_the_same() {
        let one = longest(10);
        let mut other = one.clone();
        other.instances[0].since_ms = 7;
        other.instances[0].state = InstanceState::Fatal { for_ms: Some(1) };
        other.deploys[0].since_ms = 7;
        assert!(is_same(&one, &other));
        other.instances[0].state = InstanceState::Fatal { for_ms: None };
        assert!(!is_same(&one, &other));
        other = one.clone();
        other.deploys[0].done = 1;
        assert!(!is_same(&one, &other));
    }

    #[test]
    fn what_ends_is_left_out_first() {
        let view = |number: u16, state| View {
            run: fleet::Run { app: "shop".to_owned(), number, generation: 1 },
            state,
            since: Duration::ZERO,
            revision: fleet::Revision(1),
            exits: 0,
            failures: 0,
            last_exit: None,
            reason: None,
        };
        let mut views =
            vec![view(0, State::Ready), view(1, State::Stuck), view(2, State::Stopping)];
        views.extend((3..=SHOWN_MAX as u16).map(|number| view(number, State::Ready)));
        shorten(&mut views);
        assert_eq!(views.len(), SHOWN_MAX);
        assert!(!views.iter().any(|view| view.state == State::Stuck));
        assert!(views.iter().any(|view| view.state == State::Stopping), "no more than need be");
    }
}
