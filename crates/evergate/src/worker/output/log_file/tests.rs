use std::os::unix::fs::PermissionsExt;

use evergate_core::rng::Rng;
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn shelf(folder: &TempDir, bytes_max: u64, keep: u16) -> Shelf {
    Shelf { directory: folder.path().join("log"), bytes_max, keep }
}

fn append(file: &mut LogFile, text: &str) {
    let (done, outcome) = file.append(text.as_bytes());
    outcome.unwrap();
    assert_eq!(done, text.len());
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join("log").join(name)).unwrap()
}

/// Names and sizes.
fn sizes(folder: &TempDir) -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir(folder.path().join("log")) else { return Vec::new() };
    let mut sizes: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
        })
        .collect();
    sizes.sort();
    sizes
}

#[test]
fn a_full_file_is_kept_and_the_oldest_goes() {
    let folder = folder();
    let mut file = LogFile::new("shop", &shelf(&folder, 30, 2));
    append(&mut file, "one\ntwo\n");
    assert_eq!(sizes(&folder), [("shop.log".to_owned(), 8)]);
    append(&mut file, "three\nfour\nfive\n");
    assert_eq!(read(&folder, "shop.log"), "four\nfive\n");
    assert_eq!(read(&folder, "shop.log.1"), "three\n");
    assert_eq!(read(&folder, "shop.log.2"), "one\ntwo\n");
    append(&mut file, "seven7\n");
    assert_eq!(read(&folder, "shop.log.1"), "four\nfive\n");
    assert_eq!(read(&folder, "shop.log.2"), "three\n");
    let mode = fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn the_cap_is_never_exceeded_and_what_is_there_is_the_latest() {
    for seed in 0..64 {
        let mut rng = Rng::seeded(seed);
        let folder = folder();
        let mut bounds = shelf(&folder, 1 + u64::from(rng.below(3000)), rng.below(5) as u16);
        let mut file = LogFile::new("shop", &bounds);
        let mut printed = String::new();
        for number in 0..rng.below(120) {
            let mut text = String::new();
            for _ in 0..rng.below(4) {
                let longest = if rng.below(20) == 0 { 4000 } else { 80 };
                let filling = "x".repeat(rng.below(longest) as usize);
                text += &format!("{number}{filling}\n");
            }
            append(&mut file, &text);
            printed += &text;
            match rng.below(20) {
                0 => file = LogFile::new("shop", &bounds),
                1 => {
                    bounds.bytes_max = 1 + u64::from(rng.below(3000));
                    bounds.keep = rng.below(5) as u16;
                    file = LogFile::new("shop", &bounds);
                    append(&mut file, "\n");
                    printed += "\n";
                }
                _ => {}
            }
            let total: u64 = sizes(&folder).iter().map(|(_, length)| length).sum();
            assert!(total <= bounds.bytes_max, "seed {seed}: {bounds:?} {:?}", sizes(&folder));
        }
        // Each line that is there whole was printed, in that order.
        let names: Vec<_> = sizes(&folder).into_iter().map(|(name, _)| name).rev().collect();
        let kept: String = names.iter().map(|name| read(&folder, name)).collect();
        let mut lines = printed.lines();
        for line in kept.lines() {
            assert!(lines.any(|one| one.starts_with(line)), "seed {seed}: {line:?}");
        }
    }
}

#[test]
fn a_file_is_gone_on_with_and_a_torn_line_is_ended() {
    let folder = folder();
    let bounds = shelf(&folder, 1000, 1);
    append(&mut LogFile::new("shop", &bounds), "one\n");
    append(&mut LogFile::new("shop", &bounds), "two\n");
    assert_eq!(read(&folder, "shop.log"), "one\ntwo\n");
    fs::write(folder.path().join("log/shop.log"), "one\ntw").unwrap();
    append(&mut LogFile::new("shop", &bounds), "two\n");
    assert_eq!(read(&folder, "shop.log"), "one\ntw\ntwo\n");
}

#[test]
fn a_file_that_somebody_moved_removed_or_cut_is_made_anew() {
    let folder = folder();
    let path = folder.path().join("log/shop.log");
    let mut file = LogFile::new("shop", &shelf(&folder, 1000, 1));
    append(&mut file, "one\n");
    fs::rename(&path, folder.path().join("aside")).unwrap();
    append(&mut file, "two\n");
    assert_eq!(read(&folder, "shop.log"), "two\n");
    fs::remove_dir_all(folder.path().join("log")).unwrap();
    append(&mut file, "three\n");
    assert_eq!(read(&folder, "shop.log"), "three\n");
    fs::write(&path, "").unwrap();
    append(&mut file, "four\n");
    assert_eq!(read(&folder, "shop.log"), "four\n");
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("log/shop.log")).unwrap();
    let mut file = LogFile::new("shop", &shelf(&folder, 1000, 1));
    let (done, outcome) = file.append(b"one\n");
    assert_eq!((done, outcome.unwrap_err().to_string().as_str()), (0, "it is no regular file"));
    assert!(file.readers().is_empty());
}

#[test]
fn readers_see_every_file_as_it_is_now() {
    let folder = folder();
    let mut file = LogFile::new("shop", &shelf(&folder, 20, 1));
    append(&mut file, "one\ntwo\nthree\n");
    let readers = file.readers();
    append(&mut file, "four\nfive\n");
    let texts = readers.into_iter().map(|(file, length)| {
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["three\n", "one\ntwo\n"]);
}
