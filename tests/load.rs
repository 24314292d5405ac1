//! Load: many containers that come and go, many at once, many processes in one. Every command succeeds, and nothing is left. A
//! run takes a small part; `LOAD=all` in the environment gives the full numbers.

use runtime_tests::harness::attempt;
use runtime_tests::{Bundle, Cmd, Value, host, wait_for};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

runtime_tests::tests![
    containers_come_and_go_64_at_a_time,
    many_containers_are_alive_at_once,
    many_processes_are_executed_in_one_container,
];

/// The full number with `LOAD=all` in the environment, else the sample.
pub fn full(all: usize, sample: usize) -> usize {
    match std::env::var("LOAD").is_ok_and(|load| load == "all") {
        true => all,
        false => sample,
    }
}

/// Does `work` for each number below `count`, on some threads, and panics with what went wrong.
pub fn at_once(threads: usize, count: usize, work: impl Fn(usize) + Sync) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let turn = || loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= count {
            return;
        }
        if let Err(text) = attempt(|| work(n)) {
            wrong.lock().unwrap().push(format!("{n}: {text}"));
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(turn))));
    let wrong = wrong.into_inner().unwrap();
    let (bad, some) = (wrong.len(), wrong.join("\n"));
    assert!(wrong.is_empty(), "{bad} of {count}:\n{some}");
}

/// Many containers of one bundle.
struct Many {
    bundle: Bundle,
    begun: Instant,
}

impl Many {
    fn new() -> Many {
        let mut bundle = Bundle::new();
        bundle.args(&["sleep", "1000"]);
        Many {
            bundle,
            begun: Instant::now(),
        }
    }

    fn id(&self, n: usize) -> String {
        format!("{}-{n}", self.bundle.id)
    }

    /// Each container has a configuration of its own for the path of its cgroup.
    fn configure(&self, n: usize) -> String {
        let mut config = self.bundle.config.clone();
        config["linux"]["cgroupsPath"] = format!("/{}", self.id(n)).into();
        let path = self.bundle.text(&format!("config-{n}.json"));
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    fn call(&self, words: &[&str], n: usize) -> Cmd {
        self.bundle.call(words).arg(self.id(n)).deadline(120)
    }

    fn create(&self, n: usize, config: &str) {
        let bundle = self.bundle.text("bundle");
        let words = ["create", "--bundle", &bundle, "--config", config];
        self.call(&words, n).ok().prints("");
    }

    /// The containers by status, as `list` shows them.
    fn list(&self) -> BTreeMap<String, usize> {
        let words = ["list", "--format", "json"];
        let list = self.bundle.call(&words).deadline(120).ok();
        let rows: Vec<Value> =
            serde_json::from_str(&list.out).unwrap_or_else(|e| panic!("{e}: {list}"));
        let mut count = BTreeMap::new();
        for row in rows {
            assert!(row["id"].as_str().unwrap().starts_with(&self.bundle.id));
            let status = row["status"].as_str().unwrap().to_owned();
            *count.entry(status).or_default() += 1;
        }
        count
    }

    /// Asserts that nothing is left: no state, no mount, no process, no cgroup in any hierarchy, no keyring.
    fn left_nothing(&self, done: usize, what: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        eprintln!(
            "{done} {what} in {seconds:.1} s, {:.0} per second",
            done as f64 / seconds
        );
        self.bundle.left_nothing();
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let left = || -> Vec<PathBuf> {
            host::hierarchies()
                .iter()
                .flat_map(|hierarchy| fs::read_dir(hierarchy).into_iter().flatten().flatten())
                .map(|entry| entry.path())
                .filter(|path| name(path).starts_with(&self.bundle.id))
                .collect()
        };
        assert_eq!(left(), Vec::<PathBuf>::new());
        // The kernel collects keys some time after their last user.
        let keyring = format!("_ses.{}", self.bundle.id);
        wait_for("no session keyring is left", || {
            !fs::read_to_string("/proc/keys").unwrap().contains(&keyring)
        });
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(open < 1000, "{open} descriptors are open");
    }
}

fn containers_come_and_go_64_at_a_time() {
    let many = Many::new();
    let count = full(10_000, 400);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Meanwhile a list is whole, and knows of nothing but the containers.
        let lists = scope.spawn(|| {
            let mut lists = 0;
            while !ended.load(Ordering::Relaxed) {
                many.list();
                lists += 1;
            }
            lists
        });
        let gone = attempt(|| {
            at_once(64, count, |n| {
                let config = many.configure(n);
                many.create(n, &config);
                many.call(&["start"], n).ok().prints("");
                // Right after the start, and the deletion right after the kill.
                let words = ["kill"];
                many.call(&words, n).arg("KILL").ok().prints("");
                many.call(&["delete"], n).ok().prints("");
                fs::remove_file(config).unwrap();
            });
        });
        ended.store(true, Ordering::Relaxed);
        assert!(lists.join().unwrap() > 0);
        gone.unwrap_or_else(|text| panic!("{text}"));
    });
    many.left_nothing(count, "containers come and gone");
}

fn many_containers_are_alive_at_once() {
    let many = Many::new();
    let count = full(1000, 60);
    at_once(16, count, |n| {
        let config = many.configure(n);
        many.create(n, &config);
        many.call(&["start"], n).ok();
    });
    assert_eq!(many.list(), BTreeMap::from([("running".into(), count)]));
    at_once(16, count, |n| {
        many.call(&["exec"], n).arg("true").ok().prints("");
    });
    at_once(16, count, |n| {
        many.call(&["delete", "--force"], n).ok().prints("");
    });
    many.left_nothing(count, "containers alive at once");
}

fn many_processes_are_executed_in_one_container() {
    let many = Many::new();
    let count = full(20_000, 600);
    many.create(0, &many.configure(0));
    many.call(&["start"], 0).ok();
    at_once(64, count, |n| {
        let number = (n % 100).to_string();
        let exec = many.call(&["exec"], 0).args(["echo", &number]);
        exec.ok().prints(&format!("{number}\n"));
    });
    let pids = many.call(&["ps", "--format", "json"], 0).ok();
    let pids: Vec<i32> = serde_json::from_str(&pids.out).unwrap();
    assert_eq!(pids.len(), 1, "{pids:?}");
    many.call(&["delete", "--force"], 0).ok();
    many.left_nothing(count, "processes executed");
}
