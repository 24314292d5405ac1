//! Runs the rounds. Each round runs every command once, in a new order, so that disturbances affect all commands
//! alike.
//! A command that fails is reported once and skipped from then on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use runtime_benches::{Series, Shuffle, median};
use rustix::process::{getpid, set_child_subreaper};

use crate::options::{Command, Options};
use crate::scene::{Failure, Instrument, Outcome, Resources, Scene};
use crate::stop::Stop;
use crate::tool::Tool;
use crate::view::Cgroups;

/// The program timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Ours,
    /// The bare-syscall program. For `--version`, the bare program that writes one line.
    Floor,
    /// The floor with the bundle's device rules loaded as eBPF.
    FloorWithDevices,
    Crun,
    Runc,
}

/// The command timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Run,
    /// `run` with device rules and a limit of every controller, or without any of them.
    RunLimited,
    RunUnlimited,
    Create,
    Start,
    Delete,
    /// The sum of the three above.
    Life,
    State,
    Exec,
    Version,
}

pub struct Results {
    pub tools: Vec<(Who, PathBuf, String)>,
    pub times: BTreeMap<(Who, What), Series>,
    /// Peak resident memory in KiB. `Create` includes the process that waits for `start`.
    pub peaks: BTreeMap<(Who, What), u64>,
    pub notes: Vec<String>,
    /// The controllers that `RunLimited` sets a limit of.
    pub controllers: String,
    /// Whether they belong to cgroup v2.
    pub v2: bool,
    /// Whether every command of ours and of the floor succeeded.
    pub sound: bool,
}

/// One action of a round.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turn {
    who: Who,
    command: Command,
}

impl Turn {
    /// The number of repetitions in a round. One interrupt distorts a command of 100 us; a median of several does
    /// not.
    fn times(self) -> usize {
        if self.command == Command::Version {
            5
        } else {
            1
        }
    }
}

struct Bench<'a> {
    scene: Scene,
    options: &'a Options,
    stop: &'a Stop,
    tools: Vec<(Who, Tool)>,
    results: Results,
}

pub fn measure(options: &Options, stop: &Stop) -> Result<Results, String> {
    // The init of a created container outlives `create`. As a subreaper we become its parent, so we can wait for it.
    set_child_subreaper(Some(getpid())).map_err(|error| format!("subreaper: {error}"))?;
    let scene = Scene::set().map_err(|Failure(reason)| reason)?;
    let controllers: Vec<_> = scene.cgroups.limits().map(|(name, _)| name).collect();
    let results = Results {
        controllers: controllers.join(", "),
        v2: scene.cgroups == Cgroups::V2,
        tools: Vec::new(),
        times: BTreeMap::new(),
        peaks: BTreeMap::new(),
        notes: vec![format!("state is kept below {}", scene.state.display())],
        sound: true,
    };
    let mut bench = Bench {
        scene,
        options,
        stop,
        tools: Vec::new(),
        results,
    };
    bench.find_tools();
    let finished = bench.rounds();
    bench.stop_sleepers();
    finished.map(|()| bench.results)
}

impl Bench<'_> {
    fn find_tools(&mut self) {
        let candidates = [
            (Who::Ours, "runtime", self.options.runtime.as_path()),
            (Who::Crun, "crun", Path::new("crun")),
            (Who::Runc, "runc", Path::new("runc")),
        ];
        for (who, name, path) in candidates {
            match Tool::find(&self.scene, name, path) {
                Ok(tool) => {
                    self.results
                        .tools
                        .push((who, tool.path.clone(), tool.version.clone()));
                    self.tools.push((who, tool));
                }
                Err(reason) => self.complain(who, name, &reason),
            }
        }
    }

    /// Tries everything once, including its memory, and keeps what works.
    fn turns(&mut self) -> Result<Vec<Turn>, String> {
        let mut turns = Vec::new();
        let asked = |command| self.options.commands.contains(&command);
        let (run, version) = (asked(Command::Run), asked(Command::Version));
        if run {
            turns.push(Turn {
                who: Who::Floor,
                command: Command::Run,
            });
            if self.scene.cgroups == Cgroups::V2 {
                turns.push(Turn {
                    who: Who::FloorWithDevices,
                    command: Command::Run,
                });
            }
        }
        if version {
            turns.push(Turn {
                who: Who::Floor,
                command: Command::Version,
            });
        }
        for index in 0..self.tools.len() {
            self.stop.check()?;
            turns.extend(self.turns_of(index));
        }
        let mut working = Vec::new();
        for turn in turns {
            self.stop.check()?;
            match self.weigh(turn) {
                Ok(()) => working.push(turn),
                Err(Failure(reason)) => self.complain_of(turn, &reason),
            }
        }
        Ok(working)
    }

    fn turns_of(&mut self, index: usize) -> Vec<Turn> {
        let asked = &self.options.commands;
        let (who, tool) = &mut self.tools[index];
        let (who, name) = (*who, tool.name);
        let mut able = vec![Command::Version];
        let mut trouble = None;
        match contain(who, tool, &self.scene) {
            Err(Failure(reason)) => {
                trouble = Some(format!("cannot start a container here: {reason}"))
            }
            Ok(note) => {
                self.results.notes.extend(note);
                able.extend([Command::Run, Command::Limits, Command::Life]);
                if asked.contains(&Command::State) || asked.contains(&Command::Exec) {
                    match tool.start_sleeper(&self.scene) {
                        Ok(()) => able.push(Command::State),
                        Err(Failure(reason)) => {
                            trouble = Some(format!(
                                "cannot start the container for state and exec: {reason}"
                            ))
                        }
                    }
                }
                if able.contains(&Command::State) && tool.execs {
                    able.push(Command::Exec);
                }
            }
        }
        if !tool.execs && asked.contains(&Command::Exec) {
            self.results
                .notes
                .push(format!("{name}: does not support exec"));
        }
        able.retain(|command| asked.contains(command));
        if let Some(trouble) = trouble {
            self.complain(who, name, &trouble);
        }
        able.into_iter()
            .map(|command| Turn { who, command })
            .collect()
    }

    fn rounds(&mut self) -> Result<(), String> {
        let mut turns: Vec<Turn> = self
            .turns()?
            .into_iter()
            .flat_map(|turn| vec![turn; turn.times()])
            .collect();
        let mut order = Shuffle::new(self.options.seed);
        for _ in 0..self.options.rounds {
            let mut round: BTreeMap<(Who, What), Vec<f64>> = BTreeMap::new();
            order.shuffle(&mut turns);
            let mut failed = Vec::new();
            for &turn in &turns {
                self.stop.check()?;
                if failed.contains(&turn) {
                    continue;
                }
                match self.take(turn, Instrument::Stopwatch) {
                    Ok(figures) => {
                        for (what, figure) in figures {
                            round
                                .entry((turn.who, what))
                                .or_default()
                                .push(figure as f64);
                        }
                    }
                    Err(Failure(reason)) => {
                        self.complain_of(turn, &reason);
                        failed.push(turn);
                    }
                }
                self.scene.reap();
            }
            turns.retain(|turn| !failed.contains(turn));
            for (&key, series) in &mut self.results.times {
                series.push(
                    round
                        .remove(&key)
                        .and_then(median)
                        .map(|figure| figure as u64),
                );
            }
        }
        Ok(())
    }

    fn weigh(&mut self, turn: Turn) -> Outcome<()> {
        // One run as timed, so that the rounds begin warm, and one to measure the memory.
        for what in self
            .take(turn, Instrument::Stopwatch)?
            .into_iter()
            .map(|(what, _)| what)
        {
            self.results.times.insert((turn.who, what), Vec::new());
        }
        let heaviest = self.take(turn, Instrument::Scales)?;
        let peaks = heaviest.into_iter().filter(|(what, _)| *what != What::Life);
        self.results
            .peaks
            .extend(peaks.map(|(what, peak)| ((turn.who, what), peak)));
        Ok(())
    }

    fn take(&mut self, turn: Turn, instrument: Instrument) -> Outcome<Vec<(What, u64)>> {
        let scene = &self.scene;
        if let Some((_, tool)) = self.tools.iter_mut().find(|(who, _)| *who == turn.who) {
            return Ok(match turn.command {
                Command::Run => vec![(What::Run, tool.run(scene, instrument)?)],
                Command::Limits => {
                    let mut run = |resources| tool.run_with(scene, instrument, resources);
                    vec![
                        (What::RunLimited, run(Resources::All)?),
                        (What::RunUnlimited, run(Resources::Nothing)?),
                    ]
                }
                Command::State => vec![(What::State, tool.state(scene, instrument)?)],
                Command::Exec => vec![(What::Exec, tool.exec(scene, instrument)?)],
                Command::Version => vec![(What::Version, tool.version(scene, instrument)?)],
                Command::Life => {
                    let ([create, start, delete], waiting) = tool.life(scene, instrument)?;
                    let weighing = instrument == Instrument::Scales;
                    vec![
                        (
                            What::Create,
                            if weighing {
                                create.max(waiting)
                            } else {
                                create
                            },
                        ),
                        (What::Start, start),
                        (What::Delete, delete),
                        (What::Life, create + start + delete),
                    ]
                }
            });
        }
        match turn.command {
            Command::Version => Ok(vec![(
                What::Version,
                scene.measure(instrument, &[scene.program("version").into()])?,
            )]),
            _ => Ok(vec![(
                What::Run,
                scene.measure(instrument, &floor(scene, turn.who))?,
            )]),
        }
    }

    fn stop_sleepers(&mut self) {
        for (_, tool) in &mut self.tools {
            tool.stop_sleeper(&self.scene);
        }
    }

    fn complain_of(&mut self, turn: Turn, reason: &str) {
        let name = self
            .tools
            .iter()
            .find(|(who, _)| *who == turn.who)
            .map_or("floor", |(_, tool)| tool.name);
        self.complain(turn.who, name, reason);
    }

    fn complain(&mut self, who: Who, name: &str, reason: &str) {
        self.results.sound &= !matches!(who, Who::Ours | Who::Floor);
        self.results.notes.push(format!("{name}: {reason}"));
    }
}

/// Finds the bundle that `tool` can run here. Returns a note if that is not the default one.
/// For our own runtime only the default bundle is tried, so failing to run it is an error.
fn contain(who: Who, tool: &mut Tool, scene: &Scene) -> Outcome<Option<String>> {
    let Err(Failure(reason)) = tool.run(scene, Instrument::Stopwatch) else {
        return Ok(None);
    };
    tool.device_rules = false;
    if who != Who::Ours && tool.run(scene, Instrument::Stopwatch).is_ok() {
        return Ok(Some(format!(
            "{}: timed without the bundle's device rules, so it does less work than the others; it fails with them: {reason}",
            tool.name
        )));
    }
    tool.device_rules = true;
    Err(Failure(reason))
}

fn floor(scene: &Scene, who: Who) -> Vec<OsString> {
    let v2 = scene.cgroups == Cgroups::V2;
    let mode = match who {
        Who::FloorWithDevices => "v2-devices",
        _ if v2 => "v2",
        _ => "v1",
    };
    let mut command: Vec<OsString> = vec![
        scene.program("floor").into(),
        mode.into(),
        scene.rootfs().into(),
        "/true".into(),
    ];
    let places = scene.cgroups.places(&format!("{}-floor", scene.tag));
    command.extend(places.into_iter().map(OsString::from));
    command
}
