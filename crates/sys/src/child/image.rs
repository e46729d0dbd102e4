//! What a program is told: its name, its arguments and its variables, laid out as the kernel wants
//! them.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::{SpawnError, Spec};
use crate::strings::Strings;

/// Most directories of a `PATH` that are searched.
const PATH_ENTRIES_MAX: usize = 128;
/// Where programs are looked for without a `PATH`.
const PATH_DEFAULT: &str = "/bin:/usr/bin";
/// The variable that a program learns its own number from, with room for any.
const LISTEN_PID: &[u8] = b"LISTEN_PID=0000000000\0";

/// Everything that `execve` is given.
pub(super) struct Image {
    /// Where the program may be, in the order to try.
    pub(super) candidates: Vec<CString>,
    /// Whether the program is a name that was looked up.
    pub(super) is_searched: bool,
    /// Where to run.
    pub(super) cwd: Option<CString>,
    args: Strings,
    env: Strings,
    /// The one string that is written to, after the fork.
    listen_pid: Option<Box<[u8]>>,
}

impl Image {
    pub(super) fn new(spec: &Spec<'_>) -> Result<Self, SpawnError> {
        if spec.program.is_empty() {
            return Err(SpawnError::Malformed("no program is given"));
        }
        let mut variables: BTreeMap<OsString, OsString> = env::vars_os().collect();
        for (name, value) in &spec.env {
            match value {
                Some(value) => variables.insert(name.clone(), value.clone()),
                None => variables.remove(name),
            };
        }
        let is_searched = !spec.program.as_bytes().contains(&b'/');
        let candidates = if is_searched {
            let path = variables.get(OsStr::new("PATH")).map(OsString::as_os_str);
            let directories = env::split_paths(path.unwrap_or(OsStr::new(PATH_DEFAULT)));
            let named = directories.take(PATH_ENTRIES_MAX).map(|entry| entry.join(&spec.program));
            named.map(|path| string(path.into_os_string())).collect::<Result<_, _>>()?
        } else {
            vec![string(spec.program.clone())?]
        };
        let called = spec.argv0.as_ref().unwrap_or(&spec.program);
        let args = [called].into_iter().chain(&spec.args).cloned().map(string);
        let args = Strings::new(args.collect::<Result<_, _>>()?);
        if spec.listen_pid {
            variables.remove(OsStr::new("LISTEN_PID"));
        }
        let pairs = variables.into_iter().map(|(mut pair, value)| {
            pair.push("=");
            pair.push(value);
            string(pair)
        });
        let mut env = Strings::new(pairs.collect::<Result<_, _>>()?);
        let listen_pid = spec.listen_pid.then(|| Box::<[u8]>::from(LISTEN_PID));
        if let Some(variable) = &listen_pid {
            env.insert_first(variable.as_ptr().cast());
        }
        let cwd = spec.cwd.clone().map(|cwd| string(cwd.into_os_string())).transpose()?;
        Ok(Self { candidates, is_searched, cwd, args, env, listen_pid })
    }

    /// Its name and its arguments.
    pub(super) fn args(&self) -> &Strings {
        &self.args
    }

    /// Its variables.
    pub(super) fn env(&self) -> &Strings {
        &self.env
    }

    /// Puts the number of a process into `LISTEN_PID`, if that was asked for. Allocates nothing.
    pub(super) fn name_process(&mut self, pid: u32) {
        let Some(variable) = &mut self.listen_pid else {
            return;
        };
        let mut digits = [0u8; 10];
        let mut rest = pid;
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let room = variable.iter_mut().skip("LISTEN_PID=".len());
        // Whatever is left of the room becomes the end of the string.
        let text = digits.iter().skip(digits.len() - count).chain(std::iter::repeat(&0));
        for (place, &byte) in room.zip(text) {
            *place = byte;
        }
        // Anew, because whoever wrote had it alone.
        self.env.replace_first(variable.as_ptr().cast());
    }
}

fn string(text: OsString) -> Result<CString, SpawnError> {
    CString::new(text.into_vec())
        .map_err(|_| SpawnError::Malformed("a NUL byte in an argument, a variable or a path"))
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn a_number_of_any_length_fits_into_its_variable() {
        for pid in [1, 10, 4_194_304, u32::MAX] {
            let spec = Spec { program: "x".into(), listen_pid: true, ..Spec::default() };
            let mut image = Image::new(&spec).unwrap();
            image.name_process(pid);
            let variable = image.listen_pid.as_deref().unwrap();
            let text = CStr::from_bytes_until_nul(variable).unwrap().to_str().unwrap();
            assert_eq!(text, format!("LISTEN_PID={pid}"));
        }
    }

    #[test]
    fn a_name_is_looked_for_in_the_childs_own_path_and_a_path_is_not() {
        let path = |path: &str| ("PATH".into(), Some(path.into()));
        let spec = Spec { program: "shop".into(), env: vec![path("/a:/b/c:")], ..Spec::default() };
        let image = Image::new(&spec).unwrap();
        let found: Vec<_> = image.candidates.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!((found, image.is_searched), (vec!["/a/shop", "/b/c/shop", "shop"], true));
        let spec = Spec { program: "./shop".into(), env: vec![path("/a")], ..Spec::default() };
        let image = Image::new(&spec).unwrap();
        assert_eq!((image.candidates.len(), image.is_searched), (1, false));
        let made = Image::new(&Spec { program: "a\0b".into(), ..Spec::default() });
        let error = made.err().unwrap();
        assert!(error.is_lasting(), "{error}");
    }
}
