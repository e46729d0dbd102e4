//! All agents, by section: started, stopped and replaced as the configuration says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evergate_config::Acme;
use evergate_core::renewal::Failure;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::agent::{Agent, Brief};
use crate::{Front, News, State, What};

/// News that wait to be heard; an agent waits while there are more.
const NEWS_QUEUED_MAX: usize = 64;

/// Every agent of this worker. They end with this.
#[derive(Debug)]
pub struct Agents {
    front: Arc<dyn Front>,
    by_name: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<News>,
    receiver: mpsc::Receiver<News>,
    started: u64,
}

#[derive(Debug)]
struct Running {
    section: Acme,
    root: PathBuf,
    number: u64,
    task: AbortHandle,
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

impl Agents {
    /// None yet. Proofs and certificates go to `front`.
    pub fn new(front: Arc<dyn Front>) -> Self {
        let (sender, receiver) = mpsc::channel(NEWS_QUEUED_MAX);
        let (by_name, tasks) = (BTreeMap::new(), JoinSet::new());
        Self { front, by_name, tasks, sender, receiver, started: 0 }
    }

    /// Has one agent for each of `sections`, which keep their things below `root`; those that
    /// stay the same are not disturbed. What is stored is served when this returns. Counts of
    /// orders go on through changes.
    pub async fn set(&mut self, root: &Path, sections: &BTreeMap<String, Acme>) {
        let front = Arc::clone(&self.front);
        self.by_name.retain(|name, running| {
            let stays = sections.contains_key(name);
            if !stays {
                running.task.abort();
                front.withdraw(name);
            }
            stays
        });
        for (name, section) in sections {
            let before = self.by_name.get(name);
            if before.is_some_and(|one| one.section == *section && one.root == root) {
                continue;
            }
            let outcomes = before.map(|one| one.outcomes.clone()).unwrap_or_default();
            if let Some(before) = before {
                before.task.abort();
            }
            self.start(root, name, section, outcomes).await;
        }
    }

    async fn start(&mut self, root: &Path, name: &str, section: &Acme, outcomes: Outcomes) {
        self.started += 1;
        let number = self.started;
        let (front, news) = (&self.front, &self.sender);
        let brief = Brief { name, section, root, front, news, number };
        let (agent, damage) = Agent::prepare(brief).await;
        let state = agent.state();
        let sender = self.sender.clone();
        let first = News {
            section: name.to_owned(),
            what: What::Damaged { what: damage.join("; ") },
            state: state.clone(),
            number,
        };
        let task = self.tasks.spawn(async move {
            if !damage.is_empty() {
                // Nobody listens only when all ends.
                let _ = sender.send(first).await;
            }
            agent.run().await;
        });
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
        let (name, running) = running.find(|(_, one)| one.task.id() == error.id())?;
        let what = What::Crashed { why: error.to_string() };
        let (section, state) = (name.clone(), running.state.clone());
        error.is_panic().then_some(News { section, what, state, number: running.number })
    }
}
