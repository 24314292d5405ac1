//! `state` and `list`: the stored state, and the status from the kernel.

use super::print;
use crate::container::{Container, Directory};
use crate::context::Context;
use crate::host;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use runtime::cli::List;
use runtime::error::{Error, Result};
use runtime::state::{OciState, STOPPED, State};
use rustix::fs::{AtFlags, CWD};

pub fn state(context: &Context<'_>, id: &str) -> Result<i32> {
    let container = Container::open(context.root, id)?;
    let status = container.status(&host::cgroups()?)?;
    print(&(json(&container.state.oci_state(status))? + "\n"))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|e| Error::new(e.to_string()))
}

/// One line of `list`, with runc's field names.
#[derive(serde::Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    state: OciState<'a>,
    owner: &'a str,
}

pub fn list(context: &Context<'_>, args: &List<'_>) -> Result<i32> {
    let mut containers: Vec<(State, &'static str, String)> = Vec::new();
    let cgroups = host::cgroups()?;
    let mut unreadable = None;
    for id in Directory::list(context.root)? {
        // A container may disappear meanwhile. One that cannot be read is an error, after the others are listed.
        let status = |container: Container| {
            let status = container.status(&cgroups)?;
            Ok::<_, Error>((container.state, status, owner(context.root, &id)))
        };
        match Container::listed(context.root, &id).and_then(|c| c.map(status).transpose()) {
            Ok(row) => containers.extend(row),
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    print_list(args, &containers)?;
    unreadable.map_or(Ok(0), Err)
}

/// Prints the containers in the format that `list` was asked for.
fn print_list(args: &List<'_>, containers: &[(State, &'static str, String)]) -> Result<i32> {
    if args.quiet {
        return print(
            &containers
                .iter()
                .map(|(state, ..)| state.id.clone() + "\n")
                .collect::<String>(),
        );
    }
    if args.format == Some("json") {
        let rows: Vec<Row<'_>> = containers
            .iter()
            .map(|(state, status, owner)| Row {
                state: state.oci_state(status),
                owner,
            })
            .collect();
        let rows = serde_json::to_string(&rows).map_err(|e| Error::new(e.to_string()))?;
        return print(&(rows + "\n"));
    }
    print(&table(containers))
}

/// Columns as wide as their widest entry.
fn table(containers: &[(State, &'static str, String)]) -> String {
    let mut rows: Vec<[String; 6]> =
        Vec::from([["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)]);
    for (state, status, owner) in containers {
        let pid = if *status == STOPPED { 0 } else { state.pid };
        rows.push([
            state.id.clone(),
            pid.to_string(),
            (*status).to_owned(),
            state.bundle.clone(),
            state.created.clone(),
            owner.clone(),
        ]);
    }
    let mut width = [0; 6];
    for row in &rows {
        for (width, cell) in width.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row
            .iter()
            .zip(width)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The user who created the container, by name if /etc/passwd has one.
fn owner(root: &str, id: &str) -> String {
    let path = runtime::facts::join(root, id);
    let Ok(stat) = rustix::fs::statat(CWD, path.as_str(), AtFlags::SYMLINK_NOFOLLOW) else {
        return String::new();
    };
    let uid = stat.st_uid.to_string();
    let passwd = crate::files::read(CWD, "/etc/passwd").unwrap_or_default();
    let name = String::from_utf8_lossy(&passwd).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}
