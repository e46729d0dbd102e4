//! Tables that are lines of text with somebody's bytes in between: those of `/proc`, and passwd(5).
//!
//! The names in them (of programs, mounts, sockets, people) are bytes that others chose, and need not
//! be UTF-8: the kernel cuts the name of a program after 15 bytes, be it in the middle of a letter.
//! One such name must not hide the rest of the table.

use std::path::Path;
use std::{fs, io};

/// The text of the table, with what is not UTF-8 replaced by `U+FFFD`.
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let text = String::from_utf8(fs::read(path)?);
    Ok(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_does_not_hide_the_rest() {
        let path = std::env::temp_dir().join(format!("evergate-table-{}", std::process::id()));
        fs::write(&path, b"one M\xfcller\ntwo \xc3\xbc\n").unwrap();
        assert_eq!(read(&path).unwrap(), "one M\u{fffd}ller\ntwo \u{fc}\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
