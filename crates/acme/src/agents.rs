//! All agents, by section: started, stopped and replaced as the configuration says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evergate_config::Acme;
use evergate_core::renewal::Failure;
use tokio::sync::{RwLock, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::agent::{Agent, Brief};
use crate::{Front, News, State, What};

/// News that wait to be heard; an agent waits while there are more.
const NEWS_QUEUED_MAX: usize = 64;
/// Longest wait for a write that is under way when agents are put to rest.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Every agent of this worker. They end with this.
///
/// Only one process may have agents at work for the same files; others put theirs to rest, and
/// serve what is stored.
#[derive(Debug)]
pub struct Agents {
    front: Arc<dyn Front>,
    by_name: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<News>,
    receiver: mpsc::Receiver<News>,
    started: u64,
    is_at_rest: bool,
    /// Held for reading by whoever writes a file.
    writing: Arc<RwLock<()>>,
}

#[derive(Debug)]
struct Running {
    section: Acme,
    root: PathBuf,
    number: u64,
    /// None of one at rest.
    task: Option<AbortHandle>,
    state: State,
    outcomes: Outcomes,
}

/// Orders by outcome.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcomes {
    /// Certificates issued.
    pub issued: u64,
    /// Orders that failed, by kind.
    pub failed: BTreeMap<Failure, u64>,
}

impl Running {
    fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Agents {
    /// None yet. Proofs and certificates go to `front`.
    pub fn new(front: Arc<dyn Front>) -> Self {
        let (sender, receiver) = mpsc::channel(NEWS_QUEUED_MAX);
        let (by_name, tasks) = (BTreeMap::new(), JoinSet::new());
        Self {
            front,
            by_name,
            tasks,
            sender,
            receiver,
            started: 0,
            is_at_rest: false,
            writing: Arc::default(),
        }
    }

    /// Has one agent for each of `sections`, which keep their things below `root`; those that
    /// stay the same are not disturbed. What is stored is served when this returns. Counts of
    /// orders go on through changes.
    pub async fn set(&mut self, root: &Path, sections: &BTreeMap<String, Acme>) {
        let front = Arc::clone(&self.front);
        self.by_name.retain(|name, running| {
            let stays = sections.contains_key(name);
            if !stays {
                running.end();
                front.withdraw(name);
            }
            stays
        });
        for (name, section) in sections {
            let before = self.by_name.get_mut(name);
            if before.as_ref().is_some_and(|one| one.section == *section && one.root == root) {
                continue;
            }
            let outcomes = before.map(|one| {
                one.end();
                one.outcomes.clone()
            });
            self.start(root, name, section, outcomes.unwrap_or_default()).await;
        }
    }

    /// Has no agent order or renew anything, until [`Agents::wake`]; what is served stays served,
    /// and [`Agents::set`] serves what is stored. An order under way is given up: whoever works
    /// next begins another. Nothing is written any more when this returns, unless the disk stands
    /// still.
    pub async fn rest(&mut self) {
        self.is_at_rest = true;
        self.by_name.values_mut().for_each(Running::end);
        while self.tasks.join_next().await.is_some() {}
        // A disk that stands still is not waited for.
        drop(timeout(WRITE_WAIT_MAX, self.writing.write()).await);
    }

    /// Has the agents work again, each from what is stored now, which is served when this returns.
    pub async fn wake(&mut self) {
        if !std::mem::take(&mut self.is_at_rest) {
            return;
        }
        let resting: Vec<_> = self
            .by_name
            .iter()
            .map(|(name, one)| {
                (name.clone(), one.root.clone(), one.section.clone(), one.outcomes.clone())
            })
            .collect();
        for (name, root, section, outcomes) in resting {
            self.start(&root, &name, &section, outcomes).await;
        }
    }

    async fn start(&mut self, root: &Path, name: &str, section: &Acme, outcomes: Outcomes) {
        self.started += 1;
        let number = self.started;
        let (front, news, writing) = (&self.front, &self.sender, &self.writing);
        let brief = Brief { name, section, root, front, news, number, writing };
        let (agent, damage) = Agent::prepare(brief).await;
        let state = agent.state();
        let sender = self.sender.clone();
        let first = News {
            section: name.to_owned(),
            what: What::Damaged { what: damage.join("; ") },
            state: state.clone(),
            number,
        };
        let work = async move {
            if !damage.is_empty() {
                // Nobody listens only when all ends.
                let _ = sender.send(first).await;
            }
            agent.run().await;
        };
        let task = (!self.is_at_rest).then(|| self.tasks.spawn(work));
        let (section, root) = (section.clone(), root.to_owned());
        let running = Running { section, root, number, task, state, outcomes };
        self.by_name.insert(name.to_owned(), running);
    }

    /// Waits for the next thing to be told. Cancel safe.
    pub async fn next(&mut self) -> News {
        loop {
            let news = tokio::select! {
                Some(news) = self.receiver.recv() => news,
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    let Err(error) = ended else { continue };
                    let Some(news) = self.crashed(&error) else { continue };
                    news
                }
            };
            let Some(running) = self.by_name.get_mut(&news.section) else { continue };
            if running.number != news.number {
                continue;
            }
            running.state = news.state.clone();
            match &news.what {
                What::Issued { .. } => running.outcomes.issued += 1,
                What::Failed { kind, .. } => {
                    *running.outcomes.failed.entry(*kind).or_default() += 1
                }
                What::Damaged { .. }
                | What::Ordered { .. }
                | What::Planned { .. }
                | What::Postponed { .. }
                | What::Crashed { .. } => {}
            }
            return news;
        }
    }

    /// How `[acme.NAME]` stands.
    pub fn state(&self, name: &str) -> Option<&State> {
        self.by_name.get(name).map(|running| &running.state)
    }

    /// Every section with how it stands and how its orders ended, in order of name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &State, &Outcomes)> {
        self.by_name.iter().map(|(name, one)| (name.as_str(), &one.state, &one.outcomes))
    }

    /// What to tell of a task that ended although nobody ended it.
    fn crashed(&self, error: &tokio::task::JoinError) -> Option<News> {
        let mut running = self.by_name.iter();
        let (name, running) = running
            .find(|(_, one)| one.task.as_ref().is_some_and(|task| task.id() == error.id()))?;
        let what = What::Crashed { why: error.to_string() };
        let (section, state) = (name.clone(), running.state.clone());
        error.is_panic().then_some(News { section, what, state, number: running.number })
    }
}

#[cfg(test)]
mod tests {
    use evergate_config::Challenge;
    use evergate_pki::Identity;

    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl Front for Nobody {
        fn serve(&self, _: &str, _: Identity) {}
        fn withdraw(&self, _: &str) {}
        fn prove_over_http(&self, _: &str, _: String) {}
        fn end_http_proof(&self, _: &str) {}
        fn prove_in_handshake(&self, _: &str, _: Identity) {}
        fn end_handshake_proof(&self, _: &str) {}
    }

    /// A section whose authority nobody can reach.
    fn section() -> Acme {
        Acme {
            directory: "https://127.0.0.1:1/directory".into(),
            email: None,
            domains: vec!["a.test".into()],
            challenge: Challenge::TlsAlpn01,
            ca: None,
            renew_before: None,
        }
    }

    /// Waits until an order has failed.
    async fn failed(agents: &mut Agents) {
        while !matches!(agents.next().await.what, What::Failed { .. }) {}
    }

    #[tokio::test]
    async fn nothing_is_ordered_at_rest_and_all_goes_on_from_what_is_stored() {
        let root = tempfile::tempdir().unwrap();
        let root = crate::prepare_root(root.path(), None).unwrap();
        let sections = BTreeMap::from([("le".to_owned(), section())]);
        let mut agents = Agents::new(Arc::new(Nobody));
        agents.rest().await;
        agents.set(&root, &sections).await;
        assert!(agents.tasks.is_empty() && agents.state("le").is_some());

        agents.wake().await;
        failed(&mut agents).await;
        agents.rest().await;
        assert!(agents.tasks.is_empty(), "the task has ended when this returns");
        let (_, state, outcomes) = agents.all().next().unwrap();
        assert_eq!(outcomes.failed.values().sum::<u64>(), 1, "{state:?}");

        agents.wake().await;
        agents.wake().await;
        assert_eq!(agents.tasks.len(), 1);
        let (_, state, outcomes) = agents.all().next().unwrap();
        assert_eq!(outcomes.failed.values().sum::<u64>(), 1, "counts go on");
        assert!(state.renew_at.is_some());
    }
}
