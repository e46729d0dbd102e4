//! What other machines answer over TCP and HTTP: shown beside heartbeats, so that people can tell
//! what is wrong with one. It decides nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use evergate_config::Config;
use evergate_control::snapshot::EvidenceStatus;
use evergate_gateway::ask_machine;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use std::sync::{Arc, Mutex};

/// From the end of one question to the next.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Everything that is asked, and the answers so far.
#[derive(Debug, Default)]
pub(in crate::worker) struct Evidence {
    /// By machine, in the order of the configuration.
    asked: BTreeMap<String, Vec<Asking>>,
}

/// What is asked of a machine.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Question {
    words: String,
    address: SocketAddr,
    /// To GET; without one it is enough that connections are accepted.
    path: Option<String>,
}

/// A question that is asked again and again. Dropped, that ends.
#[derive(Debug)]
struct Asking {
    question: Question,
    answer: Arc<Mutex<EvidenceStatus>>,
    task: AbortHandle,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Evidence {
    /// Asks what `config` wants asked, and nothing else.
    pub(in crate::worker) fn follow(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.asked);
        for (name, peer) in &config.peers {
            let mut known = before.remove(name).unwrap_or_default();
            let asked = questions(peer).into_iter().map(|question| {
                let same = known.iter().position(|asking| asking.question == question);
                same.map_or_else(|| Asking::start(question), |at| known.swap_remove(at))
            });
            let asked = asked.collect();
            self.asked.insert(name.clone(), asked);
        }
    }

    /// Asks nothing any more: another worker does.
    pub(in crate::worker) fn rest(&mut self) {
        self.asked.clear();
    }

    /// What is known of a machine.
    pub(in crate::worker) fn of(&self, peer: &str) -> Vec<EvidenceStatus> {
        let asked = self.asked.get(peer).into_iter().flatten();
        asked.map(|asking| asking.answer.lock().expect("nobody panics with it").clone()).collect()
    }
}

impl Asking {
    fn start(question: Question) -> Self {
        let unknown = EvidenceStatus {
            question: question.words.clone(),
            answers: None,
            detail: "not asked yet".to_owned(),
        };
        let answer = Arc::new(Mutex::new(unknown));
        let task = tokio::spawn(ask(question.clone(), Arc::clone(&answer))).abort_handle();
        Self { question, answer, task }
    }
}

/// Until it is aborted.
async fn ask(question: Question, answer: Arc<Mutex<EvidenceStatus>>) {
    loop {
        let outcome = ask_machine(question.address, question.path.as_deref(), ANSWER_WITHIN).await;
        let (answers, detail) = match outcome {
            Ok(None) => (true, "accepts connections".to_owned()),
            Ok(Some(status)) => ((200..400).contains(&status), format!("status {status}")),
            Err(failure) => (false, failure.to_string()),
        };
        {
            let mut answer = answer.lock().expect("nobody panics with it");
            (answer.answers, answer.detail) = (Some(answers), detail);
        }
        sleep(ASK_EVERY).await;
    }
}

fn questions(peer: &evergate_config::Peer) -> Vec<Question> {
    let tcp = peer.tcp.iter().map(|address| Question {
        words: format!("tcp {address}"),
        address: *address,
        path: None,
    });
    let http = peer.http.iter().map(|url| Question {
        words: format!("http {url}"),
        address: url.address,
        path: Some(url.path.clone()),
    });
    tcp.chain(http).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::worker::apps::tests::config;

    /// Answers each request with this status.
    async fn server(status: u16) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                if stream.read(&mut request).await.is_ok() {
                    let response = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                    drop(stream.write_all(response.as_bytes()).await);
                }
            }
        });
        address
    }

    async fn answers(evidence: &Evidence) -> Vec<(bool, String)> {
        loop {
            let known = evidence.of("edge-b");
            if known.iter().all(|one| one.answers.is_some()) {
                return known
                    .into_iter()
                    .map(|one| (one.answers == Some(true), one.detail))
                    .collect();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn machines_are_asked_and_their_answers_told() {
        let (good, bad) = (server(302).await, server(503).await);
        // No port that was just let go of: another test may have it by now.
        let nobody = "127.0.0.1:1";
        let text = format!(
            "[peer.edge-b]\naddresses = [\"127.0.0.2\"]\ntcp = [\"{good}\", \"{nobody}\"]\n\
             http = [\"http://{good}/a\", \"http://{bad}/b\"]\n"
        );
        let mut evidence = Evidence::default();
        evidence.follow(&config(&text));
        let expected = [
            (true, "accepts connections".to_owned()),
            (false, "nothing listens".to_owned()),
            (true, "status 302".to_owned()),
            (false, "status 503".to_owned()),
        ];
        assert_eq!(answers(&evidence).await, expected);
        assert_eq!(evidence.of("edge-b")[2].question, format!("http http://{good}/a"));
        // What stays is not asked afresh; what is gone is forgotten.
        evidence.follow(&config(&text.replace("tcp = [", "#tcp = [")));
        assert_eq!(evidence.of("edge-b")[0].detail, "status 302");
        assert_eq!(evidence.of("edge-b").len(), 2);
        evidence.rest();
        assert!(evidence.of("edge-b").is_empty());
    }
}
