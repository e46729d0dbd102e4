//! Changes beside the file: a journal, or a subject, a line feed and the body of a change.

use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{Changes, Files, Subject, load_with_changes, render};

/// What changes are made of.
pub(crate) const WORDS: &[&str] = &[
    "EVGS",
    "route.api\n",
    "pool.api/a\n",
    "{\"match\": \"/v1/*\", \"pool\": \"api\"}",
    "{\"url\": \"http://10.0.0.7:80\", \"weight\": 2}",
    "\"headers\": {\"authorization\": \"",
    "\"respond\": {\"body\": \"${file:secret}\"}",
    "null",
    "[[]]",
    "1e400",
    "\\u0000",
    "\\\"]\\n[admin]\\n",
    "]\n[admin]\n",
];

const FILE: &str = "[listener.web]\nbind = [\"127.0.0.1:0\"]\n[route.all]\nmatch = \"/*\"\n\
    pool = \"api\"\n[pool.api]\nservers = { a = { url = \"http://10.0.0.7:80\" } }\n";

/// The file, and nothing beside it.
struct Alone;

impl Files for Alone {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let is_main = path == Path::new("evergate.toml");
        if is_main { Ok(FILE.into()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn list(&self, _directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }
}

/// A journal that is read says the same when it is written again, and whatever a change says, it
/// touches nothing but its subject.
pub fn changes(input: &[u8]) {
    if let Ok(changes) = Changes::from_journal(input) {
        let again = changes.to_journal().expect("it was not too long before");
        assert_eq!(Changes::from_journal(&again).as_ref(), Ok(&changes));
        judge(&changes);
    }
    let text = String::from_utf8_lossy(input);
    let Some((subject, body)) = text.split_once('\n') else { return };
    let Ok(subject) = subject.parse::<Subject>() else { return };
    let mut changes = Changes::default();
    if changes.put(&subject, body, 1).is_ok() {
        let written = changes.to_journal().expect("one change is short");
        assert_eq!(Changes::from_journal(&written).as_ref(), Ok(&changes));
        judge(&changes);
    }
}

/// Loads them beside the file.
fn judge(changes: &Changes) {
    let main = Path::new("evergate.toml");
    let plain = load_with_changes(main, &Alone, &Changes::default(), None).expect("it is right");
    match load_with_changes(main, &Alone, changes, None) {
        Err(errors) => assert!(!render(&errors, false).is_empty()),
        Ok(mut loaded) => {
            for (subject, _) in changes.iter() {
                match subject {
                    Subject::Route(name) => {
                        loaded.config.routes.remove(name);
                    }
                    Subject::Server { pool, server } => {
                        let pool = loaded.config.pools.get_mut(pool);
                        pool.map(|pool| pool.servers.remove(server));
                    }
                }
            }
            let mut rest = plain.config;
            rest.routes.retain(|name, _| changes.find(&Subject::Route(name.clone())).is_none());
            for (pool, servers) in
                rest.pools.iter_mut().map(|(name, pool)| (name, &mut pool.servers))
            {
                servers.retain(|server, _| {
                    let subject = Subject::Server { pool: pool.clone(), server: server.clone() };
                    changes.find(&subject).is_none()
                });
            }
            assert_eq!(loaded.config, rest);
        }
    }
}
