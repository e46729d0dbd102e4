//! What figures depend on beside the programs: the machine. Nothing here tells which one it was.

use std::fs;
use std::thread::available_parallelism;

use serde::Serialize;

/// Facts of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's name, as it says itself.
    pub processor: String,
    /// The kernel's release.
    pub kernel: String,
    /// `x86_64`, `aarch64`, ...
    pub architecture: String,
}

impl Machine {
    /// Looks around.
    pub fn look() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let uname = rustix::system::uname();
        Self {
            cores: available_parallelism().map_or(1, usize::from),
            processor: processor(&cpus).unwrap_or("unknown").to_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
        }
    }
}

fn processor(cpus: &str) -> Option<&str> {
    let line = cpus.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.9GHz\nflags\t: fpu\n";
        assert_eq!(processor(text), Some("Some CPU @ 2.9GHz"));
        assert_eq!(processor(""), None);
        assert!(Machine::look().cores > 0);
    }
}
