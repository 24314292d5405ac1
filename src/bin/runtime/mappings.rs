//! Writes the id mappings of a new user namespace: directly, or for subordinate ids through newuidmap and newgidmap,
//! which know the owners of ids. Source: user_namespaces(7), newuidmap(1).

use crate::files;
use crate::program::{self, Stream};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use runtime::error::{During, Error, Result};
use runtime::plan::{Mapping, Mappings};
use rustix::fs::CWD;

/// Maps the ids of the process `pid`. `path` is the PATH in which the helpers are looked up.
pub fn write(mappings: &Mappings, pid: i32, path: Option<&str>) -> Result<()> {
    if mappings.deny_setgroups {
        into(pid, "setgroups", "gidMappings", b"deny")?;
    }
    let map = |file: &str, helper, field, mapping: &Mapping| match mapping.helped {
        true => by(helper, pid, &mapping.text, path)
            .map_err(|error| Error::new(format!("config.json: linux.{field}: {error}"))),
        false => into(pid, file, field, mapping.text.as_bytes()),
    };
    map("uid_map", "newuidmap", "uidMappings", &mappings.uid)?;
    map("gid_map", "newgidmap", "gidMappings", &mappings.gid)
}

fn into(pid: i32, file: &str, field: &str, text: &[u8]) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    files::write(CWD, path.as_str(), text)
        .during(|| format!("config.json: linux.{field}: cannot write {path}"))
}

fn by(helper: &str, pid: i32, text: &str, path: Option<&str>) -> Result<()> {
    let pid = pid.to_string();
    let args: Vec<&str> = [pid.as_str()]
        .into_iter()
        .chain(text.split_ascii_whitespace())
        .collect();
    program::run(helper, &args, path, Stream::Stderr).map(drop)
}
