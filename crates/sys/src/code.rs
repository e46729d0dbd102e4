//! The program's own code in memory.

use std::ffi::c_void;
use std::{fs, io};

use rustix::mm::{Advice, madvise};

/// Gives the pages of the program's code back, most of which only the start needed; what is still
/// used comes back from the page cache when it is used. Returns how many bytes were offered.
///
/// `NotFound` if the program's code cannot be told from the rest.
pub fn release() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let program = program.to_str().ok_or(io::ErrorKind::NotFound)?;
    let mut released = 0;
    for range in maps.lines().filter_map(|line| code_of(line, program)) {
        let start = std::ptr::with_exposed_provenance_mut::<c_void>(range.start);
        // SAFETY: the range is a private mapping of our own file that may be executed and not
        // written, so no page of it differs from the file: each reads the same when it comes back.
        #[expect(unsafe_code, reason = "advice on memory that Rust knows nothing of")]
        unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) }?;
        released += range.len();
    }
    if released == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(released) }
}

/// The addresses in a line of proc_pid_maps(5), if it maps code of `program` that nobody can write.
fn code_of(line: &str, program: &str) -> Option<std::ops::Range<usize>> {
    // The path is the rest of the line, and may have spaces: that of a file that is gone has one.
    let mut words = line.splitn(6, ' ');
    let (addresses, rights) = (words.next()?, words.next()?);
    if rights != "r-xp" || words.nth(3)?.trim_start() != program {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    Some(parse(start)?..parse(end)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn only_code_of_the_program_that_nobody_writes_is_released() {
        let line =
            |rights: &str, file: &str| format!("1000-3000 {rights} 00001000 fe:00 42  {file}");
        assert_eq!(code_of(&line("r-xp", "/bin/evergate"), "/bin/evergate"), Some(0x1000..0x3000));
        assert_eq!(code_of(&line("rwxp", "/bin/evergate"), "/bin/evergate"), None);
        assert_eq!(code_of(&line("r--p", "/bin/evergate"), "/bin/evergate"), None);
        assert_eq!(code_of(&line("r-xp", "/lib/libc.so"), "/bin/evergate"), None);
        assert_eq!(code_of(&line("r-xp", "/bin/evergate (deleted)"), "/bin/evergate"), None);
        let gone = "/bin/evergate (deleted)";
        assert_eq!(code_of(&line("r-xp", gone), gone), Some(0x1000..0x3000));
        assert_eq!(code_of("1000-3000 r-xp 0 0 0", ""), None);
    }

    #[test]
    fn the_program_goes_on_after_its_code_was_released() {
        touch();
        let before = resident_code();
        let released = release().unwrap();
        let after = resident_code();
        assert!(released > 0);
        assert!(after < before, "{before} KiB before, {after} KiB after");
    }

    /// What of the program's code is in memory, in KiB. Other tests grow beside this one, but no
    /// code.
    fn resident_code() -> u64 {
        let program = fs::read_link("/proc/self/exe").unwrap();
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_code = false;
        let mut sum = 0;
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("Rss:"), Some(number)) if is_code => sum += number.parse::<u64>().unwrap(),
                (Some(word), _) if word.ends_with(':') => {}
                _ => is_code = code_of(line, program.to_str().unwrap()).is_some(),
            }
        }
        sum
    }

    /// Has every page of the program's code in memory.
    fn touch() {
        let program = fs::read_link("/proc/self/exe").unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let memory = fs::File::open("/proc/self/mem").unwrap();
        for range in maps.lines().filter_map(|line| code_of(line, program.to_str().unwrap())) {
            let mut code = vec![0; range.len()];
            memory.read_exact_at(&mut code, range.start as u64).unwrap();
        }
    }
}
