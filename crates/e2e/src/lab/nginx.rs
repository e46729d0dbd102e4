//! nginx, as what serves beside a keepalived or an FRR.

use std::path::Path;
use std::process::{Child, Stdio};

use evergate_sys::signal::{self, Signal};

use super::network::Place;
use super::process::signal_all;

/// An nginx that answers everything with a letter; it ends with this value.
#[derive(Debug)]
pub(super) struct Nginx {
    place: Place,
    child: Child,
}

impl Nginx {
    /// Starts it in `directory`, which must be there.
    pub(super) fn start(place: &Place, directory: &Path, letter: char) -> Self {
        let config = directory.join("nginx.conf");
        let text = format!(
            "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log nginx.log;\n\
             events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\n\
             keepalive_requests 10000000;\nclient_body_temp_path body;\nproxy_temp_path proxy;\n\
             fastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n\
             server {{\nlisten 80 backlog=2048 default_server;\n\
             location / {{ default_type text/plain; return 200 \"{letter}\"; }}\n}}\n}}\n"
        );
        std::fs::write(&config, text).expect("a new directory has room");
        let mut command = place.real_time("nginx");
        command.arg("-p").arg(directory).arg("-c").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("`ip` is there");
        Self { place: place.clone(), child }
    }

    /// Kills all of it.
    pub(super) fn kill(&mut self) {
        let processes = self.place.processes();
        let ours: Vec<_> =
            processes.into_iter().filter(|process| process.command.contains("nginx")).collect();
        // The master brings its workers back, so it goes first.
        let _ = signal::send(self.child.id(), Signal::Kill);
        signal_all(&ours, Signal::Kill);
        let _ = self.child.wait();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}
