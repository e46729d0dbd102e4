//! Changes beside the file: how they merge, what does not fit, and what is shown of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{
    Action, Changes, Diagnostic, Files, Loaded, Subject, load_with_changes, recall, remember,
    render, to_toml, to_toml_with,
};

/// Files in memory.
struct Memory(RefCell<BTreeMap<PathBuf, String>>);

impl Memory {
    fn new(text: &str) -> Self {
        Self(RefCell::new([(PathBuf::from("/etc/eg/evergate.toml"), text.to_owned())].into()))
    }

    fn write(&self, path: &str, text: &str) {
        self.0.borrow_mut().insert(path.into(), text.to_owned());
    }

    fn load(&self, changes: &Changes) -> Result<Loaded, Vec<Diagnostic>> {
        self.try_out(changes, None)
    }

    fn try_out(
        &self,
        changes: &Changes,
        fresh: Option<&Subject>,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        load_with_changes(Path::new("/etc/eg/evergate.toml"), self, changes, fresh)
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.borrow().get(path).cloned();
        text.map(String::into_bytes).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, _directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn mode(&self, _path: &Path) -> Option<u32> {
        Some(0o600)
    }
}

const FILE: &str = r#"[listener.web]
bind = ["127.0.0.1:0"]
[route.api]
match = "/v1/*"
pool = "api"
[route.old]
match = "/old"
respond = { body = "from the file" }
[pool.api]
servers = { a = { url = "http://10.0.0.7:80" }, b = { url = "http://10.0.0.8:80" } }
"#;

fn subject(text: &str) -> Subject {
    text.parse().expect("it names something")
}

/// `(subject, body)`; without a body it is hidden.
fn changes(all: &[(&str, Option<&str>)]) -> Changes {
    let mut changes = Changes::default();
    for (name, body) in all {
        match body {
            Some(body) => changes.put(&subject(name), body, 7).expect("an object"),
            None => changes.hide(&subject(name), 7).expect("there is room"),
        }
    }
    changes
}

fn shown(errors: &[Diagnostic]) -> String {
    render(errors, false)
}

#[test]
fn a_change_adds_replaces_and_hides_by_name() {
    let memory = Memory::new(FILE);
    let changes = changes(&[
        ("route.new", Some(r#"{"match": "/new", "respond": {"body": "from a change"}}"#)),
        ("route.api", Some(r#"{"match": "/v2/*", "pool": "api"}"#)),
        ("route.old", None),
        ("route.never", None),
        ("pool.api/b", None),
        ("pool.api/a", Some(r#"{"url": "http://10.0.0.9:80", "weight": 3}"#)),
        ("pool.api/c", Some(r#"{"url": "http://10.0.0.10:80"}"#)),
    ]);
    let loaded = memory.load(&changes).expect("it fits");
    let config = &loaded.config;
    assert_eq!(config.routes.keys().collect::<Vec<_>>(), ["api", "new"]);
    assert_eq!(config.routes["api"].pattern, "/v2/*");
    assert_eq!(config.routes["new"].origin, "change route.new:1");
    let servers = &config.pools["api"].servers;
    assert_eq!(servers.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(servers["a"].weight, 3);
    let at = |name| loaded.stands_at(&subject(name)).map(str::to_owned);
    assert_eq!(at("route.api").as_deref(), Some("/etc/eg/evergate.toml:3"));
    assert_eq!(at("route.old").as_deref(), Some("/etc/eg/evergate.toml:6"));
    assert_eq!(at("pool.api/b").as_deref(), Some("/etc/eg/evergate.toml:10"));
    assert_eq!((at("route.new"), at("route.never"), at("pool.api/c")), (None, None, None));
    assert_eq!(loaded.changes(), &changes);
    assert_eq!(loaded.sources.len(), 1, "a change is no file");

    let text = to_toml_with(config, &changes);
    for line in [
        "# route.old is hidden by a change",
        "# route.new comes from a change\n[route.new]",
        "# pool.api/a comes from a change\n# pool.api/c comes from a change\n[pool.api]",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let plain: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(plain.join("\n").trim_start(), to_toml(config).trim_end());
}

#[test]
fn a_change_that_is_forgotten_brings_the_file_back() {
    let memory = Memory::new(FILE);
    let mut changes = changes(&[("route.old", None), ("pool.api/a", Some(r#"{"app": "gone"}"#))]);
    assert!(memory.load(&changes).is_err());
    changes.forget(&subject("pool.api/a"));
    changes.forget(&subject("route.old"));
    let loaded = memory.load(&changes).expect("the file is right");
    assert!(
        matches!(&loaded.config.routes["old"].action, Action::Respond { body, .. } if body == "from the file")
    );
    assert_eq!(loaded.config.pools["api"].servers.len(), 2);
}

#[test]
fn errors_in_a_change_are_explained_like_those_in_a_file() {
    let memory = Memory::new(FILE);
    let new = subject("route.new");
    let tried =
        changes(&[("route.new", Some(r#"{"match": "/new", "pol": "api", "use": ["no"]}"#))]);
    let errors = memory.try_out(&tried, Some(&new)).expect_err("it is wrong");
    assert_eq!(
        shown(&errors),
        r#"error[no-action]: `route.new` does nothing: it has no action
 --> change route.new:1:8
  |
1 | [route.new]
  |        ^^^
  |
  = help: write one of `pool = "NAME"`, `redirect = { to = "…" }`, `respond = { … }`, `static = { root = "…" }`, `health = {}`

error[unknown-key]: unknown key `pol` in `route.new`
 --> change route.new:3:1
  |
3 | pol = "api"
  | ^^^
  |
  = help: did you mean `pool`?

error[unknown-reference]: there is no middleware `no`
 --> change route.new:4:8
  |
4 | use = ["no"]
  |        ^^^^
  |
  = help: write a section `[middleware.no]`

3 errors, 0 warnings
"#
    );
    assert_eq!(errors[1].path, "route.new.pol");
}

#[test]
fn a_file_that_a_change_does_not_fit_any_more_is_refused_with_both_and_the_way_out() {
    let memory = Memory::new(&FILE.replace("/old", "/new"));
    let kept = changes(&[("route.new", Some(r#"{"match": "/new", "pool": "api"}"#))]);
    let errors = memory.load(&kept).expect_err("two take the same");
    assert_eq!(
        shown(&errors),
        "error[route-conflict]: `route.old` and `route.new` take the same requests, and neither \
         is more specific
 --> change route.new:1:8
  |
1 | [route.new]
  |        ^^^
  |
 ::: /etc/eg/evergate.toml:6:8
  |
6 | [route.old]
  |        --- the other one
  |
  = help: make one more specific, by host, path, `methods` or `headers`, or remove it; or run \
         `evergate changes drop route.new`

1 error, 0 warnings
"
    );
    let fresh = subject("route.new");
    let errors = memory.try_out(&kept, Some(&fresh)).expect_err("two take the same");
    assert!(!shown(&errors).contains("changes drop"), "there is nothing to drop yet");
}

#[test]
fn a_pool_that_is_gone_and_one_that_is_left_empty_name_their_changes() {
    let without_pool = FILE.split("[pool.api]").next().expect("it has one").to_owned();
    let memory = Memory::new(&format!(
        "{}[pool.other]\nservers = {{ a = {{ url = \"http://h:80\" }} }}\n",
        without_pool.replace("pool = \"api\"", "pool = \"other\"")
    ));
    let put = changes(&[("pool.api/c", Some(r#"{"url": "http://10.0.0.9:80"}"#))]);
    let errors = memory.load(&put).expect_err("there is no such pool");
    assert_eq!((errors.len(), errors[0].path.as_str()), (1, "pool.api/c"));
    assert_eq!(errors[0].to_string(), "change pool.api/c:1:1: the file has no pool `api`");
    let help = errors[0].help.as_deref();
    assert_eq!(help, Some("the file has: other; or run `evergate changes drop pool.api/c`"));
    let hidden = changes(&[("pool.api/c", None)]);
    assert!(memory.load(&hidden).is_ok(), "nothing is hidden, so nothing is wrong");

    let hidden = changes(&[("pool.api/a", None), ("pool.api/b", None)]);
    let errors = Memory::new(FILE).load(&hidden).expect_err("it is empty");
    assert_eq!(errors[0].message, "`pool.api` has no servers");
    let help = errors[0].help.as_deref();
    let expected = "changes hide them: run `evergate changes drop pool.api/a pool.api/b`";
    assert_eq!(help, Some(expected));

    let hidden = changes(&[("route.api", None), ("route.old", None)]);
    let errors = Memory::new(FILE).load(&hidden).expect_err("nothing is served");
    assert_eq!(errors[0].code, "nothing-served");
    let help = errors[0].help.as_deref();
    let expected = "changes hide them: run `evergate changes drop route.api route.old`";
    assert_eq!(help, Some(expected));
}

#[test]
fn names_are_checked_as_in_the_file() {
    let memory = Memory::new(FILE);
    for (name, body) in [
        ("route.a b", r#"{"match": "/x", "respond": {}}"#),
        ("route.a\"]\n[admin", r#"{"match": "/x", "respond": {}}"#),
        ("pool.api/x/0", r#"{"url": "http://h:80"}"#),
    ] {
        let errors = memory.load(&changes(&[(name, Some(body))])).expect_err(name);
        assert!(errors.iter().all(|error| error.code == "bad-name"), "{errors:?}");
    }
}

#[test]
fn references_stay_as_written_and_their_values_are_not_shown() {
    let memory = Memory::new(FILE);
    memory.write("/etc/eg/body", "hush\n");
    let body = r#"{"match": "/new", "respond": {"body": "${file:body}"}}"#;
    let changes = changes(&[("route.new", Some(body))]);
    let loaded = memory.load(&changes).expect("it fits");
    assert!(
        matches!(&loaded.config.routes["new"].action, Action::Respond { body, .. } if body == "hush")
    );
    let journal = changes.to_journal().expect("it is short");
    let journal = String::from_utf8_lossy(&journal);
    assert!(journal.contains("${file:body}") && !journal.contains("hush"));
    let (_, change) = changes.iter().next().expect("there is one");
    assert!(change.shown().expect("it puts something").contains("${file:body}"));
}

#[test]
fn what_is_remembered_holds_the_changes() {
    let memory = Memory::new(FILE);
    let changes = changes(&[("route.old", None)]);
    let loaded = memory.load(&changes).expect("it fits");
    let blob = remember(&loaded);
    assert!(blob.starts_with(b"EGC2"), "who knows no changes must not serve without them");
    let recalled = recall(&blob).expect("it was just remembered");
    assert_eq!((recalled.changes(), &recalled.config), (&changes, &loaded.config));
    let plain = remember(&memory.load(&Changes::default()).expect("the file is right"));
    assert!(plain.starts_with(b"EGC1"), "an older worker can read what is as ever");
}

#[test]
fn other_changes_are_tried_with_the_files_as_they_were() {
    let memory = Memory::new(FILE);
    let loaded = memory.load(&Changes::default()).expect("the file is right");
    memory.write("/etc/eg/evergate.toml", "[nonsense");
    memory.write("/etc/eg/body", "read now");
    let body = r#"{"match": "/new", "respond": {"body": "${file:body}"}}"#;
    let changes = changes(&[("route.new", Some(body))]);
    let again = loaded.basis().load(&memory, &changes, None).expect("it fits what was read");
    assert_eq!(again.config.routes.len(), 3);
    assert!(
        matches!(&again.config.routes["new"].action, Action::Respond { body, .. } if body == "read now")
    );
    assert_eq!(again.sources, loaded.sources);
}
