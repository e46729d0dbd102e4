//! Which file would answer, told.

use evergate_control::snapshot::Explanation;
use evergate_core::head::Method;
use evergate_sys::clock;

use super::lookup::{self, How, Lookup};
use super::respond::lacks_slash;
use super::{Files, OpenFiles};
use crate::facts::Facts;
use crate::plan::Route;
use crate::reject::{ClientFault, FileFault, Reject};
use crate::rewrite;

/// Notes in `told` what a request would be answered with, as the file system is now. It is this
/// process that looks, as on the request path.
pub(crate) fn explain(files: &Files, route: &Route, facts: &Facts<'_>, told: &mut Explanation) {
    if !matches!(facts.head.method, Method::Get | Method::Head) {
        let is_options = facts.head.method == Method::Options;
        told.status =
            Some(if is_options { 204 } else { Reject::Client(ClientFault::Method).status() });
        told.because.push("files take only GET, HEAD and OPTIONS".to_owned());
        return;
    }
    let path = rewrite::path(&route.rewrite, facts);
    told.upstream_path = Some(path.clone().into_owned());
    let opened = OpenFiles::default();
    let place = files.place();
    let (status, because) = match lookup::look(files, &opened, &path, facts.head, clock::now()) {
        Lookup::File(..) if lacks_slash(route, &path, facts) => (308, ADD_SLASH.to_owned()),
        Lookup::File(file, how) => {
            let name = String::from_utf8_lossy(&file.name).into_owned();
            let how = match how {
                How::Asked => "it is there",
                How::Index => "it is the folder's index",
                How::Fallback => "there is no such file, and it is the application's page (spa)",
            };
            (200, format!("`{name}` below {place} is sent: {how}"))
        }
        Lookup::AddSlash => (308, ADD_SLASH.to_owned()),
        Lookup::Missing(why) => {
            (Reject::Client(ClientFault::NoFile).status(), why.text().to_owned())
        }
        Lookup::Denied(name) => {
            let name = String::from_utf8_lossy(&name);
            let because = format!("`{name}` is there, but this process may not read it");
            (Reject::Client(ClientFault::FileDenied).status(), because)
        }
        Lookup::Failed(error) => {
            let because = format!("the system does not give the file: {error}");
            (Reject::File(FileFault::Unreadable).status(), because)
        }
    };
    told.status = Some(status);
    told.because.push(because);
}

const ADD_SLASH: &str =
    "it is a folder: the client is sent to the same path with a slash behind it";
