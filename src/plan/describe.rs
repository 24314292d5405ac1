//! Describes a plan, for `run --dry-run`, the debug log, and the golden files of the unit tests.

use super::{Plan, names_of};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use syscalls::step::Lossy;

impl Plan {
    /// The actions of parent and child, one numbered line each.
    pub fn describe(&self) -> String {
        let lines = self.lines().into_iter().enumerate();
        lines
            .map(|(n, line)| format!("{:3} {line}\n", n + 1))
            .collect()
    }

    /// The lines without numbers.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        if let Some(cgroup) = &self.cgroup {
            let path = cgroup.place().path;
            lines.push(match &cgroup.unit {
                Some(unit) => format!(
                    "have systemd start the unit {} in the cgroup {path}",
                    unit.name
                ),
                None => format!("make the cgroup {path}"),
            });
        }
        for join in &self.joins {
            lines.push(format!(
                "join the {} namespace {}",
                join.name,
                Lossy(join.path)
            ));
        }
        if let Some(offsets) = self.time {
            let offsets = offsets.to_string_lossy().trim_end().replace('\n', ", ");
            lines.push(format!("make a time namespace ({offsets})"));
        }
        let names = names_of(self.namespaces);
        lines.push(format!("clone with new namespaces: {names}"));
        if let Some(mappings) = &self.mappings {
            for (kind, map) in [("uids", &mappings.uid), ("gids", &mappings.gid)] {
                let helper = match map.helped {
                    true => " (by newuidmap or newgidmap)",
                    false => "",
                };
                let map = map.text.trim_end().replace('\n', ", ");
                lines.push(format!("map {kind} {map}{helper}"));
            }
        }
        for device in &self.net_devices {
            let name = &device.name;
            lines.push(match &device.new_name {
                Some(new) => format!("move the network device {name} into the container as {new}"),
                None => format!("move the network device {name} into the container"),
            });
        }
        if let Some(value) = self.oom_score_adj {
            lines.push(format!("set oom_score_adj {value}"));
        }
        lines.extend(self.walk().iter().map(|step| format!("{step:#}")));
        lines
    }
}
