//! Children that nobody waits for until they exit, in a test process of their own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;

use evergate_sys::child::{Spec, Starting, start};
use evergate_sys::exit::{self, Exit};

/// Waits for its end.
fn end_of(child: &Starting) -> Exit {
    loop {
        if let Some((pid, exit)) = exit::next().unwrap() {
            assert_eq!(pid, child.pid());
            exit::reap(pid).unwrap();
            return exit;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_child_that_is_not_waited_for_says_in_its_exit_whether_it_became_its_program() {
    let path = std::env::temp_dir().join(format!("evergate-unawaited-{}", std::process::id()));
    let mut file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(b"told\n").unwrap();
    file.rewind().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let child = start(&Spec {
        program: "/bin/cat".into(),
        stdin: Some(file.as_fd()),
        stdout: Some(writer.as_fd()),
        ..Spec::default()
    });
    drop(writer);
    let child = child.unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "told\n");
    assert_eq!(end_of(&child), Exit::Status(0));
    assert!(child.into_fault().is_none());

    let child = start(&Spec { program: "/no/such/program".into(), ..Spec::default() }).unwrap();
    assert_eq!(end_of(&child), Exit::Status(127));
    let fault = child.into_fault().unwrap();
    assert_eq!(fault.to_string(), "cannot run /no/such/program: no such file");
    assert!(fault.is_lasting());
}
