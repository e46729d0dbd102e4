//! `evergate-bench origin`: a server to try a proxy with.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use evergate_bench::case::BODY_BYTES;
use evergate_bench::generator::Generator;
use evergate_bench::{origin, process};

#[derive(Debug, Args)]
pub(crate) struct Origin {
    /// Where to listen; port 0 picks one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Core to stay on. [default: any]
    #[arg(long)]
    core: Option<usize>,
}

impl Origin {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(core) = self.core {
            process::pin(core)?;
        }
        let origin = origin::Origin::listen(self.listen, &BODY_BYTES)?;
        println!("http://{}", origin.address());
        for size in BODY_BYTES {
            println!("  /{size}");
        }
        Generator::new(Some(origin))?.run_until(|_, _| false)?;
        Ok(ExitCode::SUCCESS)
    }
}
