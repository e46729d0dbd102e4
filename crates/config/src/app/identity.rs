//! Whom an app runs as, and what others may do with its files.

use crate::diagnostic::Diagnostic;
use crate::node;
use crate::reader::{Fault, Section};

/// Decodes `user`.
pub(super) fn user(section: &Section<'_>) -> Option<String> {
    let files = section.reader.files;
    let user = section.parsed("user", |text| {
        let name = node::not_empty(text)?;
        match files.is_user(&name) {
            Some(true) | None => Ok(name),
            Some(false) => Err(Fault::new("unknown-user", "is no user of this machine")
                .help(format!("name one of /etc/passwd, or make it: `useradd --system {name}`"))),
        }
    })?;
    if files.is_user(&user).is_none() {
        let value = section.get("user").expect("it was just read");
        value.report(
            Diagnostic::warning(
                "unknown-user",
                format!("whether there is a user for `{}` cannot be told", value.path),
            )
            .help("/etc/passwd cannot be read; without the user the app does not start"),
        );
    }
    Some(user)
}

/// Permissions in octal.
pub(super) fn umask(text: &str) -> Result<u32, Fault> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    match u32::from_str_radix(digits, 8) {
        Ok(mask) if is_octal && mask <= 0o777 => Ok(mask),
        Ok(_) | Err(_) => Err(Fault::new("bad-umask", "is not a mask of permissions").help(
            "write it in octal, as umask(1) does: \"027\" takes writing from the group and \
                   everything from others",
        )),
    }
}
