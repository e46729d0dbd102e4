//! What runs print, handed from worker to worker.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use evergate_control::link::{App, Instance, Restart, Run, ToKeeper};
use evergate_sys::signal::{self, Signal};

use crate::apps::{SLEEP, running};
use crate::stage::{Pace, Stage, Worker, all_ready, app, apps};

pub(crate) const TESTS: &[crate::Test] = &[
    ("output_goes_on_with_the_next_worker", output_goes_on_with_the_next_worker),
    (
        "the_last_words_of_an_app_are_kept_for_the_next_worker",
        the_last_words_of_an_app_are_kept_for_the_next_worker,
    ),
    (
        "an_app_that_nobody_reads_does_not_wait_for_long",
        an_app_that_nobody_reads_does_not_wait_for_long,
    ),
    ("what_nobody_wants_goes_nowhere", what_nobody_wants_goes_nowhere),
    ("nothing_is_written_to_a_disk", nothing_is_written_to_a_disk),
];

fn printing(script: &str) -> App {
    let mut shop = app("shop", &["sh", "-c", script], 1);
    shop.keeps_output = true;
    shop
}

/// The end of the pipe of a run, waiting for what comes.
fn pipe(worker: &Worker, generation: u32) -> BufReader<File> {
    let run = Run { app: "shop".into(), number: 0, generation };
    let end = worker.outputs.borrow_mut().remove(&run).expect("its output");
    rustix::io::ioctl_fionbio(&end, false).unwrap();
    BufReader::new(File::from(end))
}

fn line(pipe: &mut BufReader<File>) -> String {
    let mut line = String::new();
    pipe.read_line(&mut line).unwrap();
    line
}

fn output_goes_on_with_the_next_worker() {
    let stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    let gate = stage.path("gate");
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RWXU).unwrap();
    let shop =
        printing(&format!("echo one; echo two >&2; while read word; do echo $word; done <>{gate}"));
    let pid = running(&stage.run(&worker, std::slice::from_ref(&shop))[0]).0;
    let mut first = pipe(&worker, 1);
    assert_eq!((line(&mut first), line(&mut first)), ("one\n".into(), "two\n".into()));
    worker.say(&ToKeeper::Ready);
    worker.crash();
    let second = stage.worker();
    std::fs::write(&gate, "three\n").unwrap();
    stage.run(&second, &[shop]);
    let mut next = pipe(&second, 1);
    assert_eq!(line(&mut next), "three\n");
    // The end of the run is the end of the pipe.
    signal::send(pid, Signal::Kill).unwrap();
    stage.observe(&second, |all| all[0].run.generation == 2 && all_ready(all));
    drop(first);
    assert_eq!(next.read_to_end(&mut Vec::new()).unwrap(), 0);
}

fn the_last_words_of_an_app_are_kept_for_the_next_worker() {
    let mut stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    let gate = stage.path("gate");
    let mut shop =
        printing(&format!("while [ ! -e {gate} ]; do sleep 0.01; done; echo last words; exit 3"));
    shop.restart = Restart::Never;
    let pid = running(&stage.run(&worker, &[shop])[0]).0;
    worker.say(&ToKeeper::Ready);
    worker.crash();
    stage.await_reaped(worker.pid);
    std::fs::write(&gate, "").unwrap();
    stage.await_reaped(pid);
    let next = stage.worker();
    stage.await_event_of(&next, "app_exited");
    let mut text = String::new();
    pipe(&next, 1).read_to_string(&mut text).unwrap();
    assert_eq!(text, "last words\n");
}

fn an_app_that_nobody_reads_does_not_wait_for_long() {
    let mut stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    // More than the pipe holds, several times over.
    let done = stage.path("done");
    let shop =
        printing(&format!("head -c 2000000 /dev/zero; echo; echo end; : >{done}; sleep 1000"));
    stage.run(&worker, &[shop]);
    stage.await_true(|_| std::path::Path::new(&done).exists().then_some(()));
    worker.say(&ToKeeper::Ready);
    let told = stage.await_event_of(&worker, "output_lost");
    assert!(told.reason.contains("bytes were dropped while nobody read them"), "{told:?}");
    assert_eq!(told.subject, "app.shop/0");
    // What it said last is still there.
    let mut pipe = pipe(&worker, 1);
    line(&mut pipe);
    assert_eq!(line(&mut pipe), "end\n");
}

fn what_nobody_wants_goes_nowhere() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let pid = running(&stage.run(&worker, &[app("shop", SLEEP, 1)])[0]).0;
    for fd in [0, 1, 2] {
        let path = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
        assert_eq!(path.to_str(), Some("/dev/null"));
    }
    assert!(worker.outputs.borrow().is_empty());
}

/// Then a disk that is full does not matter to it.
fn nothing_is_written_to_a_disk() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let pid = running(&stage.run(&worker, &[printing("echo one; sleep 1000")])[0]).0;
    signal::send(pid, Signal::Kill).unwrap();
    stage.observe(&worker, |all| all[0].run.generation == 2 && all_ready(all));
    stage.desire(&worker, &apps(&[]));
    stage.observe(&worker, <[Instance]>::is_empty);
    let fds = std::fs::read_dir(format!("/proc/{}/fd", stage.keeper_pid())).unwrap();
    let regular = fds.filter_map(|fd| {
        let fd = fd.unwrap().path();
        let is_file = std::fs::metadata(&fd).is_ok_and(|found| found.is_file());
        is_file.then(|| std::fs::read_link(fd).unwrap())
    });
    let stderr = std::path::PathBuf::from(stage.path("stderr"));
    // Control groups and processes look like files, but are the kernel's memory.
    let is_kernels =
        |file: &std::path::Path| file.starts_with("/sys/fs/cgroup") || file.starts_with("/proc");
    // The next worker is started from the same file, whatever becomes of its path.
    let program = std::env::current_exe().unwrap();
    let stdout = std::fs::read_link(format!("/proc/{}/fd/1", stage.keeper_pid())).unwrap();
    let is_fine = |file: &std::path::PathBuf| {
        *file == stderr || *file == stdout || *file == program || is_kernels(file)
    };
    let others: Vec<_> = regular.filter(|file| !is_fine(file)).collect();
    assert!(others.is_empty(), "only what it says to the operator: {others:?}");
}
